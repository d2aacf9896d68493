"""Fine-tuning: a point of a finished run is trained much longer than in a search, then measured again."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ..compress.compressor import BuildResult, Compressor
from ..compress.options import FileFormat
from ..compress.recipe import Recipe
from ..errors import InputError, StageError
from ..evaluation.bench import Progress as Say
from ..evaluation.evaluate import Evaluator
from ..evaluation.stored_split import StoredSplit
from ..explore.looks import Look, look_longer
from ..explore.preparation.deterministic import templates_folder
from ..explore.preparation.open_search import make_compressor, make_evaluator, splits_folder
from ..explore.preparation.prepare import prepare
from ..explore.preparation.request import SearchRequest
from ..explore.preparation.run_facts import config_of
from ..explore.session.progress import Progress
from ..explore.space.space import DEFAULT_RECOVERY, usual_recovery
from ..files import digest_of
from ..profiles import FINALIST_TIMING, format_duration
from ..results.formats import label_of
from ..results.limits import Constraints
from ..results.records.point import Failure, FineTuned, Measured, Point
from ..results.records.run import Run
from ..results.run_directory import FINETUNED, RunDirectory, write_finetuned
from ..targets.held_clocks import ClocksOfTargets
from ..targets.layer_times import LayerTimes
from .asked_targets import Addresses, all_targets
from .given_task import GivenTask, task_to_load


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRecovery:
    """A compressor whose recovery lasts `recovery_s` seconds. `checkpoint` keeps its state, so that it can
    continue after a kill.
    """

    compressor: Compressor
    recovery_s: float
    checkpoint: Path

    def build(
        self,
        recipe: Recipe,
        out_dir: Path,
        *,
        progress: Say | None = None,
        formats: Collection[FileFormat] | None = None,
    ) -> BuildResult:
        """See Compressor.build."""
        return self.compressor.build(
            recipe,
            out_dir,
            progress=progress,
            formats=formats,
            recovery_s=self.recovery_s,
            checkpoint=self.checkpoint,
        )


@dataclass(frozen=True, slots=True)
class OnlyOn:
    """Places a point in the runtimes where it was measured."""

    measured: tuple[str, ...]
    every: tuple[str, ...]

    def left_out(self, recipe: Recipe) -> dict[str, str]:
        """See Placing."""
        return {name: "not tried there before" for name in self.every if name not in self.measured}


def finetune(
    path: Path,
    run: Run,
    point: Point,
    *,
    seconds: float,
    progress: Progress,
    task: GivenTask | None = None,
    targets: Addresses | None = None,
    clocks: ClocksOfTargets | None = None,
) -> Point:
    """The point after `seconds` of recovery, measured like a finalist, and kept in the run directory `path`.

    A point that is already fine-tuned starts again from its trial. The same trial and seconds are never done
    twice, and an interrupted call continues. `task` and `targets` are what the user gives, the targets as the
    run calls them; `clocks` as in `prepare`.

    Raises InputError for the original model, and for a task or a target that the user has to give,
    RunDirectoryError when task, data or environment have changed, StageError when the point cannot be
    measured.
    """
    origin = _origin(run, point)
    made_of = FineTuned(of=origin.trial, seconds=seconds)
    earlier = {each.finetuned: each for each in run.points if each.finetuned}
    if made_of in earlier:
        return earlier[made_of]
    checked = prepare(_request(path, run, task, targets or {}), progress, clocks=clocks)
    with RunDirectory.reopen(path, config_of(checked)) as directory, splits_folder(directory) as splits:
        recovery = origin.recipe.recovery or usual_recovery(run.vector(origin)[0], DEFAULT_RECOVERY.steps)
        recipe = replace(origin.recipe, recovery=recovery)
        checkpoint = _checkpoint(path, recipe, seconds)
        continued = ", continued" if checkpoint.exists() else ""
        what = f"{label_of(origin, run)} for {format_duration(seconds)}{continued}"
        progress.note(f"Fine-tuning {what}. Ctrl-C loses a minute at most.")
        compressor = make_compressor(checked, cache_dir=templates_folder())
        longer = LongRecovery(compressor=compressor, recovery_s=seconds, checkpoint=checkpoint)
        evaluator = make_evaluator(
            checked, directory, splits, longer, elapsed=lambda: run.elapsed_s, progress=progress
        )
        if checked.request.alternatives:
            evaluator = replace(evaluator, placing=OnlyOn(tuple(origin.measured), run.facts.target_names))
        test = StoredSplit(checked.checked.task.test, splits / "test")
        tuned = _tuned(origin.trial, recipe, run, evaluator, test=test, progress=progress)
        tuned = replace(tuned, trial=-1 - len(earlier), finetuned=made_of)
        write_finetuned(path, tuned)
        checkpoint.unlink(missing_ok=True)
        return tuned


def _origin(run: Run, point: Point) -> Point:
    """The trial that the point was made from. InputError for the original model."""
    origin = run.origin_of(point)
    if origin.trial == run.baseline.trial:
        raise InputError(
            "The picked point is the original model, which has nothing to recover: pick another one."
        )
    return origin


def _checkpoint(path: Path, recipe: Recipe, seconds: float) -> Path:
    """Where the state of an interrupted recovery is kept."""
    (path / FINETUNED).mkdir(exist_ok=True)
    return path / FINETUNED / f"{digest_of([recipe.digest, seconds])}.ckpt"


def _tuned(
    trial: int, recipe: Recipe, run: Run, evaluator: Evaluator, *, test: StoredSplit, progress: Progress
) -> Point:
    """The recipe, built and then measured like a finalist on every target, beside the run's original."""
    timing = FINALIST_TIMING.with_batch(run.targets[0].batch)
    evaluator = replace(evaluator, bench=replace(evaluator.bench, timing=timing))
    point = evaluator.evaluate(trial, recipe, baseline=run.baseline, progress=progress.stage)
    if isinstance(point, Failure):
        raise StageError(f"Fine-tuning failed in {point.stage}: {point.message}", stage="recover")
    wanted = [name for name in run.target_names if name not in point.left_out]
    if missing := [name for name in wanted if name not in point.measured]:
        raise StageError(f"It could not be measured on {missing[0]}: run the command again.", stage="measure")
    progress.stage("scoring the test split, measuring by layer")
    outcomes = dict(point.outcomes)
    for name in wanted:
        look, failure = look_longer(evaluator, point, name, baseline=run.baseline, test=test, timing=timing)
        outcomes[name] = look.applied(point.measured[name], _times(run.baseline.measured[name]))
        if failure:
            progress.note(f"Note: {failure.message}")
    return replace(point, outcomes=outcomes)


def _times(original: Measured) -> Look:
    """The original's times by layer, as far as it was profiled."""
    layers = {row.name: row.time_s for row in original.layers if row.time_s is not None}
    return Look(times=LayerTimes(layers=layers, other_s=original.other_time_s or 0.0))


def _request(path: Path, run: Run, given: GivenTask | None, targets: Addresses) -> SearchRequest:
    """The search that made the run, with the task and the addresses that the user gives."""
    task = task_to_load(run.facts.task, given)
    return SearchRequest(
        task=task.spec,
        arguments=task.arguments,
        target=all_targets(path, run, targets),
        constraints=dict.fromkeys(run.facts.target_names, Constraints()),
        batch=run.targets[0].batch,
        shapes=tuple(run.targets[0].sizes.text.split()) if run.targets[0].sizes else (),
        allow_predicted=any(target.prediction for target in run.targets),
        seed=run.facts.seed,
        alternatives=run.facts.alternatives,
        validation_samples=run.facts.task.validation_samples,
        out=path,
        command=run.facts.command,
    )
