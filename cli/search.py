"""The command `search`."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .front import print_front
from .support import (
    INTERRUPTED,
    NOTHING_MEETS,
    Json,
    MaxDrop,
    MaxLatency,
    MaxSize,
    SetClocks,
    TargetNames,
    errors,
    limits_by_target,
    parsed,
    say,
    task_arguments,
)

if TYPE_CHECKING:
    from ..results.records.run import Run
    from ..search.request import SearchRequest


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

        constraints = limits_by_target(
            list(target_addresses(target)), max_drop=max_drop, max_latency=max_latency, max_size=max_size
        )
        request = SearchRequest(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=target,
            batch=batch,
            budget_s=parsed("parse_duration", budget),
            trials=trials,
            constraints=constraints,
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
    from ..search.plan import plan_of
    from ..search.prepare import prepare
    from ..search.session.progress import make_progress

    with make_progress(quiet=as_json) as progress:
        plan = plan_of(prepare(request, progress, planning=True))
    print(json.dumps(plan.to_json(), indent=2, ensure_ascii=False) if as_json else plan)


def _search(request: "SearchRequest", *, as_json: bool) -> None:
    from ..results.report import write_report
    from ..results.run_directory import read_run
    from ..search.open_search import open_search
    from ..search.prepare import prepare
    from ..search.session.progress import make_progress
    from ..targets.held_clocks import ClocksOfTargets

    with (
        make_progress(quiet=as_json) as progress,
        ClocksOfTargets(wanted=request.set_clocks, say=progress.note) as clocks,
    ):
        checked = prepare(request, progress, clocks=clocks)
        with open_search(checked, progress) as running:
            status, directory = running.run(), running.directory.path
    if status == "interrupted" and not (directory / "front.json").is_file():
        raise typer.Exit(INTERRUPTED)
    run = read_run(directory)
    write_report(run, directory / "report.html")
    print_front(run, as_json=as_json)
    say(f"Report: {directory / 'report.html'}")
    say(f"Next:   autocompress pick {directory} --max-drop 1pp --out bundle")
    if status == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if not run.front:
        _explain_misses(run)


def _explain_misses(run: "Run") -> NoReturn:
    """Tells the nearest misses and ends with exit code 1."""
    from ..results.pick import NothingMeets, pick

    try:
        pick(run, run.limits)
    except NothingMeets as error:
        say(str(error))
    raise typer.Exit(NOTHING_MEETS)
