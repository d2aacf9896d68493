"""The commands about targets: `measure`, and `targets list|show|doctor|calibrate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, StageError, TargetUnavailable
from .support import UNAVAILABLE, Json, SetClocks, TargetName, errors, parsed, say, task_arguments

targets_app = typer.Typer(help="Targets: which there are, what they can do, what is missing to use one.")


def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Any ONNX model.")],
    *,
    target: TargetName = "cpu",
    baseline: Annotated[
        Path | None, typer.Option(metavar="B.onnx", help="Measure against this model; itself if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples in one inference.")] = 1,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="NAME=1,3,32,32", help="Shape of a dynamic input; repeatable.")
    ] = None,
    set_clocks: SetClocks = False,
    as_json: Json = False,
) -> None:
    """Measure the latency of any ONNX model with the protocol of the search: fresh processes, paired blocks,
    an interval.

    Examples:

        autocompress measure model.onnx

        autocompress measure int8.onnx --baseline model.onnx --target jetson@user@10.0.0.5

        autocompress measure detector.onnx --batch 8 --shape image=8,3,640,640
    """
    with errors():
        from ..profiles import load_profile, parse_target
        from ..targets import Target, measure_model, parse_shape
        from ..targets.held_clocks import ClocksOfTargets
        from ..targets.here import require_here

        if "," in target:
            raise InputError(f"--target {target!r} names several targets: measure on one at a time.")
        shapes, address = dict(parse_shape(text) for text in shape or []), parse_target(target)
        profile = load_profile(address.profile)
        if address.local:
            require_here(profile)
        with ClocksOfTargets(wanted=set_clocks, say=say) as clocks:
            subject = Target(profile, shapes=shapes, address=address, clocks=clocks.of(profile, address))
            measurement = measure_model(model, subject, baseline=baseline, batch=batch)
        print(json.dumps(measurement.to_json()) if as_json else f"{model}: {measurement}")


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
                    print(f"  {profile.name:18} {profile.runtime:13} {profile.description}{also}")


@targets_app.command("show")
def targets_show(
    name: Annotated[
        str, typer.Argument(metavar="T[@user@host[:port]]", help="A target's name or TOML file.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Explain what a target can do, and what that means for a search."""
    with errors():
        from dataclasses import asdict

        from ..profiles import load_profile, parse_target
        from ..profiles.explain import explain

        address = parse_target(name)
        profile = load_profile(address.profile)
        facts = {"timer": profile.timer, "fingerprint": profile.fingerprint, "address": asdict(address)}
        print(
            json.dumps({**profile.to_json(), **facts}, indent=2, ensure_ascii=False)
            if as_json
            else explain(profile, address)
        )


@targets_app.command("doctor")
def targets_doctor(
    name: Annotated[
        str, typer.Argument(metavar="T[@user@host[:port]]", help="A target's name or TOML file.")
    ] = "cpu",
    *,
    as_json: Json = False,
) -> None:
    """Tell what is missing to use a target, or to trust what it measures, and what mends it. Exit code 3 if
    it is unusable.

    MISSING: it cannot be used without; note: it can, but look at it first.
    """
    with errors():
        from dataclasses import asdict

        from ..profiles import load_profile, parse_target
        from ..targets.doctor import doctor

        address = parse_target(name)
        findings = doctor(load_profile(address.profile), address)
        if as_json:
            print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
        else:
            for finding in findings:
                mark = "ok" if finding.ok else "MISSING" if finding.needed else "note"
                print(f"{mark:7} {finding.name}: {finding.detail}")
                if finding.remedy:
                    print(f"        {finding.remedy}")
        if any(finding.needed and not finding.ok for finding in findings):
            raise typer.Exit(UNAVAILABLE)


@targets_app.command("calibrate")
def targets_calibrate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="T[@user@host[:port]]", help="A target's name or TOML file, and the device's address."
        ),
    ] = "cpu",
    task: Annotated[
        str,
        typer.Argument(
            metavar="[TASK]", help="Whose model is measured: a built-in task or file.py:function."
        ),
    ] = "digits",
    *,
    task_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An argument of the task's function; repeatable."),
    ] = None,
    batch: Annotated[int, typer.Option(help="The batch size that is measured.")] = 1,
    budget: Annotated[
        str,
        typer.Option(help="Time for it, such as 2m; what is measured is kept, so that it can go on later."),
    ] = "2m",
    check: Annotated[
        int, typer.Option(metavar="N", help="Measure N random candidates, too, and tell the table's error.")
    ] = 0,
    set_clocks: SetClocks = False,
    as_json: Json = False,
) -> None:
    """Measure a target's latency table: from it later searches predict how fast a candidate is.

    Examples:

        autocompress targets calibrate cpu

        autocompress targets calibrate cpu examples/cifar10.py:resnet20 --task-arg data=../shared/data --check
        50

        autocompress targets calibrate jetson@user@10.0.0.5 my_task.py:make
    """
    with errors():
        from ..search.preparation.calibrate_target import calibrate_targets
        from ..search.preparation.prepare import prepare
        from ..search.preparation.request import SearchRequest
        from ..search.session.progress import make_progress
        from ..targets.held_clocks import ClocksOfTargets

        if check < 0:
            raise InputError(f"--check {check} is no number of candidates: give 0 or more.")
        request = SearchRequest(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=name,
            batch=batch,
            budget_s=parsed("parse_duration", budget),
            trials=None,
            sampler="random",
            seed=0,
            out=None,
            fresh=False,
            command="",
        )
        with (
            make_progress(quiet=as_json) as progress,
            ClocksOfTargets(wanted=set_clocks, say=progress.note) as clocks,
        ):
            checked = prepare(request, progress, clocks=clocks)
            try:
                reports = calibrate_targets(
                    checked, budget_s=request.budget_s or 0.0, check_count=check, progress=progress.stage
                )
            except StageError as error:
                raise TargetUnavailable(f"The target {name} cannot be calibrated: {error}") from error
        values = [report.to_json() for report in reports]
        if as_json:
            print(json.dumps(values[0] if len(values) == 1 else values, indent=2))
        else:
            print(*reports, sep="\n")
