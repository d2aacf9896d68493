"""Catching up: candidates are measured later where they are missing for a reason that may have passed."""

from collections.abc import Callable
from dataclasses import replace

from ..errors import is_away
from ..results.records.point import Outcome, Point, outcome_from_json
from ..results.records.reading import Fields
from ..results.run_directory import RunDirectory, read_kept, write_kept
from .bench import Candidate, Progress
from .evaluate import Evaluator

_FILE = "caught_up.json"


def caught_up(evaluator: Evaluator, point: Point, *, original: Point | None, progress: Progress) -> Point:
    """The point, measured where it was missing; what fails again stays missing. `original`: None for itself.

    A target that is away is asked only when that is due. One that does not measure the original counts as
    away, so that it is not asked for all the others.
    """
    outcomes = dict(point.outcomes)
    for name in point.waiting:
        if not evaluator.availability.may_ask(name):
            continue
        progress(f"trial {point.trial}: measuring on {name}, where it is missing")
        candidate = Candidate(
            trial=point.trial, recipe=point.recipe, original=original, build=None, outcomes=outcomes
        )
        outcomes[name], error = evaluator.bench.measured_on(
            evaluator.target(name), candidate, seconds={}, progress=lambda text: None
        )
        if error is not None and original is None and not is_away(error):
            evaluator.availability.gone(name, str(error))
    return replace(point, outcomes=outcomes)


class CatchingUp:
    """What was measured later; it is in the run directory before the study gets it."""

    def __init__(self, directory: RunDirectory, evaluator: Evaluator):
        self._directory = directory
        self._evaluator = evaluator
        stored = read_kept(directory.path / _FILE, _read)
        self._later = stored or {}

    def restored(self, point: Point) -> Point:
        """The point with what was measured later where it was missing."""
        later = self._later.get(str(point.trial), {})
        return replace(point, outcomes={**point.outcomes, **later})

    def catch_up(
        self,
        points: list[Point],
        *,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> None:
        """Measures points where they are missing, in place, until the time is over; the original first."""
        for index, point in enumerate(points):
            if not point.waiting:
                continue
            if not time_left():
                return
            original = None if index == 0 else points[0]
            again = caught_up(self._evaluator, point, original=original, progress=progress)
            points[index] = again
            settled = [name for name in point.waiting if name not in again.waiting]
            if settled:
                later = self._later.setdefault(str(point.trial), {})
                later.update({name: again.outcomes[name] for name in settled})
                self._write()

    def _write(self) -> None:
        value = {
            trial: {name: outcome.to_json() for name, outcome in outcomes.items()}
            for trial, outcomes in self._later.items()
        }
        write_kept(self._directory.path / _FILE, {"outcomes": value})


def _read(fields: Fields) -> dict[str, dict[str, Outcome]]:
    """Outcomes by trial and target."""

    def of_trial(trials: Fields, trial: str) -> dict[str, Outcome]:
        return trials.each(trial, lambda outcomes, name: outcome_from_json(outcomes.object(name)))

    return fields.each("outcomes", of_trial)
