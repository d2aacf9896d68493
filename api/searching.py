"""A search as a function."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..profiles.alternatives import targets_of_runtimes
from ..profiles.units import parse_budget, parse_size
from ..results.target_limits import limits_of, target_addresses
from .following import Callback, progress_of
from .run import Run

if TYPE_CHECKING:
    from ..tasks.task import Task

_HERE = (
    "Recovery works in this process, in turns with the search: another one cannot load a Task. Give "
    "path/to/file.py:function to train beside the search."
)


def search(
    task: "str | Task" = "digits",
    *,
    arguments: Mapping[str, object] | None = None,
    target: str = "cpu",
    runtimes: str | None = None,
    budget: str | None = None,
    trials: int | None = None,
    max_drop: str | None = None,
    max_latency: str | None = None,
    max_size: str | None = None,
    max_energy: str | None = None,
    batch: int = 1,
    shapes: Sequence[str] = (),
    sampler: str = "front",
    recovery: bool = True,
    memory: str | None = None,
    device: str = "auto",
    ray: str = "",
    allow_predicted: bool = False,
    start_from: "Run | str | Path | None" = None,
    seed: int = 0,
    deterministic: bool = False,
    validation_samples: int | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: "Callback | bool" = True,
) -> Run:
    """Searches the Pareto front of compressed models, as `autocompress search` does, and returns the run.

    `task` is a built-in task, `path/to/file.py:function`, or a Task; `arguments` are those of its function. A
    Task cannot be made again in another process, so that recovery works in this one, in turns with the rest
    of the search. `budget`, limits, sizes and `memory` are texts with units: `20m`, `1pp`, `2ms`, `200KB`,
    `5mJ`; `shapes` are like `tokens=128`; `runtimes` of the target's device like `onnxruntime,litert`, or
    `all`; `device` like `cuda:1`; `ray` is the address of a cluster, `auto` or `local`. `progress` is True (a
    bar or lines), False, or a function of an `Event`.

    The same call continues a run that was interrupted. Ctrl-C, or a notebook's stop button, ends the search
    at a safe place and raises KeyboardInterrupt; what was measured is in the run directory. Raises InputError
    or TargetUnavailable before any work, where something is wrong.
    """
    from ..explore.preparation.early import check_search
    from ..explore.preparation.open_search import open_search
    from ..explore.preparation.prepare import prepare
    from ..explore.preparation.request import SearchRequest
    from ..results.report import write_report

    target = target if runtimes is None else targets_of_runtimes(target, runtimes)
    limits = limits_of(
        list(target_addresses(target)),
        max_drop=max_drop,
        max_latency=[max_latency] if max_latency else [],
        max_size=[max_size] if max_size else [],
        max_energy=[max_energy] if max_energy else [],
    )
    request = SearchRequest(
        task=task if isinstance(task, str) else "",
        arguments={name: str(value) for name, value in (arguments or {}).items()},
        target=target,
        batch=batch,
        shapes=tuple(shapes),
        budget_s=None if budget is None else parse_budget(budget),
        trials=trials,
        constraints=limits,
        sampler=sampler,
        recovery=recovery,
        memory_bytes=None if memory is None else parse_size(memory),
        device=device,
        ray=ray,
        allow_predicted=allow_predicted,
        warm_start=_directory(start_from),
        seed=seed,
        deterministic=deterministic,
        validation_samples=validation_samples,
        alternatives=runtimes is not None and "," in target,
        out=_directory(out),
        fresh=fresh,
        command="autocompress.search",
    )
    if request.task:
        check_search(request)
    with progress_of(progress) as shown:
        if recovery and not request.task:
            shown.note(_HERE)
        checked = prepare(request, shown, task=None if isinstance(task, str) else task)
        with open_search(checked, shown) as running:
            status, directory = running.run(), running.directory.path
    if status == "interrupted":
        raise KeyboardInterrupt(f"The search stopped safely in {directory}; the same call continues it.")
    run = Run.open(directory)
    write_report(run.record, directory / "report.html")
    return run


def _directory(run: Run | str | Path | None) -> Path | None:
    if isinstance(run, Run):
        return run.path
    return None if run is None else Path(run)
