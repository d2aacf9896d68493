"""The command `pick`: one point of a run as a deployment bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .console.completion import complete_target
from .console.log import LogFormat, LogFormatOption, Quiet, make_progress, say, say_error
from .support import (
    NOTHING_MEETS,
    GivenTaskSpec,
    MaxDrop,
    MaxEnergy,
    MaxLatency,
    MaxSize,
    RunPath,
    SetClocks,
    TaskArguments,
    errors,
    given_task,
    limits_by_target,
    parsed,
    part_of,
    show,
)

if TYPE_CHECKING:
    from ..deploy.asked_targets import Addresses
    from ..deploy.given_task import GivenTask
    from ..results.limits import Constraints
    from ..results.pick import Objective
    from ..results.records.point import Point
    from ..results.records.run import Run

GivenTargets = Annotated[
    str | None,
    typer.Option(
        "--target",
        autocompletion=complete_target,
        metavar="T[@user@host]",
        help="One target of a run with several. With --finetune also where it is: an address or TOML file "
        "that only the run names is not used.",
    ),
]
Minimize = Annotated[
    str | None,
    typer.Option(help="What to minimize within the limits: latency (the default), size or drop."),
]
TrialNumber = Annotated[
    int | None, typer.Option("--trial", metavar="N", help="Take this trial, as `front` numbers them.")
]
AllowSlower = Annotated[
    bool,
    typer.Option(
        "--allow-slower", help="Also take what is not shown to be at least as fast as the original."
    ),
]
FinetuneTime = Annotated[
    str | None, typer.Option(help="Train the point for this time, such as 30m, and measure it again.")
]
Packed = Annotated[
    bool, typer.Option("--packed", help="Entropy-code the model; run.py restores it bit for bit.")
]
Signing = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY",
        help="Sign the bundle with this private key of OpenSSH, such as ~/.ssh/id_ed25519; `verify --signer` "
        "checks it.",
    ),
]
BundlePath = Annotated[
    Path, typer.Option(metavar="DIR", help="The bundle's directory; must be new or empty.")
]


def pick(
    run: RunPath,
    *,
    target: GivenTargets = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_energy: MaxEnergy = None,
    minimize: Minimize = None,
    trial: TrialNumber = None,
    allow_slower: AllowSlower = False,
    finetune: FinetuneTime = None,
    task: GivenTaskSpec = None,
    task_arg: TaskArguments = None,
    set_clocks: SetClocks = False,
    packed: Packed = False,
    sign: Signing = None,
    out: BundlePath = Path("bundle"),
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Write the deployment bundle of one point: model.onnx, manifest.json, run.py, SHA256SUMS.

    Without limits it is the point that `front` marks with ★. A limit that is not given is the search's;
    without one on the drop, 1pp. Of points that latency does not tell apart the most accurate is taken. With
    several targets, --target picks the best point for that one. Without it, one point is picked for all of
    them, and each gets a bundle. Of a search over --runtimes the point is one file for one runtime. With
    --finetune the trained point joins the run, and is bundled if it is better. After Ctrl-C the same command
    continues.

    Examples:

        autocompress pick runs/digits-cpu --out bundle

        autocompress pick runs/digits-cpu --max-drop 0.5pp --minimize size --out bundle

        autocompress pick runs/digits-cpu --trial 12 --out bundle

        autocompress pick runs/digits-cpu --max-drop 1pp --finetune 30m --packed

        autocompress pick runs/mine-cpu --finetune 30m --task my_task.py:make

        autocompress pick runs/digits-cpu --sign ~/.ssh/id_ed25519 --out bundle
    """
    with errors():
        from ..results.run_directory import read_run

        whole = read_run(run)
        from ..deploy.bundle import require_free  # imports torch, for which a missing run need not wait

        given = _given_targets(run, whole, target)
        names = tuple(given) or whole.target_names
        content = part_of(whole, names[0] if len(names) == 1 else None)
        limits = limits_by_target(
            content.target_names,
            max_drop=max_drop,
            max_latency=max_latency,
            max_size=max_size,
            max_energy=max_energy,
        )
        if task is not None and finetune is None:
            raise InputError("--task is for --finetune: give both, or none.")
        training = given_task(task, task_arg, run=run)
        seconds, objective = parsed("parse_budget", finetune), _objective(minimize or "latency")
        if trial is not None and (max_drop or max_latency or max_size or max_energy or minimize):
            raise InputError("--trial names the point: leave out the limits and --minimize, or --trial.")
        require_free(out)
        if sign is not None:
            from ..deploy.bundled.signature import require_key

            require_key(sign)
        picked = _picked(content, limits, objective, trial=trial, allow_slower=allow_slower)
        if content.device is not None:
            names = tuple(content.measured(picked))
        point = whole.point(picked.trial)
        if seconds is not None:
            point = _finetuned(
                run,
                whole,
                point,
                task=training,
                targets=given,
                seconds=seconds,
                set_clocks=set_clocks,
                allow_slower=allow_slower,
                runtime=names[0] if content.device is not None else None,
            )
            whole = read_run(run)
        _bundle(run, whole, point, {name: limits[name] for name in names}, out, packed=packed, sign=sign)


def _given_targets(path: Path, run: "Run", text: str | None) -> "Addresses":
    """The targets of `--target` as the run calls them: none, one or all. InputError for some of several."""
    from ..deploy.asked_targets import addresses_of, called

    if text is None:
        return {}
    given = called(text, addresses_of(path, run))
    for name in given:
        part_of(run, name)
    if 1 < len(given) < len(run.target_names):
        raise InputError(f"--target {text!r} names {len(given)} of the run's targets: give one, or all.")
    return given


def _objective(text: str) -> "Objective":
    """The objective that `--minimize` names. InputError when it is unknown."""
    objectives: dict[str, Objective] = {"latency": "latency", "size": "size", "drop": "drop"}
    if text not in objectives:
        raise InputError(f"--minimize {text!r} is unknown: choose latency, size or drop.")
    return objectives[text]


def _picked(
    run: "Run",
    constraints: "Mapping[str, Constraints]",
    objective: "Objective",
    *,
    trial: int | None,
    allow_slower: bool,
) -> "Point":
    """The point of the trial that was named, or the best one within the limits. Without one, prints the
    nearest misses and exits with code 1. Says so where it is the original.
    """
    from ..results.choosing.choose import limits_for
    from ..results.choosing.recommended import original_reason
    from ..results.pick import NothingMeets, pick, resolved, trial_to_take

    limits = limits_for(run, resolved(run, constraints))
    if trial is not None:
        return trial_to_take(run, trial, allow_slower=allow_slower)
    try:
        point = pick(run, limits, minimize=objective, allow_slower=allow_slower)
    except NothingMeets as error:
        say_error(*str(error).split("\n"))
        raise typer.Exit(NOTHING_MEETS) from None
    if point.trial == run.baseline.trial:
        say(f"This is the original: {original_reason(run, limits)}.")
    return point


def _bundle(
    path: Path,
    run: "Run",
    point: "Point",
    limits: "Mapping[str, Constraints]",
    out: Path,
    *,
    packed: bool,
    sign: Path | None,
) -> None:
    """Writes the point's bundle to `out` and prints what is in it; with limits of several targets one for
    each, to `out/TARGET`.
    """
    from ..deploy.bundle import write_bundle
    from ..files import file_below
    from ..profiles.address import folder_name
    from ..results.formats import Formats, label_of, meets_text
    from ..results.placed import common_ratio
    from ..results.view import RunOn

    for name, limited in limits.items():
        view = RunOn.of(run, name)
        there, folder = view.on(point), out / folder_name(name) if len(limits) > 1 else out
        formats = Formats.of(view)
        artifact, original = (file_below(path, one.artifact.file) for one in (there, view.baseline))
        file = write_bundle(
            there, artifact, folder, original=original, packed=packed, sign=sign, run=path, note=say
        )
        size = formats.size_of(there)
        size += f" (packed {formats.size(file.stat().st_size)})" if packed else ""
        latency = formats.latency_of(there)
        if run.device is not None:
            latency = f"{formats.seconds_of(there)}, {common_ratio(run, point.on(name))}"
        numbers = [formats.quality_of(there), meets_text(there, limited), latency, size]
        where = "" if run.device is None else f" on {name}"
        show(f"{folder}: {label_of(there, view)}{where}, {', '.join(filter(None, numbers))}")


def _finetuned(
    path: Path,
    run: "Run",
    point: "Point",
    *,
    task: "GivenTask | None",
    targets: "Addresses",
    seconds: float,
    set_clocks: bool,
    allow_slower: bool,
    runtime: str | None,
) -> "Point":
    """The point after its fine-tuning; the unchanged point when that did not help, or made it slower than the
    original. Of the runtimes of a device, the target of one is judged.
    """
    from ..deploy.finetune import finetune
    from ..results.report import write_report
    from ..results.run_directory import read_run
    from ..targets.held_clocks import ClocksOfTargets

    try:
        with (
            make_progress() as progress,
            ClocksOfTargets(wanted=set_clocks, say=progress.note) as clocks,
        ):
            tuned = finetune(
                path,
                run,
                point,
                seconds=seconds,
                progress=progress,
                task=task,
                targets=targets,
                clocks=clocks,
            )
    except KeyboardInterrupt:
        say("Interrupted: the same command goes on from here.")
        raise
    run = read_run(path)
    if (path / "report.html").is_file():
        write_report(run, path / "report.html")
    part = run.only(*targets) if len(targets) == 1 else run
    part = part if runtime is None else run.only(runtime)
    return _better_of(part, tuned, point, allow_slower=allow_slower)


def _better_of(run: "Run", tuned: "Point", point: "Point", *, allow_slower: bool) -> "Point":
    """The fine-tuned point, or the point that it was made of where that is better; says which and why."""
    from ..results.choosing.slower import not_slower
    from ..results.formats import Formats, label_of
    from ..results.pick import cost_of
    from ..results.view import views_of

    view = views_of(run)[0]
    formats, names = Formats.of(run), (label_of(tuned, run), label_of(point, run))
    after, before = formats.quality_of(view.on(tuned)), formats.quality_of(view.on(point))
    if not (allow_slower or not_slower(run, tuned)):
        say(f"{names[0]} is not shown to be no slower than the original (--allow-slower): {names[1]} stays.")
        return point
    if tuned.trial == point.trial or cost_of(run, tuned, "drop") < cost_of(run, point, "drop"):
        say(f"{names[0]}: {after}; before: {before}")
        return tuned
    say(f"Fine-tuning did not help: {names[0]} has {after}, {names[1]} {before}.")
    return point
