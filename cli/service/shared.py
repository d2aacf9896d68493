"""What the commands of the service share: where its data are, the token, lines that appear at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..console.log import say
from ..support import show

if TYPE_CHECKING:
    from ...service.config import ServeConfig

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


def say_now(text: str) -> None:
    """Says it at once: a command goes on for days, and a file would get it at the end."""
    say(text)
    sys.stderr.flush()


def show_now(text: str) -> None:
    """Prints it to stdout at once."""
    show(text)
    sys.stdout.flush()


def token() -> str:
    """The token of the environment. InputError without one."""
    token = os.environ.get(TOKEN, "")
    if not token:
        raise InputError(f"There is no token: set {TOKEN} to the one that `autocompress serve` printed.")
    return token


def data_folder(folder: Path | None) -> Path:
    """The folder of the service: that of --data, or the usual one."""
    if folder is not None:
        return folder.resolve()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "autocompress"


def config_file(file: Path | None, data: Path) -> Path | None:
    """serve.toml: that of --config, or the one in the folder; None without one."""
    usual = data / "serve.toml"
    return file or (usual if usual.is_file() else None)


def config_of(file: Path | None) -> "ServeConfig":
    """What serve.toml says. InputError where it is wrong."""
    from ...service.config import read_serve_config

    return read_serve_config(file)
