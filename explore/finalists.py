"""Finalists: points of the front, measured longer in fresh processes, timed by layer, and scored once on the
test split.

What the looks said is in `finalists.json`: a continued search never looks at an artifact twice. What came out
too wide is measured again, in turns, while there is time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ..errors import StageError, TargetUnavailable
from ..evaluation.answers import answers_key
from ..evaluation.bench import Progress
from ..evaluation.evaluate import Evaluator
from ..evaluation.stored_split import StoredSplit
from ..profiles import FINALIST_TIMING, TimingConfig
from ..profiles.measurement import GOOD_HALF_WIDTH
from ..results.front import contributions
from ..results.records.point import Failure, Point
from ..results.records.reading import Fields
from ..results.records.run import Vector
from ..results.run_directory import RunDirectory, read_kept, write_kept
from .looks import Look, LookKey, look_again, look_longer

_FILE = "finalists.json"
MOST_ROUNDS = 4  # of measurements of one finalist


class Finalists:
    """The looks of a run; written to the run directory after each. `failures` are those of this session."""

    def __init__(self, directory: RunDirectory, evaluator: Evaluator, test: StoredSplit, *, batch: int):
        self._directory = directory
        self._evaluator = evaluator
        self._test = test
        self._timing: TimingConfig = FINALIST_TIMING.with_batch(batch)
        self.looks: dict[LookKey, Look] = read_kept(directory.path / _FILE, _read) or {}
        self.failures: list[Failure] = []

    def look_at(
        self,
        points: Iterable[Point],
        *,
        baseline: Point,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        """Looks at each point on each target where nobody looked yet, until the time is over; whether it
        looked at any.
        """
        looked = False
        for point, name in self._due(points, baseline):
            if not time_left():
                break
            where = f" on {name}" if len(self._evaluator.targets) > 1 else ""
            progress(f"finalist: trial {point.trial}{where}")
            look = self._look(point, name, baseline, progress)
            if look is not None:
                self.looks[point.measured[name].artifact.digest, name] = look
                self._write()
                looked = True
        return looked

    def look_again(
        self,
        points: Sequence[Point],
        *,
        baseline: Point,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        """Measures again what is not known within ±GOOD_HALF_WIDTH, until it is or the time is over; whether
        anything was.

        In rounds: each measures all that are still too wide, the widest first, so that what disturbs an hour
        disturbs all of them alike. A look is written after each, so that nothing is measured twice.
        """
        again = False
        for number in range(2, MOST_ROUNDS + 1):
            for point, name in self._wide(points, number):
                if not time_left():
                    return again
                where = f" on {name}" if len(self._evaluator.targets) > 1 else ""
                progress(f"finalist: trial {point.trial}{where}, measured for the {number}. time")
                again = self._again(point, name, baseline, progress) or again
        return again

    def _wide(self, points: Iterable[Point], number: int) -> list[tuple[Point, str]]:
        """The points and targets to measure in this round, the widest first."""
        wide = [
            (look.half_width, point, name)
            for point in points
            for name, measured in point.measured.items()
            if (look := self.looks.get((measured.artifact.digest, name))) is not None
            and look.half_width > max(GOOD_HALF_WIDTH, self._timing.half_width)
            and look.rounds < number
            and self._evaluator.availability.may_ask(name)
        ]
        return [(point, name) for _, point, name in sorted(wide, key=lambda item: -item[0])]

    def _again(self, point: Point, name: str, baseline: Point, progress: Progress) -> bool:
        """Whether it was measured again."""
        key = point.measured[name].artifact.digest, name
        try:
            self.looks[key] = look_again(
                self._evaluator, point, name, baseline=baseline, timing=self._timing, look=self.looks[key]
            )
        except (StageError, TargetUnavailable) as error:
            self._evaluator.availability.gone(name, str(error))
            return False
        self._write()
        return True

    def _due(self, points: Iterable[Point], baseline: Point) -> Iterator[tuple[Point, str]]:
        """The points and targets to look at, asked for one by one: what is away changes meanwhile."""
        for point in points:
            for name, measured in point.measured.items():
                done = (measured.artifact.digest, name) in self.looks
                if done or name not in baseline.measured:
                    continue
                if self._alone(name) or self._evaluator.availability.may_ask(name):
                    yield point, name

    def _look(self, point: Point, name: str, baseline: Point, progress: Progress) -> Look | None:
        """The look; None when the target is away and others are not, so that a later session looks."""
        look = partial(
            look_longer,
            self._evaluator,
            point,
            name,
            baseline=baseline,
            test=self._test,
            timing=self._timing,
            scored=self._scored(point, name),
        )
        try:
            if self._alone(name):
                made, failure = self._evaluator.patience.until_back(look, name=name, say=progress)
            else:
                made, failure = look()
        except (StageError, TargetUnavailable) as error:
            if self._alone(name):
                raise
            self._evaluator.availability.gone(name, str(error))
            return None
        self._evaluator.availability.answered(name)
        self.failures += [failure] if failure else []
        return made

    def _alone(self, name: str) -> bool:
        """Whether there is no other target, or none that answers: then this one is waited for."""
        others = [target.profile.name for target in self._evaluator.targets if target.profile.name != name]
        return all(self._evaluator.availability.reason(other) is not None for other in others)

    def _scored(self, point: Point, name: str) -> Look | None:
        """A look at the same file on a target that answers alike: a file is scored once."""
        digest = point.measured[name].artifact.digest
        wanted = answers_key(self._evaluator.target(name), digest)
        for other in self._evaluator.targets:
            look = self.looks.get((digest, other.profile.name))
            if look is not None and look.test is not None and answers_key(other, digest) == wanted:
                return look
        return None

    def _write(self) -> None:
        looks = [
            {"digest": digest, "target": target, "look": look.to_json()}
            for (digest, target), look in self.looks.items()
        ]
        write_kept(self._directory.path / _FILE, {"looks": looks})


def _read(fields: Fields) -> dict[LookKey, Look]:
    return {
        (entry.text("digest"), entry.text("target")): Look.from_json(entry.object("look"))
        for entry in fields.objects("looks")
    }


def by_contribution(front: Sequence[Point], vector: Callable[[Point], Vector]) -> list[Point]:
    """The front in the order in which to look at it: what adds most hypervolume first."""
    value = contributions({point.trial: vector(point) for point in front})
    return sorted(front, key=lambda point: -value[point.trial])
