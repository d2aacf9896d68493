"""The commands `serve`, `submit` and `worker`: searches for a team."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..text.printable import json_text
from .console.log import Quiet, say
from .search import AllowPredicted, Budget, Deterministic, MayTrain, Sampler, Seed, TaskSpec, Trials
from .support import (
    Batch,
    FreeShapes,
    Json,
    MaxDrop,
    MaxEnergy,
    MaxLatency,
    MaxSize,
    TargetNames,
    TaskArguments,
    errors,
    parsed,
    show,
    task_arguments,
)

if TYPE_CHECKING:
    from ..service.config import ServeConfig
    from ..service.work.connection import Connection

TOKEN = "AUTOCOMPRESS_TOKEN"
Server = Annotated[str, typer.Option(metavar="URL", help="The service's address.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="serve.toml; DATA/serve.toml where there is one."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where runs and tables are kept; ~/.local/share/autocompress if not given."
    ),
]
DatabaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="PostgreSQL instead of a file: postgresql://user@host/name.")
]
Host = Annotated[str, typer.Option(help="The address to listen on; this machine alone if not given.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")]
WithWorker = Annotated[
    bool, typer.Option("--worker/--no-worker", help="Whether a worker of this machine runs searches.")
]
Lease = Annotated[
    str, typer.Option(help="How long a worker may be silent before its search goes to another.")
]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: the certificate (PEM).")]
CertificateKey = Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: its private key (PEM).")]
Proxies = Annotated[
    str, typer.Option(metavar="ADDRESSES", help="Proxies whose forwarded headers are believed, by address.")
]
TokenFor = Annotated[
    str | None, typer.Option(metavar="USER", help="Make a token for this user, print it, and serve nothing.")
]
TokenScope = Annotated[
    str, typer.Option("--scope", help="What that token allows: read, submit, admin or work.")
]
TokenLasts = Annotated[str | None, typer.Option("--lasts", help="How long that token holds, such as 720h.")]


def serve(
    *,
    data: Data = None,
    config: ConfigFile = None,
    database: DatabaseUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 8700,
    worker: WithWorker = True,
    lease: Lease = "60s",
    certificate: Certificate = None,
    key: CertificateKey = None,
    proxies: Proxies = "",
    token_for: TokenFor = None,
    scope: TokenScope = "submit",
    lasts: TokenLasts = None,
    quiet: Quiet = False,
) -> None:
    """Serve searches by REST and web pages, for a team.

    Without options it listens on this machine alone, prints a token at the first start, and runs searches one
    after the other. A second start goes on with what ran. Ctrl-C and SIGTERM stop safely.

    Examples:

        autocompress serve

        autocompress serve --token-for ana --scope submit --lasts 720h

        autocompress serve --database postgresql://autocompress@db/autocompress --host 0.0.0.0 --no-worker
    """
    with errors():
        folder = _data(data)
        file = _config_file(config, folder)
        settings = _config(file)
        try:
            from ..service.serving import Serving, make_token
            from ..service.serving import serve as serve_until_signal
        except ImportError as error:
            raise InputError(
                f"The service needs {error.name}: pip install 'autocompress[service]'."
            ) from error
        if (certificate is None) != (key is None):
            raise InputError("--certificate and --key belong together: give both.")
        if token_for is not None:
            lasts_s = parsed("parse_duration", lasts)
            show(make_token(folder, database, token_for, scope, lasts_s=lasts_s))
            return
        serving = Serving(
            data=folder,
            config=settings,
            config_file=file,
            host=host,
            port=port,
            database=database,
            worker=worker,
            lease_s=parsed("parse_duration", lease),
            certificate=certificate,
            key=key,
            proxies=proxies,
        )
        serve_until_signal(serving, say=_say_now, show=_show_now)


def submit(
    task: TaskSpec = "digits",
    *,
    server: Server = "http://127.0.0.1:8700",
    target: TargetNames = "cpu",
    task_arg: TaskArguments = None,
    batch: Batch = 1,
    shape: FreeShapes = None,
    budget: Budget = None,
    trials: Trials = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_energy: MaxEnergy = None,
    sampler: Sampler = "front",
    recovery: MayTrain = True,
    allow_predicted: AllowPredicted = False,
    seed: Seed = 0,
    deterministic: Deterministic = False,
    label: Annotated[list[str] | None, typer.Option(help="What the worker must have; repeatable.")] = None,
    priority: Annotated[int, typer.Option(help="Searches with a higher one go first.")] = 0,
    idempotency_key: Annotated[
        str | None, typer.Option("--key", help="The same key with the same order gives the same search.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its log until it is over.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Submit a search to a service; TASK is one that it has registered. The token is in AUTOCOMPRESS_TOKEN.

    With --follow the exit code is that of the search: 0 when it is finished, 1 when nothing meets the limits.

    Examples:

        autocompress submit digits --budget 3m --follow

        autocompress submit resnet20 --server https://compress.example --max-drop 1pp --label gpu
    """
    with errors():
        from ..service.client import Client
        from ..service.order import Order

        order = Order(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=target,
            batch=batch,
            shapes=tuple(shape or ()),
            budget=budget,
            trials=trials,
            max_drop=max_drop,
            max_latency=tuple(max_latency or ()),
            max_size=tuple(max_size or ()),
            max_energy=tuple(max_energy or ()),
            sampler=sampler,
            recovery=recovery,
            allow_predicted=allow_predicted,
            seed=seed,
            deterministic=deterministic,
            labels=tuple(label or ()),
            priority=priority,
        )
        search = Client(server, token=_token()).submit_order(order, key=idempotency_key)
        if not as_json:
            show(f"{search.id}  {search.page}")
        if follow:
            search.follow(say)
        state = search.refresh()
        if as_json:
            print(json_text(state, indent=2))
        if follow and state["state"] != "finished":
            raise InputError(f"The search is {state['state']}: {state['message'] or search.page}")
        if follow and state["exit_code"]:
            raise typer.Exit(int(state["exit_code"]))


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
        from ..service.work.child import environment
        from ..service.work.searching import Place, signalled
        from ..service.work.worker import work

        folder = _data(data)
        settings = _config(_config_file(config, folder))
        connection = _connection(server)
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        place = Place(
            folder=folder / "runs",
            config=settings,
            variables=environment(os.environ, settings.environment),
            shares_disk=shares_disk,
        )
        called = name or socket.gethostname()
        has = [label.strip() for label in labels.split(",") if label.strip()]
        work(connection, place, name=called, labels=has, ends=signalled(), say=_say_now)


def _say_now(text: str) -> None:
    say(text)
    sys.stderr.flush()  # it goes on for days, and a file would get it at the end


def _show_now(text: str) -> None:
    show(text)
    sys.stdout.flush()


def _connection(server: str) -> "Connection":
    from ..service.work.connection import Connection

    return Connection(server, _token())


def _token() -> str:
    token = os.environ.get(TOKEN, "")
    if not token:
        raise InputError(f"There is no token: set {TOKEN} to the one that `autocompress serve` printed.")
    return token


def _data(folder: Path | None) -> Path:
    if folder is not None:
        return folder.resolve()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "autocompress"


def _config_file(file: Path | None, data: Path) -> Path | None:
    usual = data / "serve.toml"
    return file or (usual if usual.is_file() else None)


def _config(file: Path | None) -> "ServeConfig":
    from ..service.config import read_serve_config

    return read_serve_config(file)
