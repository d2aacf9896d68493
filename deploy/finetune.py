"""Fine-tuning a point of a finished run: recovered for much longer than a search can afford, then measured
again.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..compress.compressor import BuildResult, Compressor
from ..compress.recipe import Recipe
from ..errors import InputError, StageError
from ..files import digest_of
from ..profiles import FINALIST_TIMING, format_duration
from ..results.evaluation import ArtifactFacts, Evaluation, Failure, Interval, OnTarget
from ..results.finetuned import FINETUNED, origin_of
from ..results.formats import Point, Run, is_predicted, label_of
from ..results.limits import Constraints
from ..results.records import latency_from_json
from ..results.run_directory import RunDirectory, read_json
from ..results.views import run_on, targets_of
from ..search.evaluation.evaluate import Evaluator, StoredSplit
from ..search.evaluation.evaluate import Progress as Say
from ..search.finalists import Finalist, final_look, look_key
from ..search.prepare import Problem, make_compressor, make_evaluator, prepare, splits_folder
from ..search.request import SearchRequest
from ..search.result import Result
from ..search.run_facts import config_of
from ..search.session.progress import Progress
from ..search.space.space import DEFAULT_RECOVERY
from ..targets.held_clocks import ClocksOfTargets

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRecovery:
    """A compressor whose recovery lasts `recovery_s` seconds; `checkpoint` keeps its state, so that a killed
    one goes on.
    """

    compressor: Compressor
    recovery_s: float
    checkpoint: Path

    def build(self, recipe: Recipe, out_dir: Path, *, progress: Say | None = None) -> BuildResult:
        """See Compressor.build."""
        return self.compressor.build(
            recipe, out_dir, progress=progress, recovery_s=self.recovery_s, checkpoint=self.checkpoint
        )


def finetune(
    path: Path,
    run: Run,
    point: Point,
    *,
    seconds: float,
    progress: Progress,
    clocks: ClocksOfTargets | None = None,
) -> Point:
    """The point after `seconds` of recovery, measured and scored like a finalist, and kept in the run
    directory `path`.

    A point that was fine-tuned already starts again from its trial; the same trial and seconds are never done
    twice. An interrupted call is continued by the next one. `clocks` as in `prepare`. InputError when the
    point is the original, RunDirectoryError when task, data or environment changed since the search,
    StageError when the recovered model cannot be built or measured.
    """
    origin = origin_of(point, run)
    if origin["trial"] == run["baseline"]["trial"]:
        raise InputError(
            "The picked point is the original model, which has nothing to recover: pick another one."
        )
    stored = [dict(read_json(file) or {}) for file in (path / FINETUNED).glob("*.json")]
    made_of = {"of": origin["trial"], "seconds": seconds}
    if (known := next((each for each in stored if each["finetuned"] == made_of), None)) is not None:
        return known
    number = 1 + len(stored)
    problem = prepare(_request(path, run), progress, clocks=clocks)
    with RunDirectory.reopen(path, config_of(problem)) as directory, splits_folder(directory) as splits:
        (path / FINETUNED).mkdir(exist_ok=True)
        recipe = Recipe.from_json(origin["recipe"])
        recipe = recipe if recipe.recovery else replace(recipe, recovery=DEFAULT_RECOVERY)
        checkpoint = path / FINETUNED / f"{digest_of([recipe.digest, seconds])}.ckpt"
        going_on = ", continued" if checkpoint.exists() else ""
        name = f"{label_of(origin, run)} for {format_duration(seconds)}"
        progress.note(f"Fine-tuning {name}{going_on}. Ctrl-C loses a minute at most.")
        compressor = make_compressor(problem, cache_dir=directory.path / "cache")
        longer = LongRecovery(compressor=compressor, recovery_s=seconds, checkpoint=checkpoint)
        elapsed_s = run["elapsed_s"]
        evaluator = make_evaluator(
            problem, directory, splits, longer, elapsed=lambda: elapsed_s, progress=progress
        )
        evaluator = replace(evaluator, timing=FINALIST_TIMING.with_batch(problem.request.batch))
        test = StoredSplit(problem.checked.task.test, splits / "test.npz")
        outcome, looks = _evaluated(-number, recipe, run, evaluator, test=test, progress=progress)
        known = {
            key: Finalist.from_json(value)
            for key, value in (directory.read_json("finalists.json") or {}).items()
        }
        found = _point_of(outcome, run, problem, known={**known, **looks})
        directory.write_json(
            f"{FINETUNED}/{number}.json", {**found, "finetuned": made_of, "schema_version": SCHEMA_VERSION}
        )
        checkpoint.unlink(missing_ok=True)
        return dict(directory.read_json(f"{FINETUNED}/{number}.json") or {})


def _evaluated(
    trial: int, recipe: Recipe, run: Run, evaluator: Evaluator, *, test: StoredSplit, progress: Progress
) -> tuple[Evaluation, dict[str, Finalist]]:
    """The recipe built by the evaluator and measured beside the run's original on every target; the final
    looks at it by key.
    """
    baseline = _evaluation_of(run["baseline"])
    outcome = evaluator.evaluate(trial, recipe, baseline=baseline, progress=progress.stage)
    if isinstance(outcome, Failure):
        raise StageError(f"Fine-tuning failed in {outcome.stage}: {outcome.message}", stage="recover")
    if lost := [name for name in outcome.missing if baseline.on(name) is not None]:
        raise StageError(f"It could not be measured on {lost[0]}: run the command again.", stage="measure")
    progress.stage("scoring the test split, measuring by layer")
    looks: dict[str, Finalist] = {}
    for target in (None, *(name for name in outcome.further if baseline.on(name) is not None)):
        seen, original = outcome.on(target), baseline.on(target)
        assert seen is not None and original is not None
        own = evaluator if target is None else evaluator.on(target)
        look, failure = final_look(own, seen, baseline=original, test=test, timing=evaluator.timing)
        looks[look_key(seen.artifact.digest, target)] = look
        if failure:
            progress.note(f"Note: {failure.message}")
    return outcome, looks


def _point_of(outcome: Evaluation, run: Run, problem: Problem, *, known: Mapping[str, Finalist]) -> Point:
    """The point of front.json, judged beside the run's original and uniform int8."""
    baseline, uniform = _evaluation_of(run["baseline"]), run["uniform_int8"]
    references = (
        [baseline]
        if not uniform or uniform["trial"] == baseline.trial
        else [baseline, _evaluation_of(uniform)]
    )
    result = Result(
        metric=problem.checked.task.metric,
        constraints=Constraints(),
        uniform_digest=problem.space.uniform_int8().digest,
        evaluations=[*references, outcome],
        known=known,
        target=problem.profile.name,
        further={name: Constraints() for name in outcome.further},
    )
    points = result.points()
    return next(
        point for point in [*points["front"], *points["dominated"]] if point["trial"] == outcome.trial
    )


def _request(path: Path, run: Run) -> SearchRequest:
    """The search that made the run, as far as it says what to load and where to measure."""
    task, target = run["task"], run["target"]
    options = tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))["options"]
    return SearchRequest(
        task=task["spec"],
        arguments=task["arguments"],
        target=options.get("target", target["name"]),
        further={name: Constraints() for name in targets_of(run)[1:]},
        batch=target["batch"],
        allow_predicted=any(is_predicted(run_on(run, name)["baseline"]) for name in targets_of(run)),
        seed=options["seed"],
        out=path,
        command=run["command"],
    )


def _evaluation_of(point: Mapping[str, Any]) -> Evaluation:
    """The evaluation that a point of front.json was made of."""
    entries = list(point.get("targets", {}).items())[1:]
    return Evaluation(
        trial=point["trial"],
        recipe=Recipe.from_json(point["recipe"]),
        artifact=ArtifactFacts(**point["artifact"]),
        validation=point["quality"]["validation"],
        validation_interval=_interval_of(point),
        drop=point["drop"],
        latency=latency_from_json(point["latency"]),
        layers=tuple(point["layers"]),
        elapsed_s=0.0,
        further={name: _on_target_of({**point, **entry}) for name, entry in entries},
    )


def _on_target_of(point: Mapping[str, Any]) -> OnTarget:
    """What the point is on a further target."""
    artifact = ArtifactFacts(**point["artifact"])
    if point["latency"] is None:
        failure = Failure(
            trial=point["trial"], stage="measure", kind="error", message=point["missing"], retryable=False
        )
        return OnTarget(artifact=artifact, drop=point["drop"], failure=failure)
    return OnTarget(
        artifact=artifact,
        validation=point["quality"]["validation"],
        validation_interval=_interval_of(point),
        drop=point["drop"],
        layers=tuple(point["layers"]),
        latency=latency_from_json(point["latency"]),
    )


def _interval_of(point: Mapping[str, Any]) -> Interval | None:
    interval = point["quality"]["interval"]
    return None if interval is None else (interval[0], interval[1])
