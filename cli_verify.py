"""The command `verify`: a run's front, or a bundle, measured now."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from .cli_support import REGRESSED, Json, SetClocks, errors


def verify(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A run directory, or a bundle that `pick` wrote.")],
    *,
    target: Annotated[
        str | None,
        typer.Option(metavar="T[@user@host[:port]]", help="The target to measure on; that of the run or bundle if not given."),
    ] = None,
    set_clocks: SetClocks = False,
    as_json: Json = False,
) -> None:
    """Measure a front (or a bundle) on a target now, and compare with what was predicted or measured before.

    Exit code 4 when something regressed. An interrupted call goes on where it was.

    Examples:

        autocompress verify runs/digits-jetson --target jetson@user@10.0.0.5

        autocompress verify bundle
    """
    with errors(), tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        from .search.progress import make_progress
        from .search.verify import verify_run
        from .search.verify_bundle import is_bundle, verify_bundle
        from .search.verify_words import bundle_lines, run_lines
        from .targets.held_clocks import ClocksOfTargets

        bundle = is_bundle(path)
        with make_progress(quiet=as_json) as progress, ClocksOfTargets(wanted=set_clocks, say=progress.note) as clocks:
            verified = verify_bundle if bundle else verify_run
            found = verified(path, target, folder=Path(folder), say=progress.stage, note=progress.note, clocks=clocks)
        if as_json:
            print(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            print("\n".join(bundle_lines(found) if bundle else run_lines(found)))
        if found["regressed"]:
            raise typer.Exit(REGRESSED)
