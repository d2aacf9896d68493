"""The command `nights`: the pages of the nights, made again of their records; and what `nightly` tells."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AutocompressError, InputError
from ..files import digest_of, write_text
from .console.log import say
from .support import errors, show

if TYPE_CHECKING:
    from ..nightly.config import NightlyConfig
    from ..nightly.records.night import Night

NightsOf = Annotated[
    Path,
    typer.Argument(
        metavar="[FILE|FOLDER]", help="The nightly.toml, or the folder that it keeps its nights in."
    ),
]


def nights(
    place: NightsOf = Path("nightly.toml"),
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the files are written; the nightly folder if not given."),
    ] = None,
) -> None:
    """Write the pages of all nights again: index.html, summary.json, junit.xml and summary.md.

    `nightly` does the same at the end of each night. Only records are read; nothing is run.

    Examples:

        autocompress nights

        autocompress nights nightly --out public
    """
    with errors():
        from ..nightly.pages.write import write_pages
        from ..nightly.places import Places

        folder = place if place.is_dir() else _folder_of(place)
        read = Places(folder=folder).read_nights()
        if not read:
            raise InputError(f"There are no nights in {folder}: `autocompress nightly` makes one.")
        show(*write_pages(out or folder, read))


def tell_of(config: "NightlyConfig", night: "Night") -> None:
    """Writes the pages after a night, adds it to the summary of a CI job, and tells whom the file names.

    What cannot be written or told is said on stderr: the night itself is done, and its exit code stays.
    """
    from ..nightly.pages.write import append_summary, write_pages
    from ..nightly.places import Places

    try:
        write_pages(config.folder, Places(folder=config.folder).read_nights() or (night,))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            append_summary(Path(summary), night)
    except OSError as error:
        say(f"The pages cannot be written ({error.strerror}): `autocompress nights` makes them again.")
    try:
        _notify(config, night)
    except AutocompressError as error:
        say(f"Nobody was told: {error}")


def _notify(config: "NightlyConfig", night: "Night") -> None:
    from ..nightly.pages.message import message_of
    from ..nightly.pages.sending import send
    from ..nightly.places import Places

    if config.notify is None or (message := message_of(night, config.notify.when)) is None:
        return
    told, variable = Places(folder=config.folder).night(night.name) / "told.txt", config.notify.addresses
    digest = digest_of(asdict(message))
    if told.is_file() and told.read_text(encoding="utf-8", errors="replace") == digest:
        return  # a night that waits for a board is called again and again, and says the same
    send(message, os.environ.get(variable, "").split(), variable=variable)
    write_text(told, digest)


def _folder_of(file: Path) -> Path:
    from ..nightly.config_file import read_config

    return read_config(file).folder
