"""A study that is gone, empty or old, made whole again of front.json and log.jsonl.

front.json has each measured candidate and each failure with its trial's number; log.jsonl has the recipes of
those that failed. What was screened out, or was under way, is lost: a failed trial without parameters holds
its number.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from ..compress.recipe import Recipe
from ..errors import RunDirectoryError
from ..files import seal
from ..results.records.point import Failure, Point
from ..results.records.progress import Stopped
from ..results.records.run import Run
from ..results.run_directory import RunDirectory
from .space.space import SearchSpace
from .state import Objectives
from .study import FAILURE, POINT, SearchStudy, is_lost, stopped_attributes


def rebuild(study: SearchStudy, run: Run, space: SearchSpace, directory: RunDirectory) -> str | None:
    """Gives the study the trials of front.json, the `run`, that it lacks; a sentence about them, or None.

    RunDirectoryError when the two contradict each other, or a recipe is none of the space.
    """
    ended = {trial.number: trial for trial in study.trials if trial.state.is_finished()}
    points = {point.trial: point for point in run.points}
    failures = {failure.trial: failure for failure in run.failures if failure.trial not in points}
    for number, point in points.items():
        if number in ended and _recipe(ended[number], space) != point.recipe:
            raise _unfit(directory, f"trial {number} is another candidate in each of them")
    stopped = {one.trial: one for one in run.stopped}
    missing = (points.keys() | failures.keys() | stopped.keys()) - ended.keys()
    if not missing:
        return None
    fresh: dict[int, FrozenTrial] = {}
    for number in missing:
        if number in points:
            fresh[number] = _measured(points[number], run, space, directory)
        elif number in stopped:
            fresh[number] = _stopped(stopped[number], run, space, directory)
    recipes = dict(_started(directory.path / "log.jsonl"))
    for number in missing - points.keys() - stopped.keys():
        fresh[number] = _failed(failures[number], recipes.get(number), space)
    study.rewrite(_filled_in(fresh))
    lost = sum(is_lost(trial) for trial in study.trials)
    screened = f" {lost} that were screened out or under way are lost." if lost else ""
    return f"{directory.study} lacked {len(missing)} trials of front.json; they are in it again.{screened}"


def _filled_in(fresh: dict[int, FrozenTrial]) -> Callable[[list[FrozenTrial]], list[FrozenTrial]]:
    def filled_in(before: list[FrozenTrial]) -> list[FrozenTrial]:
        trials = dict(enumerate(before)) | fresh
        nothing = create_trial(state=TrialState.FAIL)
        return [trials.get(number, nothing) for number in range(max(trials) + 1)]

    return filled_in


def _stopped(one: Stopped, run: Run, space: SearchSpace, directory: RunDirectory) -> FrozenTrial:
    trial = _required(one.trial, one.recipe, space, directory)
    values = run.vector(one.estimated(run.baseline, better=run.facts.task.metric.direction))
    return create_trial(
        state=TrialState.PRUNED,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=stopped_attributes(one, values),
    )


def _required(number: int, recipe: Recipe, space: SearchSpace, directory: RunDirectory) -> FixedTrial:
    """The trial with the parameters that give the recipe. RunDirectoryError when none do."""
    try:
        return _asked(recipe, space)
    except ValueError as error:
        raise _unfit(directory, f"trial {number} is no candidate of this search ({error})") from error


def _measured(point: Point, run: Run, space: SearchSpace, directory: RunDirectory) -> FrozenTrial:
    trial = _required(point.trial, point.recipe, space, directory)
    objectives = Objectives.of(run, point)
    return create_trial(
        state=TrialState.COMPLETE,
        values=list(objectives.values),
        params=trial.params,
        distributions=trial.distributions,
        constraints=dict(objectives.constraints),
        user_attrs={POINT: seal(point.to_json())},
    )


def _failed(failure: Failure, recipe: Recipe | None, space: SearchSpace) -> FrozenTrial:
    """The trial, without parameters where its recipe is not known."""
    trial = FixedTrial({})
    if recipe is not None:
        with contextlib.suppress(ValueError):
            trial = _asked(recipe, space)
    return create_trial(
        state=TrialState.FAIL,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={FAILURE: failure.to_json()},
    )


def _asked(recipe: Recipe, space: SearchSpace) -> FixedTrial:
    """A trial with the parameters that give the recipe. ValueError when none do."""
    whole = space.trained()
    trial = FixedTrial(whole.parameters(recipe))
    if whole.suggest(trial) != recipe:
        raise ValueError(f"its recipe {recipe.digest[:12]} has other choices")
    return trial


def _recipe(trial: FrozenTrial, space: SearchSpace) -> Recipe | None:
    return space.recipe_of(trial.params) if trial.state == TrialState.COMPLETE else None


def _started(log: Path) -> Iterator[tuple[int, Recipe]]:
    """The numbers and recipes of the candidates that were begun, as far as the log can be read."""
    if not log.is_file():
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            if event["event"] == "started":
                yield int(event["trial"]), Recipe.from_json(event["recipe"])
        except (ValueError, TypeError, KeyError):
            continue


def _unfit(directory: RunDirectory, why: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{directory.study} and front.json beside it do not belong together ({why}): restore the study.db of "
        "this run, or start anew with --fresh."
    )
