"""The tables of a search: made anew, or read where an earlier run on the task or the device knows them."""

from ...compress.compressor import Compressor
from ...errors import StageError
from ...evaluation.evaluate import Evaluator
from ...results.run_directory import RunDirectory
from ..latency.fixed import FixedLatencies
from ..space.runtime_choice import RuntimeChoice
from ..trials import Trials
from .latency_tables import LatencyTables, ending, share_left
from .sensitivity import Sensitivity, measure_sensitivity
from .tables import FrontTables

SENSITIVITIES = 256  # of a deterministic search, which has no time for them


def make_tables(
    trials: Trials,
    compressor: Compressor,
    evaluator: Evaluator,
    directory: RunDirectory,
    *,
    batch: int,
    seed: int,
    switches: bool = True,
    probing: bool = True,
    fixed: FixedLatencies | None = None,
    runtimes: RuntimeChoice | None = None,
) -> FrontTables:
    """The tables of a search whose original was measured.

    What an earlier run on the task or the device knows is not measured again. Without `switches` proposals
    come from dynamic programming alone, without `probing` nothing is stitched. With `fixed` latencies no
    clock decides anything: no latency is measured here, and as many sensitivities as are ever looked at.
    """
    space, most = trials.space, None if fixed is None else SENSITIVITIES
    sensitivity = _sensitivity(trials, compressor, directory, most=most)
    latency_tables = LatencyTables(
        trials=trials,
        compressor=compressor,
        evaluator=evaluator,
        batch=batch,
        runtimes=runtimes.spaces if runtimes else None,
    )
    # How many errors the database knows depends on what was built before.
    database = compressor.students.database if fixed is None else None
    return FrontTables.of(
        space,
        scorer=compressor.probe,
        predictors=fixed.predictors if fixed else latency_tables.calibrated(trials.run.target_names),
        open_predictor=fixed.predictor if fixed else latency_tables.predictor,
        losses=sensitivity.losses(space, database),
        measured=sensitivity.known(space),
        run=trials.run,
        directory=directory,
        seed=seed,
        switches=switches,
        probing=probing,
        replayed=fixed is not None,
        runtimes=runtimes if trials.run.device else None,
    )


def _sensitivity(
    trials: Trials, compressor: Compressor, directory: RunDirectory, *, most: int | None
) -> Sensitivity:
    """What can be measured in time, or the first `most`, kept beside the task's level database; typical
    values otherwise.
    """
    folder = compressor.students.database.directory or directory.path
    left_s = share_left(trials, trials.budget.sensitivity_s)
    work = ending(compressor.students, lambda: most is None and left_s() <= 0)
    try:
        with trials.timed("sensitivity"), trials.interruptible(), work:
            return measure_sensitivity(
                trials.space,
                compressor.probe,
                folder / "sensitivity.json",
                time_left=lambda: most is not None or left_s() > 0,
                progress=trials.stage,
                most=most,
            )
    except StageError as error:
        trials.note(
            f"Note: no sensitivity could be measured ({error}); measured candidates will correct a guess."
        )
        return Sensitivity(measured={}, complete=False)
