"""The commands `verify` and `drift`: a run's front, or a bundle, measured now; a bundle in use."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..text.printable import json_text, printable_strings
from .console.completion import complete_run, complete_target
from .console.log import LogFormat, LogFormatOption, Quiet, make_progress, say
from .support import (
    REGRESSED,
    UNAVAILABLE,
    GivenTaskSpec,
    Json,
    SetClocks,
    TaskArguments,
    errors,
    given_task,
    parsed,
    show,
)

if TYPE_CHECKING:
    from ..deploy.given_task import GivenTask
    from ..results.records.bundle_verification import BundleVerification
    from ..results.records.verification import Verification

VerifiedPath = Annotated[
    Path,
    typer.Argument(
        autocompletion=complete_run,
        metavar="RUN|BUNDLE",
        help="A run directory, or a bundle that `pick` wrote.",
    ),
]
VerifiedTargets = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_target,
        metavar="T[@user@host][,T…]",
        help="The targets to measure on, with the address of a board. If not given: those of the run or "
        "bundle that are ours and on this machine.",
    ),
]

Signer = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A public key, or a file of allowed signers (ssh-keygen): the bundle must be signed by one of "
        "them, before anything else of it is read.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit code 4, too, when a check was skipped or a target was away.")
]


def verify(
    path: VerifiedPath,
    *,
    target: VerifiedTargets = None,
    task: GivenTaskSpec = None,
    task_arg: TaskArguments = None,
    set_clocks: SetClocks = False,
    strict: Strict = False,
    signer: Signer = None,
    as_json: Json = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Measure a front (or a bundle) on a target now, and compare with what was predicted or measured before.

    Quality is looked at with --task, or where the task is digits: a run or bundle may be somebody else's, and
    its code is not run. Targets that are away are left out and named. The exit code is 4 when something
    regressed, else 3 when a target was away. After Ctrl-C, or when a target is back, the same command
    continues.

    Examples:

        autocompress verify runs/digits-cpu,edge

        autocompress verify runs/digits-jetson --target jetson@user@10.0.0.5

        autocompress verify bundle --task my_task.py:make

        autocompress verify bundle --signer ann.pub
    """
    with errors():
        if not path.is_dir():
            raise InputError(
                f"{path} is no directory: give a run that `search` wrote, such as runs/NAME, or a bundle of "
                "`pick`."
            )
        from ..deploy.read_bundle import is_bundle

        bundle = is_bundle(path)
        who = _signed_by(path, signer, bundle=bundle)
        given = given_task(task, task_arg, run=path)
        _check_early(path, target, bundle=bundle)
        try:
            verified = _verified(
                path,
                target,
                given,
                bundle=bundle,
                set_clocks=set_clocks,
                quiet=as_json,
            )
        except KeyboardInterrupt:
            say("Interrupted: the same command " + ("starts anew." if bundle else "goes on from here."))
            raise
        _show(verified, as_json=as_json, strict=strict, signed_by=who)


def _signed_by(path: Path, signer: Path | None, *, bundle: bool) -> str | None:
    """Who signed the bundle, None where nobody asks. InputError for another signature, and for a file that
    it does not cover.
    """
    from ..deploy.bundled.signature import require_signed

    if signer is None:
        return None
    if not bundle:
        raise InputError(f"--signer is for bundles, and {path} is none: leave it out.")
    who = require_signed(path, signer)
    from ..deploy.read_bundle import require_nothing_else  # imports torch

    require_nothing_else(path)
    return who


def _check_early(path: Path, target: str | None, *, bundle: bool) -> None:
    """Raises InputError for what can be refused before torch is imported, which takes seconds."""
    from ..deploy.asked_targets import asked_targets
    from ..deploy.read_bundle import read_manifest
    from ..results.run_directory import read_run

    if bundle:
        read_manifest(path)
    else:
        asked_targets(path, read_run(path), target)


def _verified(
    path: Path, target: str | None, task: "GivenTask | None", *, bundle: bool, set_clocks: bool, quiet: bool
) -> "Verification | BundleVerification":
    """What a run's or a bundle's models measure now."""
    from ..deploy.verify_bundle import verify_bundle
    from ..deploy.verify_run import verify_run
    from ..explore.session.waits import WaitsShown
    from ..scratch import temporary_folder
    from ..targets.held_clocks import ClocksOfTargets
    from ..targets.lease import WAITS

    measure = verify_bundle if bundle else verify_run
    with (
        temporary_folder() as folder,
        make_progress(silent=quiet) as progress,
        ClocksOfTargets(wanted=set_clocks, say=progress.note) as clocks,
        WAITS.told(f"verify {path.resolve()}", WaitsShown(progress)),
    ):
        return measure(
            path,
            target,
            folder=folder,
            say=progress.stage,
            note=progress.note,
            task=task,
            clocks=clocks,
        )


def _show(
    verified: "Verification | BundleVerification", *, as_json: bool, strict: bool, signed_by: str | None
) -> None:
    """Prints what was measured, and exits with its code."""
    from ..results.records.verification import Verification
    from ..results.records.verification_versions import json_for_scripts
    from ..results.words.verified import bundle_lines, run_lines

    if isinstance(verified, Verification):
        value, lines, away = json_for_scripts(verified), run_lines(verified), bool(verified.away)
    else:
        value, lines, away = verified.to_json(), bundle_lines(verified), False
        value["signed_by"] = signed_by
        lines = [f"signed by {signed_by}", *lines] if signed_by else lines
    if as_json:
        print(json_text(value, indent=2))
    else:
        show(*lines)
    if verified.regressed or (strict and (verified.skipped or away)):
        raise typer.Exit(REGRESSED)
    if away:
        raise typer.Exit(UNAVAILABLE)


Logs = Annotated[
    list[Path],
    typer.Argument(metavar="LOGS…", help="Logs of the bundle's monitor, or folders of *.jsonl files."),
]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that `pick` wrote.")]
LatencyLimit = Annotated[
    str | None, typer.Option("--max-latency", metavar="TIME", help="Also when p99 is above it, such as 2ms.")
]


Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what was logged from then on: 2026-11-28, 2026-11-28T06:30 (local time) or 24h, back from "
        "now.",
    ),
]
Page = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page of it.")]


def drift(
    bundle: Bundle,
    logs: Logs,
    *,
    max_latency: LatencyLimit = None,
    since: Since = None,
    html: Page = None,
    as_json: Json = False,
) -> None:
    """Say what changed where a bundle is used: its inputs, its answers, its latency; and which claims still
    hold.

    The logs come from `python bundle/run.py … --monitor LOG.jsonl`, or from `monitor("LOG.jsonl")` in a
    program. The exit code is 4 when a claim of the manifest no longer holds. Nothing of the bundle is run.

    Examples:

        autocompress drift bundle log.jsonl

        autocompress drift bundle logs/ --since 24h --max-latency 2ms --html drift.html
    """
    with errors():
        limit_s = parsed("parse_duration", max_latency)
        from ..deploy.drift.judge import drift_of
        from ..deploy.drift.words import drift_lines
        from ..profiles.units import parse_since

        if html is not None and html.is_dir():
            raise InputError(
                f"--html {html} is a folder: give the name of a file, such as {html}/drift.html."
            )
        seen = drift_of(bundle, logs, limit_s=limit_s, since_s=None if since is None else parse_since(since))
        if as_json:
            print(json_text(printable_strings(seen.to_json()), indent=2))
        else:
            show(*drift_lines(seen))
        if html is not None:
            from ..deploy.drift.page import write_drift

            write_drift(seen, html)
            if not as_json:
                show(html)
        if seen.broken:
            raise typer.Exit(REGRESSED)
