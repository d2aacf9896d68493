"""The command line. Parses, calls one function of the package, prints; every import of substance happens
inside a command.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 nothing meets the limits; 2 bad input;
3 the target cannot be used; 4 something regressed (`verify`); 130 interrupted, and the same command goes on.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import InputError
from .support import (
    INTERRUPTED,
    NOTHING_MEETS,
    Json,
    SetClocks,
    TargetNames,
    errors,
    limits_by_target,
    parsed,
    say,
    task_arguments,
)
from .targets import measure, targets_app
from .verify import verify

if TYPE_CHECKING:
    from ..search.request import SearchRequest

app = typer.Typer(
    name="autocompress",
    help="Compress a trained PyTorch model for named hardware: search, measure, pick, ship.",
    epilog="First steps: `autocompress search` (a built-in example, 3 minutes), then `autocompress front runs/digits-cpu`.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(targets_app, name="targets", invoke_without_command=True)
app.command()(measure)
app.command()(verify)

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The run directory that `search` wrote, such as runs/digits-cpu."),
]
MaxDrop = Annotated[
    str | None, typer.Option(help="Quality that may be lost: 1pp (points), 1% (of the original), 0.1abs.")
]
MaxLatency = Annotated[
    list[str] | None,
    typer.Option(metavar="[T=]TIME", help="Latency of one inference, such as 2ms; T=2ms on one target."),
]
MaxSize = Annotated[
    list[str] | None,
    typer.Option(metavar="[T=]SIZE", help="Size of the file, such as 200KB (1 KB = 1024 B)."),
]
TargetOfRun = Annotated[
    str | None, typer.Option("--target", metavar="T", help="One target of a run with several.")
]


@app.command()
def search(
    task: Annotated[
        str,
        typer.Argument(
            metavar="[TASK]", help="A built-in task (digits, image-folder) or path/to/file.py:function."
        ),
    ] = "digits",
    *,
    target: TargetNames = "cpu",
    task_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An argument of the task's function; repeatable."),
    ] = None,
    batch: Annotated[int, typer.Option(help="The batch size that is measured.")] = 1,
    budget: Annotated[
        str | None, typer.Option(help="Time for the search, such as 20m; 3m if --trials is not given.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Stop after so many measured candidates.")] = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    sampler: Annotated[
        str, typer.Option(help="front (tables, dynamic programming, rungs), tpe, nsga2, gp or random.")
    ] = "front",
    recovery: Annotated[
        bool,
        typer.Option(
            "--recovery/--no-recovery",
            help="Whether candidates may be trained (distilled from the original).",
        ),
    ] = True,
    allow_predicted: Annotated[
        bool,
        typer.Option(
            "--allow-predicted", help="Predict the latency on a target that cannot be used (marked ~)."
        ),
    ] = False,
    warm_start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Try the front of an earlier run first, of this task or a similar one.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler and of recovery.")] = 0,
    set_clocks: SetClocks = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run directory; runs/TASK-TARGET if not given.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new run beside an existing one.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell the search space and the time, and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search the Pareto front of compressed models: quality, latency on the target, size.

    The same command continues an interrupted run. Ctrl-C stops safely.

    Examples:

        autocompress search

        autocompress search examples/cifar10.py:resnet20 --task-arg data=../shared/data --budget 20m
        --max-drop 1pp

        autocompress search my_task.py:make --max-latency 2ms --max-size 200KB --dry-run

        autocompress search my_task.py:make --budget 8h --from runs/yesterday

        autocompress search my_task.py:make --target cpu,edge.toml --max-latency cpu=2ms,edge=9ms

        autocompress search my_task.py:make --target jetson@user@10.0.0.5
    """
    with errors():
        from ..results.target_limits import target_addresses
        from ..search.request import SearchRequest

        names = list(target_addresses(target))
        first, *further = limits_by_target(
            names, max_drop=max_drop, max_latency=max_latency, max_size=max_size
        ).items()
        request = SearchRequest(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=target,
            batch=batch,
            budget_s=parsed("parse_duration", budget),
            trials=trials,
            constraints=first[1],
            further=dict(further),
            sampler=sampler,
            recovery=recovery,
            allow_predicted=allow_predicted,
            warm_start=warm_start,
            seed=seed,
            set_clocks=set_clocks,
            out=out,
            fresh=fresh,
            command=shlex.join(["autocompress", *sys.argv[1:]]),
        )
        _plan(request, as_json=as_json) if dry_run else _search(request, as_json=as_json)


def _plan(request: "SearchRequest", *, as_json: bool) -> None:
    from ..search.plan import plan_json, plan_text
    from ..search.prepare import prepare
    from ..search.session.progress import make_progress

    with make_progress(quiet=as_json) as progress:
        plan = plan_json(prepare(request, progress, planning=True))
    print(json.dumps(plan, indent=2, ensure_ascii=False) if as_json else plan_text(plan))


def _search(request: "SearchRequest", *, as_json: bool) -> None:
    from ..results.report import write_report
    from ..results.run_directory import read_run
    from ..search.prepare import open_search, prepare
    from ..search.session.progress import make_progress
    from ..targets.held_clocks import ClocksOfTargets

    with (
        make_progress(quiet=as_json) as progress,
        ClocksOfTargets(wanted=request.set_clocks, say=progress.note) as clocks,
    ):
        problem = prepare(request, progress, clocks=clocks)
        with open_search(problem, progress) as running:
            status, directory = running.run(), running.directory.path
    if status == "interrupted" and not (directory / "front.json").is_file():
        raise typer.Exit(INTERRUPTED)
    run = read_run(directory)
    write_report(run, directory / "report.html")
    _print_front(run, as_json=as_json)
    say(
        f"Report: {directory / 'report.html'}\nNext:   autocompress pick {directory} --max-drop 1pp --out bundle"
    )
    if status == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if not run["front"]:
        _explain_misses(run)


def _explain_misses(run: dict[str, Any]) -> NoReturn:
    """Tells the nearest misses and ends with exit code 1."""
    from ..results.pick import NothingMeets, limits_of
    from ..results.pick_point import picked
    from ..results.views import run_on, targets_of

    try:
        picked(run, {name: limits_of(run_on(run, name)) for name in targets_of(run)})
    except NothingMeets as error:
        say(str(error))
    raise typer.Exit(NOTHING_MEETS)


@app.command()
def front(
    run: Run,
    *,
    target: TargetOfRun = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")] = False,
) -> None:
    """Show the front of a run as a table, every number with its spread; of several targets the joint front
    and each one's own.
    """
    with errors():
        from ..results.run_directory import read_run
        from ..results.views import run_on

        if as_json and as_csv:
            raise InputError("--json and --csv exclude each other: give one of the two.")
        content = read_run(run)
        _print_front(run_on(content, target) if target else content, as_json=as_json, as_csv=as_csv)


@app.command()
def pick(
    run: Run,
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
        from ..results.pick import NothingMeets
        from ..results.pick_point import picked, resolved
        from ..results.run_directory import read_run
        from ..results.views import has_several, point_of, point_on, run_on, targets_of

        whole = read_run(run)
        content = run_on(whole, target) if target or not has_several(whole) else whole
        given = limits_by_target(
            targets_of(content), max_drop=max_drop, max_latency=max_latency, max_size=max_size
        )
        seconds = parsed("parse_duration", finetune)
        if minimize not in ("latency", "size", "drop"):
            raise InputError(f"--minimize {minimize!r} is unknown: choose latency, size or drop.")
        require_free(out)
        try:
            point = picked(content, resolved(content, given), minimize=minimize)  # type: ignore[arg-type]
        except NothingMeets as error:
            say(str(error))
            raise typer.Exit(NOTHING_MEETS) from None
        if seconds is not None:
            tuned = _finetuned(
                run, whole, point_of(whole, point["trial"]), seconds=seconds, set_clocks=set_clocks
            )
            point = point_on(tuned, target) if target and has_several(whole) else tuned
        _bundle(run, content, point, out, packed=packed)


def _bundle(path: Path, run: dict[str, Any], point: Mapping[str, Any], out: Path, *, packed: bool) -> None:
    """Writes the point's bundle to `out`, or with several targets one for each to `out/TARGET`, and says what
    is in it.
    """
    from ..deploy.bundle import write_bundle
    from ..results.formats import Formats, label_of
    from ..results.views import has_several, point_on, run_on, targets_of

    formats = Formats.of(run)
    for name in targets_of(run):
        several = has_several(run)
        seen, view, folder = (
            (point_on(point, name), run_on(run, name), out / name) if several else (point, run, out)
        )
        file = write_bundle(seen, view, path / seen["artifact"]["file"], folder, packed=packed)
        size = formats.size_of(seen) + (f" (packed {formats.size(file.stat().st_size)})" if packed else "")
        print(
            f"{folder}: {label_of(seen, view)}, {formats.quality_of(seen)}, {formats.latency_of(seen)}, {size}"
        )


def _finetuned(
    path: Path, run: dict[str, Any], point: Mapping[str, Any], *, seconds: float, set_clocks: bool
) -> Mapping[str, Any]:
    """The point after its fine-tuning; the unchanged point when that did not help."""
    from ..deploy.finetune import finetune
    from ..results.formats import Formats, label_of
    from ..results.report import write_report
    from ..results.run_directory import read_run
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
    if (path / "report.html").is_file():
        write_report(read_run(path), path / "report.html")
    formats, names = Formats.of(run), (label_of(tuned, run), label_of(point, run))
    if tuned["trial"] == point["trial"] or tuned["drop"] < point["drop"]:
        say(f"{names[0]}: {formats.quality_of(tuned)}; before: {formats.quality_of(point)}")
        return tuned
    say(
        f"Fine-tuning did not help: {names[0]} has {formats.quality_of(tuned)}, {names[1]} {formats.quality_of(point)}."
    )
    return point


@app.command()
def report(
    run: Run,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The HTML file; RUN/report.html if not given.")
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network."""
    with errors():
        from ..results.report import write_report
        from ..results.run_directory import read_run

        path = out or run / "report.html"
        write_report(read_run(run), path)
        print(path)


def _print_front(run: dict[str, Any], *, as_json: bool, as_csv: bool = False) -> None:
    from ..results import joint_table, table
    from ..results.views import has_several, targets_of, views_of

    several = has_several(run)
    if as_json:
        print(joint_table.joint_json(run) if several else table.front_json(run))
    elif as_csv:
        print(joint_table.joint_csv(run) if several else table.front_csv(run), end="")
    else:
        from rich.console import Console

        from ..results.why import why_lines

        console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
        if several:
            console.print(joint_table.joint_table(run))
        views = list(zip(targets_of(run), views_of(run), strict=True))
        whys = [why_lines(view) for _, view in views]
        everywhere = [
            line for line in whys[0] if several and all(line in why for why in whys)
        ]  # said once, at the end
        for (name, view), why in zip(views, whys, strict=True):
            console.print(*([f"\n{name}"] if several else []), table.front_table(view), sep="\n")
            for line in why:
                if line not in everywhere:
                    console.print(line, markup=False)
        if everywhere:
            console.print("\non all targets", *everywhere, sep="\n", markup=False)


def main() -> None:
    """The entry point of the `autocompress` command."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # waiting threads would slow the worker beside us down
    app()
