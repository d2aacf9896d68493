"""Which strategy a request asks for."""

import os
from collections.abc import Callable, Collection
from functools import partial

from ...compress.compressor import Compressor
from ...evaluation.evaluate import Evaluator
from ...evaluation.predicted import AnyTarget
from ...results.run_directory import RunDirectory
from ...targets.target import Target
from ..rungs.recovery_messages import RecoveryConfig
from ..rungs.recovery_process import RecoveryProcess
from ..rungs.rung_search import RungSearch
from ..rungs.tables import make_tables
from ..search import Strategy
from ..sequential import Sequential
from ..space.runtime_choice import RuntimeChoice
from ..space.space import DEFAULT_RECOVERY
from .checked_request import CheckedRequest
from .deterministic import fixed_latencies

StrategyMaker = Callable[[CheckedRequest, Compressor, Evaluator, RunDirectory], Strategy]


def strategy_of(
    checked: CheckedRequest, compressor: Compressor, evaluator: Evaluator, directory: RunDirectory
) -> Strategy:
    """`RungSearch` for the sampler `front`, `Sequential` for all others."""
    request = checked.request
    if request.sampler != "front":
        return Sequential()
    fixed = fixed_latencies(checked)
    background = None if fixed else recovery_process(checked, compressor, evaluator, directory)
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
        cores=os.sched_getaffinity(0) - set(background.config.cores) if background else (),
        warm=checked.warm,
        time_step=None if background else partial(compressor.students.time_step, DEFAULT_RECOVERY),
    )


def recovery_process(
    checked: CheckedRequest, compressor: Compressor, evaluator: Evaluator, directory: RunDirectory
) -> RecoveryProcess | None:
    """The process for recoveries, on the cores that no measurement uses; None where there are none, and
    for a task that only this process has."""
    request, levels_dir = checked.request, compressor.students.levels_dir
    measured = {core for target in evaluator.targets if _is_here(target) for core in target.cores}
    spare = spare_cores(measured)
    if not request.recovery or not spare or compressor.cache_dir is None or levels_dir is None:
        return None
    if not request.task:  # a task of this process, which another one cannot load
        return None
    sizes = checked.targets[0].sizes
    config = RecoveryConfig(
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
    return RecoveryProcess(config)


def _is_here(target: AnyTarget) -> bool:
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
