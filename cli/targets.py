"""The commands about targets: `measure`, and `targets list|show|doctor|calibrate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, StageError, TargetUnavailable
from ..text.printable import json_text
from .console.completion import complete_target, complete_task
from .console.log import LogFormat, LogFormatOption, Quiet, make_progress, say
from .support import (
    UNAVAILABLE,
    Batch,
    FreeShapes,
    Json,
    SetClocks,
    TargetName,
    TaskArguments,
    errors,
    parsed,
    show,
    task_arguments,
)

if TYPE_CHECKING:
    from ..explore.preparation.calibrate_target import Report
    from ..explore.preparation.request import SearchRequest

targets_app = typer.Typer(help="Targets: list them, show what one can do, find what is missing to use one.")

Baseline = Annotated[
    Path | None, typer.Option(metavar="B.onnx", help="Measure against this model; itself if not given.")
]
Shapes = Annotated[
    list[str] | None, typer.Option(metavar="NAME=1,3,32,32", help="Shape of a dynamic input; repeatable.")
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_target,
        metavar="T[@user@host[:port]]",
        help="A target's name or TOML file. Several boards of one kind: T@a+b.",
    ),
]
DeviceArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_target,
        metavar="T[@user@host[:port]]",
        help="A target's name or TOML file, with the device's address.",
    ),
]
TaskOfModel = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_task,
        metavar="[TASK]",
        help="Whose model is measured: a built-in task or file.py:function.",
    ),
]
CalibrationTime = Annotated[
    str,
    typer.Option(help="Time for measuring, such as 2m. Measurements are kept; the next call adds to them."),
]
Raw = Annotated[bool, typer.Option("--raw", help="With --json: also the raw times of every block, as `raw`.")]
CheckCount = Annotated[
    int, typer.Option(metavar="N", help="Also measure N random candidates, and print the table's error.")
]


def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Any ONNX model, or .tflite.")],
    *,
    target: TargetName = "cpu",
    baseline: Baseline = None,
    batch: Annotated[int, typer.Option(help="Samples in one inference.")] = 1,
    shape: Shapes = None,
    set_clocks: SetClocks = False,
    as_json: Json = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
    raw: Raw = False,
) -> None:
    """Measure the latency of any ONNX model as a search does: fresh processes, paired blocks, an interval.

    Where a sensor counts energy, that of an inference is told beside it.

    Examples:

        autocompress measure model.onnx

        autocompress measure model.tflite --target cpu-litert

        autocompress measure int8.onnx --baseline model.onnx --target jetson@user@10.0.0.5

        autocompress measure detector.onnx --batch 8 --shape image=8,3,640,640
    """
    with errors():
        from ..evaluation.targets import target_at
        from ..profiles import load_profile, parse_target
        from ..results.records.energy import Energy
        from ..results.words.energies import energy_sentence
        from ..targets import measure_model, parse_shape
        from ..targets.held_clocks import ClocksOfTargets
        from ..targets.here import require_here
        from ..targets.target import LEFT_OUT

        if "," in target:
            raise InputError(
                f"--target {target!r} names several targets: measure on one at a time. Boards of one kind "
                "are one target with + between them, T@a+b."
            )
        if raw and not as_json:
            raise InputError("--raw is for --json: give both, or none.")
        shapes, address = dict(parse_shape(text) for text in shape or []), parse_target(target)
        profile = load_profile(address.profile)
        if address.local:
            require_here(profile)
        with ClocksOfTargets(wanted=set_clocks, say=say) as clocks:
            subject = target_at(profile, address, shapes=shapes, clocks=clocks.of(profile, address))
            measurement = measure_model(model, subject, baseline=baseline, batch=batch)
        energy = Energy.of([measurement])
        files = {"model": model, "baseline": baseline}
        for side, options in measurement.details.get(LEFT_OUT, {}).items():
            if files[side] is not None:
                say(
                    f"Note: {files[side]} was not written by autocompress. It is measured with the runtime's "
                    f"defaults, without {', '.join(options)}."
                )
        if as_json:
            blocks: dict[str, object] = {"raw": measurement.to_json()} if raw else {}
            if energy is not None:
                blocks["energy"] = energy.to_json()
            print(json_text(measurement.summary_json() | blocks, indent=2))
        else:
            show(f"{model}: {measurement}")
            if energy is not None:
                show(f"{model}: {energy_sentence(energy)}")


@targets_app.callback()
def targets(context: typer.Context) -> None:
    """List the targets."""
    if context.invoked_subcommand is None:
        targets_list()


@targets_app.command("list")
def targets_list() -> None:
    """List the built-in targets: those of this machine, then boards, which are reached over SSH."""
    with errors():
        from ..profiles import ALIASES, load_profile, profile_names

        profiles = [load_profile(name) for name in profile_names()]
        groups = {"This machine, or one over SSH (T@user@host)": False, "Boards over SSH (T@user@host)": True}
        for title, boards in groups.items():
            print(f"{title}:")
            for profile in profiles:
                if (profile.device is not None) == boards:
                    aliases = [alias for alias, name in ALIASES.items() if name == profile.name]
                    also = f" (also called {', '.join(aliases)})" if aliases else ""
                    show(f"  {profile.name:18} {profile.runtime:13} {profile.description}{also}")


@targets_app.command("show")
def targets_show(
    name: TargetArgument,
    *,
    as_json: Json = False,
) -> None:
    """Show what a target can do, and what that means for a search."""
    with errors():
        from dataclasses import asdict

        from ..profiles import load_profile, parse_target
        from ..profiles.explain import explain

        address = parse_target(name)
        profile = load_profile(address.profile)
        where = {name: value for name, value in asdict(address).items() if name not in ("others", "cluster")}
        if address.others:
            where["others"] = [board.place for board in address.others]
        facts = {"timer": profile.timer, "fingerprint": profile.fingerprint, "address": where}
        print(json_text({**profile.to_json(), **facts}, indent=2) if as_json else explain(profile, address))


@targets_app.command("doctor")
def targets_doctor(
    name: TargetArgument = "cpu",
    *,
    as_json: Json = False,
) -> None:
    """Check whether a target can be used and its measurements trusted, and print how to fix what is wrong.

    MISSING: the target cannot be used until this is fixed, and the exit code is 3. note: it can be used, but
    look at this first.
    """
    with errors():
        from dataclasses import asdict

        from ..profiles import load_profile, parse_target
        from ..profiles.alternatives import runtimes_text
        from ..targets.doctor import doctor

        address = parse_target(name)
        findings = doctor(load_profile(address.profile), address)
        if as_json:
            print(json_text([asdict(finding) for finding in findings], indent=2))
        else:
            for finding in findings:
                missing = "MISSING" if finding.needed else "note"
                mark = "ok" if finding.ok else missing
                show(f"{mark:7} {finding.name}: {finding.detail}")
                if finding.remedy:
                    show(f"        {finding.remedy}")
            if text := runtimes_text(address):
                show(text)
        if any(finding.needed and not finding.ok for finding in findings):
            raise typer.Exit(UNAVAILABLE)


@targets_app.command("calibrate")
def targets_calibrate(
    name: DeviceArgument = "cpu",
    task: TaskOfModel = "digits",
    *,
    task_arg: TaskArguments = None,
    batch: Batch = 1,
    shape: FreeShapes = None,
    budget: CalibrationTime = "2m",
    check: CheckCount = 0,
    set_clocks: SetClocks = False,
    as_json: Json = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Measure a target's latency table. Later searches predict from it how fast a candidate is.

    Examples:

        autocompress targets calibrate cpu

        autocompress targets calibrate cpu my_task.py:make --budget 10m --check 50

        autocompress targets calibrate jetson@user@10.0.0.5 my_task.py:make
    """
    with errors():
        from ..explore.preparation.early import check_early
        from ..explore.preparation.request import SearchRequest

        if check < 0:
            raise InputError(f"--check {check} is no number of candidates: give 0 or more.")
        request = SearchRequest(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=name,
            batch=batch,
            shapes=tuple(shape or ()),
            budget_s=parsed("parse_budget", budget),
            sampler="random",
            set_clocks=set_clocks,
        )
        check_early(request)
        reports = _calibrated(request, check=check, quiet=as_json)
        values = [report.to_json() for report in reports]
        if as_json:
            print(json_text(values[0] if len(values) == 1 else values, indent=2))
        else:
            print(*reports, sep="\n")


def _calibrated(request: "SearchRequest", *, check: int, quiet: bool) -> "Sequence[Report]":
    """What the calibration of each target did. TargetUnavailable when one cannot be calibrated."""
    from ..explore.preparation.calibrate_target import calibrate_targets
    from ..explore.preparation.prepare import prepare
    from ..targets.held_clocks import ClocksOfTargets

    with (
        make_progress(silent=quiet) as progress,
        ClocksOfTargets(wanted=request.set_clocks, say=progress.note) as clocks,
    ):
        checked = prepare(request, progress, clocks=clocks)
        try:
            return calibrate_targets(
                checked, budget_s=request.budget_s or 0.0, check_count=check, progress=progress.stage
            )
        except StageError as error:
            raise TargetUnavailable(f"The target {request.target} cannot be calibrated: {error}") from error
