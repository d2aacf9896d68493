"""Which strategy a request asks for."""

import os
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Protocol

from ...compress.compressor import Compressor
from ...evaluation.evaluate import Evaluator
from ...evaluation.predicted import PredictedTarget
from ...profiles import format_size
from ...results.run_directory import RunDirectory
from ...targets.pool.boards import Boards
from ...targets.target import Target
from ...tasks.names import file_and_function, is_user_file
from ..beside.builders import Builders
from ..beside.messages import BuilderConfig
from ..beside.process import BuilderProcess
from ..beside.ray_builders import ClusterPlan, RayBuilders
from ..rungs.make_tables import make_tables
from ..rungs.rung_search import RungSearch
from ..search import Strategy
from ..sequential import Sequential
from ..session.progress import Progress
from ..session.waits import search_in
from ..space.runtime_choice import RuntimeChoice
from ..space.space import DEFAULT_RECOVERY
from .checked_request import CheckedRequest
from .deterministic import fixed_latencies
from .memory import memory_plan


class StrategyMaker(Protocol):
    """Makes what decides what a search tries."""

    def __call__(
        self,
        checked: CheckedRequest,
        compressor: Compressor,
        evaluator: Evaluator,
        directory: RunDirectory,
        *,
        progress: Progress,
    ) -> Strategy:
        """The strategy of a search in its run directory."""
        ...


def strategy_of(
    checked: CheckedRequest,
    compressor: Compressor,
    evaluator: Evaluator,
    directory: RunDirectory,
    *,
    progress: Progress,
) -> Strategy:
    """`RungSearch` for the sampler `front`, `Sequential` for all others."""
    request = checked.request
    if request.sampler != "front":
        return Sequential()
    fixed = fixed_latencies(checked)
    background = None if fixed else builders_of(checked, compressor, evaluator, directory, progress)
    return RungSearch(
        make_tables=partial(
            make_tables,
            compressor=compressor,
            evaluator=evaluator,
            directory=directory,
            batch=request.batch,
            seed=request.seed,
            fixed=fixed,
            runtimes=evaluator.placing if isinstance(evaluator.placing, RuntimeChoice) else None,
        ),
        background=background,
        warm=checked.warm,
        time_step=None if background else partial(compressor.students.time_step, DEFAULT_RECOVERY),
    )


def builders_of(
    checked: CheckedRequest,
    compressor: Compressor,
    evaluator: Evaluator,
    directory: RunDirectory,
    progress: Progress,
) -> Builders | None:
    """Who builds beside the search: the nodes of a Ray cluster, or a process on the cores that no measurement
    uses, for recoveries if there are any. None where there are neither, and for a task that only this process
    has.
    """
    request, levels_dir = checked.request, compressor.students.levels_dir
    if compressor.cache_dir is None or levels_dir is None or not request.task:
        return None
    here = [one for one in evaluator.targets if not isinstance(one, Boards) and _is_here(one)]
    measured = {core for target in here for core in target.cores}
    spare = spare_cores(measured)
    sizes = checked.targets[0].sizes
    config = BuilderConfig(
        task=request.task,
        arguments=request.arguments,
        formats=compressor.options.formats,
        seed=compressor.options.seed,
        memory_bytes=compressor.options.memory_bytes,
        device=compressor.options.device,
        cache_dir=compressor.cache_dir,
        checks_dir=directory.cache,
        levels_dir=levels_dir,
        out_dir=directory.artifacts,
        cores=spare,
        dynamic=sizes.places if sizes else (),
    )
    if request.ray:
        return _on_cluster(checked, config, directory, progress)
    if not spare:
        return None
    if request.recovery:
        return BuilderProcess(config, only_recoveries=True)
    return _building_here(checked, config, progress)


def _building_here(
    checked: CheckedRequest, config: BuilderConfig, progress: Progress
) -> BuilderProcess | None:
    """A process that builds candidates on the spare cores, where two such searches fit into the memory."""
    plan = memory_plan(checked)
    if 2 * plan.needed > plan.limit:
        return None
    cores = ", ".join(map(str, config.cores))
    progress.note(
        f"Candidates are also built in a process of its own on core{'s' * (len(config.cores) > 1)} {cores}, "
        f"which takes about {format_size(plan.needed)} more memory."
    )
    return BuilderProcess(config, only_recoveries=False)


def _on_cluster(
    checked: CheckedRequest, config: BuilderConfig, directory: RunDirectory, progress: Progress
) -> RayBuilders:
    """The nodes of a cluster; the folder of a user's own task goes to all of them."""
    request = checked.request
    folder, task = None, request.task
    if is_user_file(request.task):
        file, function = file_and_function(request.task)
        folder, task = file.resolve().parent, f"{file.name}:{function}"
    wanted = "no" if request.device == "cpu" else "needed" if request.device != "auto" else "wanted"
    plan = ClusterPlan(
        address=request.ray,
        folder=folder,
        search=search_in(directory.path),
        memory_bytes=memory_plan(checked).needed,
        spare=config.cores,
        gpus=wanted,
    )
    return RayBuilders(plan, replace(config, task=task), note=progress.note)


def _is_here(target: Target | PredictedTarget) -> bool:
    """Whether what the target measures runs on this machine."""
    return not (isinstance(target, Target) and target.board is not None)


def spare_cores(measured: Collection[int]) -> tuple[int, ...]:
    """The cores that this process may use and no measurement does; of four or more, one is left to the search
    itself.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    spare = sorted(os.sched_getaffinity(0) - set(measured))
    return tuple(spare[:-1] if len(spare) > 3 else spare)
