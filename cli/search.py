"""The command `search`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..text.printable import json_text
from .console.completion import complete_task
from .console.interruption import INTERRUPTED
from .console.log import LogFormat, LogFormatOption, Quiet, make_progress, say, say_error
from .front import print_front
from .support import (
    NOTHING_MEETS,
    Batch,
    FreeShapes,
    MaxDrop,
    MaxEnergy,
    MaxLatency,
    MaxSize,
    SetClocks,
    TargetNames,
    TaskArguments,
    errors,
    given_or,
    limits_by_target,
    parsed,
    recipe_named,
    task_arguments,
)

if TYPE_CHECKING:
    from ..explore.preparation.request import SearchRequest
    from ..results.records.run import Run

Runtimes = Annotated[
    str | None,
    typer.Option(
        metavar="R[,R…]|all",
        help="Runtimes of the device, such as onnxruntime,litert: one front, each point in the best.",
    ),
]
TaskSpec = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_task,
        metavar="[TASK]",
        help="A built-in task (digits, image-folder, exported, onnx, timm:NAME, hf:DIRECTORY, "
        "ultralytics:FILE.pt) or path/to/file.py:function.",
    ),
]
Budget = Annotated[
    str | None, typer.Option(help="Time for the search, such as 20m; 3m if --trials is not given.")
]
Trials = Annotated[int | None, typer.Option(help="Stop after this many measured candidates.")]
Sampler = Annotated[
    str, typer.Option(help="front (tables, dynamic programming, rungs), tpe, nsga2, gp or random.")
]
MayTrain = Annotated[
    bool,
    typer.Option(
        "--recovery/--no-recovery", help="Whether candidates may be trained (distilled from the original)."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="What the search may take here, such as 8GB; 60 % of what is free."),
]
Device = Annotated[
    str,
    typer.Option(help="Where torch computes: auto (a GPU with room if any), cpu, cuda, cuda:1."),
]
Ray = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="A Ray cluster that builds and trains, and measures with --target T@ray: auto (the one of this "
        "machine), HOST:6379, or local (this machine's spare cores and GPUs).",
    ),
]
AllowPredicted = Annotated[
    bool,
    typer.Option("--allow-predicted", help="Predict the latency on a target that cannot be used (marked ~)."),
]
WarmStart = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Start with the front of an earlier run of this task or a similar one.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the sampler and of the training.")]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="With --trials: the same candidates each time on the same machine; no clock decides any.",
    ),
]
ValidationSamples = Annotated[
    int | None,
    typer.Option(
        "--validation-samples",
        metavar="N",
        help="Score candidates on at most N samples of validation: for slow boards and large data.",
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="A usual wish by its name, such as smallest-within-1pp; options that are given replace its own.",
    ),
]
RunDirectoryPath = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run directory; runs/TASK-TARGET if not given.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start a new run beside an existing one.")]
Events = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print events to stdout while it searches, one JSON object a line; the last is the front.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the search space and the plan of the time, then stop.")
]


def search(
    context: typer.Context,
    task: TaskSpec = "digits",
    *,
    target: TargetNames = "cpu",
    runtimes: Runtimes = None,
    task_arg: TaskArguments = None,
    batch: Batch = 1,
    shape: FreeShapes = None,
    budget: Budget = None,
    trials: Trials = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_energy: MaxEnergy = None,
    sampler: Sampler = "front",
    recovery: MayTrain = True,
    memory: Memory = None,
    device: Device = "auto",
    ray: Ray = "",
    allow_predicted: AllowPredicted = False,
    warm_start: WarmStart = None,
    seed: Seed = 0,
    deterministic: Deterministic = False,
    validation_samples: ValidationSamples = None,
    set_clocks: SetClocks = False,
    recipe: RecipeName = None,
    out: RunDirectoryPath = None,
    fresh: Fresh = False,
    dry_run: DryRun = False,
    as_json: Events = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Search the Pareto front of compressed models: quality, latency on the target, size.

    Ctrl-C, SIGTERM and a closed terminal stop safely; the same command continues the run.

    Examples:

        autocompress search

        autocompress search examples/cifar10.py:resnet20 --task-arg data=../shared/data --budget 20m

        autocompress search my_task.py:make --max-drop 1pp --max-latency 2ms --max-size 200KB --dry-run

        autocompress search my_task.py:make --budget 8h --from runs/yesterday

        autocompress search my_task.py:make --target cpu,edge.toml --max-latency cpu=2ms,edge=9ms

        autocompress search my_task.py:make --target jetson@user@10.0.0.5

        autocompress search my_task.py:make --target cpu --runtimes all

        autocompress search my_task.py:make --recipe smallest-within-1pp --budget 20m

        autocompress search my_task.py:make --ray auto --budget 8h
    """
    with errors():
        from ..explore.preparation.request import SearchRequest
        from ..profiles.alternatives import targets_of_runtimes
        from ..results.target_limits import target_addresses

        wish = None if recipe is None else recipe_named(recipe)
        if wish is not None:
            target = given_or(context, "target", target, wish.target)
            budget = budget or (None if trials else wish.budget)
            trials = trials or (None if budget else wish.trials)
            max_drop = max_drop or wish.max_drop
            max_latency = max_latency or list(wish.max_latency)
            max_size, max_energy = max_size or list(wish.max_size), max_energy or list(wish.max_energy)
        target = target if runtimes is None else targets_of_runtimes(target, runtimes)
        constraints = limits_by_target(
            list(target_addresses(target)),
            max_drop=max_drop,
            max_latency=max_latency,
            max_size=max_size,
            max_energy=max_energy,
        )
        request = SearchRequest(
            task=task,
            arguments=task_arguments(task_arg or []),
            target=target,
            batch=batch,
            shapes=tuple(shape or ()),
            budget_s=parsed("parse_budget", budget),
            trials=trials,
            constraints=constraints,
            sampler=sampler,
            recovery=recovery,
            memory_bytes=parsed("parse_size", memory),
            device=device,
            ray=ray,
            allow_predicted=allow_predicted,
            warm_start=warm_start,
            seed=seed,
            deterministic=deterministic,
            alternatives=runtimes is not None and "," in target,
            validation_samples=validation_samples,
            set_clocks=set_clocks,
            out=out,
            fresh=fresh,
            command=shlex.join(["autocompress", *sys.argv[1:]]),
        )
        _check(request, planning=dry_run)
        if dry_run:
            _plan(request, as_json=as_json)
        else:
            _search(request, as_json=as_json, policy=None if wish is None else wish.policy)


def _check(request: "SearchRequest", *, planning: bool) -> None:
    from ..explore.preparation.early import check_search

    check_search(request, planning=planning)


def _plan(request: "SearchRequest", *, as_json: bool) -> None:
    from ..explore.preparation.plan import plan_of
    from ..explore.preparation.prepare import prepare

    with make_progress(silent=as_json) as progress:
        plan = plan_of(prepare(request, progress, planning=True))
    print(json_text(plan.to_json(), indent=2) if as_json else plan)


def _search(request: "SearchRequest", *, as_json: bool, policy: str | None) -> None:
    from ..explore.preparation.open_search import open_search
    from ..explore.preparation.prepare import prepare
    from ..explore.session.budget import larger_budget
    from ..results.choosing.words import next_command
    from ..results.report import write_report
    from ..results.run_directory import read_run
    from ..results.table_files import front_value
    from ..targets.held_clocks import ClocksOfTargets

    with (
        make_progress(events=as_json) as progress,
        ClocksOfTargets(wanted=request.set_clocks, say=progress.note) as clocks,
    ):
        checked = prepare(request, progress, clocks=clocks)
        with open_search(checked, progress) as running:
            status, directory = running.run(), running.directory.path
    if status == "interrupted" and not (directory / "front.json").is_file():
        raise typer.Exit(INTERRUPTED)
    run = read_run(directory)
    write_report(run, directory / "report.html")
    if as_json:
        print(json_text({"event": "result", "run": str(directory), **front_value(run)}))
    else:
        print_front(run)
    if policy is not None:
        _say_choice(run, policy)
    say(f"Report: {directory / 'report.html'}")
    if command := next_command(run, str(directory)):
        say(f"Next:   {command}")
    if status == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if not run.front:
        _explain_misses(run)
    if len(run.points) == 1 and not run.failures and request.trials != 1:
        say(larger_budget(run))
        raise typer.Exit(NOTHING_MEETS)


def _say_choice(run: "Run", policy: str) -> None:
    """Says which point the recipe's policy takes."""
    from ..results.choosing.policy import Policy

    choice = Policy.parse(policy).choose(run)
    say(f"Recipe: {policy}: {'no point yet' if choice is None else f'trial {choice.point.trial}'}")


def _explain_misses(run: "Run") -> NoReturn:
    """Prints the nearest misses and exits with code 1."""
    from ..results.pick import NothingMeets, pick

    try:
        pick(run, run.limits)
    except NothingMeets as error:
        say_error(*str(error).split("\n"))
    raise typer.Exit(NOTHING_MEETS)
