"""The command `worker`."""

import os
import socket
from typing import Annotated

import typer

from ..console.log import Quiet
from ..support import errors
from .shared import ConfigFile, Data, Server, config_file, config_of, data_folder, say_now, token


def worker(
    *,
    server: Server = "http://127.0.0.1:8700",
    labels: Annotated[str, typer.Option(help="What this machine has, separated by commas: gpu,jetson.")] = "",
    name: Annotated[
        str | None, typer.Option(help="What it is called; the machine's name if not given.")
    ] = None,
    data: Data = None,
    config: ConfigFile = None,
    shares_disk: Annotated[
        bool, typer.Option("--shares-disk", help="--data is the service's own folder: nothing is sent.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run searches for a service: take one after the other, and report. The token is in AUTOCOMPRESS_TOKEN.

    Only outgoing requests are made. Which code a task is, this machine's serve.toml says. Ctrl-C stops the
    search safely; it goes on here or on another worker.

    Examples:

        autocompress worker --server https://compress.example --labels gpu,jetson
    """
    with errors():
        from ...service.work.child import environment
        from ...service.work.connection import Connection
        from ...service.work.searching import Place, signalled
        from ...service.work.worker import work

        folder = data_folder(data)
        settings = config_of(config_file(config, folder))
        connection = Connection(server, token())
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        place = Place(
            folder=folder / "runs",
            config=settings,
            variables=environment(os.environ, settings.environment),
            shares_disk=shares_disk,
        )
        called = name or socket.gethostname()
        has = [label.strip() for label in labels.split(",") if label.strip()]
        work(connection, place, name=called, labels=has, ends=signalled(), say=say_now)
