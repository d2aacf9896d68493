"""Which strategy a request asks for, and the tables that the `front` sampler needs first."""

import os
from collections.abc import Callable, Collection

from ..compress.compressor import Compressor
from ..compress.recipe import Recipe
from ..errors import StageError
from ..results.run_directory import RunDirectory
from ..targets.target import Target
from .evaluation.evaluate import Evaluator
from .evaluation.predicted import PredictedTarget
from .latency.calibrate import calibrate, open_table
from .latency.model import LatencyPredictor
from .latency.predict import guide_of
from .latency.shape_models import TIMING, ShapeRuns
from .request import SearchRequest
from .rungs.guide import Guide
from .rungs.recovery_process import RecoveryConfig, RecoveryProcess
from .rungs.rung_search import RungSearch
from .rungs.sensitivity import Sensitivity, measure_sensitivity
from .search import Search, Strategy
from .sequential import Sequential


def strategy_of(
    request: SearchRequest,
    compressor: Compressor,
    evaluator: Evaluator,
    directory: RunDirectory,
    *,
    warm: tuple[Recipe, ...],
) -> Strategy:
    """`RungSearch` for the sampler `front`, `Sequential` for all others."""
    if request.sampler != "front":
        return Sequential()
    background = _background(request, compressor, evaluator, directory)
    return RungSearch(
        open_guide=lambda search: make_guide(search, compressor, request),
        background=background,
        cores=os.sched_getaffinity(0) - set(background.config.cores) if background else (),
        warm=warm,
    )


def make_guide(search: Search, compressor: Compressor, request: SearchRequest) -> Guide:
    """The guide of a search whose original was measured; what an earlier run on the task or device knows is
    not measured again.
    """
    space = search.space
    start_s = search.clock.elapsed_s

    def left_s(share_s: float) -> float:
        used_s = search.clock.elapsed_s - start_s
        return min(share_s - used_s, search.left_s())

    with search.ledger.timed("sensitivity"), search.interruptible():
        sensitivity = _sensitivity(compressor, search, lambda: left_s(search.budget.sensitivity_s) > 0)
        losses = sensitivity.losses(space, compressor.students.database)
    start_s = search.clock.elapsed_s
    with search.ledger.timed("latency table"), search.interruptible():
        predictor = _predictor(compressor, search, request, lambda: left_s(search.budget.latency_s))
    return Guide.of(
        space,
        compressor.network,
        scorer=compressor.probe,
        predictor=predictor,
        losses=losses,
        measured=sensitivity.known(space),
        result=search.result,
        directory=search.directory,
        seed=request.seed,
    )


def _sensitivity(compressor: Compressor, search: Search, time_left: Callable[[], bool]) -> Sensitivity:
    """What can be measured in time, kept beside the task's level database, which has the same key; typical
    values otherwise.
    """
    folder = compressor.students.database.directory or search.directory.path
    try:
        return measure_sensitivity(
            search.space,
            compressor.probe,
            folder / "sensitivity.json",
            time_left=time_left,
            progress=search.progress.stage,
        )
    except StageError as error:
        search.progress.note(
            f"Note: no sensitivity could be measured ({error}); measured candidates will correct a guess."
        )
        return Sensitivity(measured={}, complete=False)


def _predictor(
    compressor: Compressor, search: Search, request: SearchRequest, left_s: Callable[[], float]
) -> LatencyPredictor:
    """The target's latency table, calibrated; of a predicted target one that its predictions have taught."""
    network, target = compressor.network, search.evaluator.target
    if isinstance(target, PredictedTarget):
        return guide_of(target, network, search.space, batch=request.batch, progress=search.progress.stage)
    predictor = LatencyPredictor(network, search.space, open_table(target), batch=request.batch)
    _calibrate(predictor, compressor, target, left_s=left_s, search=search)
    return predictor


def _calibrate(
    predictor: LatencyPredictor,
    compressor: Compressor,
    target: Target,
    *,
    left_s: Callable[[], float],
    search: Search,
) -> None:
    """A table that cannot be made is no reason to stop: measured candidates teach the predictor as well.

    A target that is away is waited for; TargetUnavailable when it stays away.
    """
    timing, say = TIMING.with_batch(search.evaluator.timing.batch), search.progress.stage

    def calibrated() -> None:
        with ShapeRuns(
            compressor.task, compressor.network, target, timing=timing, cache_dir=compressor.cache_dir
        ) as runs:
            calibrate(predictor, runs, time_left=left_s, progress=say)

    try:
        search.evaluator.patience.until_back(calibrated, name=target.profile.name, say=say)
    except StageError as error:
        search.progress.note(
            f"Note: the latency table could not be made ({error}); measured candidates will teach it."
        )


def _background(
    request: SearchRequest, compressor: Compressor, evaluator: Evaluator, directory: RunDirectory
) -> RecoveryProcess | None:
    """The process for recoveries, on the cores that no measurement uses; None where there are none."""
    here = [
        t
        for t in (evaluator.target, *evaluator.further)
        if not (isinstance(t, Target) and t.board is not None)
    ]
    measured = {core for target in here for core in target.cores}
    spare = spare_cores(measured)
    if (
        not request.recovery
        or not spare
        or compressor.cache_dir is None
        or compressor.students.levels_dir is None
    ):
        return None
    config = RecoveryConfig(
        task=request.task,
        arguments=request.arguments,
        formats=(compressor.options.format, *compressor.options.further),
        seed=compressor.options.seed,
        cache_dir=compressor.cache_dir,
        levels_dir=compressor.students.levels_dir,
        out_dir=directory.artifacts,
        cores=spare,
    )
    return RecoveryProcess(config)


def spare_cores(measured: Collection[int]) -> tuple[int, ...]:
    """The cores that this process may use and no measurement does; of four or more, one is left to the search
    itself.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    spare = sorted(os.sched_getaffinity(0) - set(measured))
    return tuple(spare[:-1] if len(spare) > 3 else spare)
