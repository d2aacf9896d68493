"""The command `pick`: one point of a run as a deployment bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .support import (
    NOTHING_MEETS,
    MaxDrop,
    MaxLatency,
    MaxSize,
    RunPath,
    SetClocks,
    TargetOfRun,
    errors,
    limits_by_target,
    parsed,
    say,
)

if TYPE_CHECKING:
    from ..results.records.point import Point
    from ..results.records.run import Run


def pick(
    run: RunPath,
    *,
    target: TargetOfRun = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    minimize: Annotated[
        str, typer.Option(help="What to minimize within the limits: latency, size or drop.")
    ] = "latency",
    finetune: Annotated[
        str | None, typer.Option(help="Recover the point for so long, such as 30m, and measure it again.")
    ] = None,
    set_clocks: SetClocks = False,
    packed: Annotated[
        bool, typer.Option("--packed", help="Entropy-code the model; run.py restores it bit for bit.")
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The bundle's directory; must be new or empty.")
    ] = Path("bundle"),
) -> None:
    """Write the deployment bundle of one point: model.onnx, manifest.json, run.py, SHA256SUMS.

    With --finetune the recovered point joins the run, and is bundled if it is better. Ctrl-C: the same
    command goes on.

    Examples:

        autocompress pick runs/digits-cpu --max-drop 1pp --minimize size --out bundle

        autocompress pick runs/digits-cpu --max-drop 1pp --finetune 30m --packed

    Of a run with several targets, --target picks the best point of one; without it one point for all, bundled
    for each.
    """
    with errors():
        from ..deploy.bundle import require_free
        from ..results.pick import NothingMeets, resolved
        from ..results.pick import pick as pick_point
        from ..results.run_directory import read_run
        from ..results.view import RunOn

        whole = read_run(run)
        content = RunOn.of(whole, target).run if target else whole
        constraints = limits_by_target(
            content.target_names, max_drop=max_drop, max_latency=max_latency, max_size=max_size
        )
        seconds = parsed("parse_duration", finetune)
        if minimize not in ("latency", "size", "drop"):
            raise InputError(f"--minimize {minimize!r} is unknown: choose latency, size or drop.")
        require_free(out)
        try:
            picked = pick_point(content, resolved(content, constraints), minimize=minimize)  # type: ignore[arg-type]
        except NothingMeets as error:
            say(str(error))
            raise typer.Exit(NOTHING_MEETS) from None
        point = whole.point(picked.trial)
        if seconds is not None:
            point = _finetuned(run, whole, point, seconds=seconds, set_clocks=set_clocks)
            whole = read_run(run)
        targets = (target,) if target else whole.target_names
        _bundle(run, whole, point, targets, out, packed=packed)


def _bundle(
    path: Path, run: "Run", point: "Point", targets: tuple[str, ...], out: Path, *, packed: bool
) -> None:
    """Writes the point's bundle to `out`, or with several targets one for each to `out/TARGET`, and says what
    is in it.
    """
    from ..deploy.bundle import write_bundle
    from ..results.formats import Formats, label_of
    from ..results.view import RunOn

    for name in targets:
        view = RunOn.of(run, name)
        there, folder = view.on(point), out / name if len(targets) > 1 else out
        formats = Formats.of(view)
        file = write_bundle(there, path / there.artifact.file, folder, packed=packed)
        size = formats.size_of(there)
        size += f" (packed {formats.size(file.stat().st_size)})" if packed else ""
        numbers = f"{formats.quality_of(there)}, {formats.latency_of(there)}, {size}"
        print(f"{folder}: {label_of(there, view)}, {numbers}")


def _finetuned(path: Path, run: "Run", point: "Point", *, seconds: float, set_clocks: bool) -> "Point":
    """The point after its fine-tuning; the unchanged point when that did not help."""
    from ..deploy.finetune import finetune
    from ..results.formats import Formats, label_of
    from ..results.pick import cost_of
    from ..results.report import write_report
    from ..results.run_directory import read_run
    from ..results.view import views_of
    from ..search.session.interrupt import Interrupts
    from ..search.session.progress import make_progress
    from ..targets.held_clocks import ClocksOfTargets

    try:
        with (
            make_progress(quiet=False) as progress,
            ClocksOfTargets(wanted=set_clocks, say=progress.note) as clocks,
            Interrupts() as interrupts,
            interrupts.allowed(),
        ):
            tuned = finetune(path, run, point, seconds=seconds, progress=progress, clocks=clocks)
    except KeyboardInterrupt:
        say("Interrupted: the same command goes on from here.")
        raise
    run = read_run(path)
    if (path / "report.html").is_file():
        write_report(run, path / "report.html")
    view = views_of(run)[0]
    formats, names = Formats.of(run), (label_of(tuned, run), label_of(point, run))
    after, before = formats.quality_of(view.on(tuned)), formats.quality_of(view.on(point))
    if tuned.trial == point.trial or cost_of(run, tuned, "drop") < cost_of(run, point, "drop"):
        say(f"{names[0]}: {after}; before: {before}")
        return tuned
    say(f"Fine-tuning did not help: {names[0]} has {after}, {names[1]} {before}.")
    return point
