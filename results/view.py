"""A run on one of its targets: RunOn, with points of type PointOn."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..compress.recipe import Recipe
from ..errors import InputError
from .limits import Limits
from .records.facts import RunTarget, TaskFacts
from .records.latency import AnyLatency, Predicted
from .records.point import ArtifactFacts, FineTuned, LayerRow, Measured, Point, Quality
from .records.reading import Interval
from .records.run import Run


@dataclass(frozen=True, kw_only=True)
class RunOn:
    """A run on a single target; `run` has no other target. `RunOn.of` makes it."""

    run: Run
    target: RunTarget

    @classmethod
    def of(cls, run: Run, target: str) -> "RunOn":
        """The run on one of its targets. InputError for the name of another."""
        if target not in run.target_names:
            choices = " or ".join(map(repr, run.target_names))
            raise InputError(f"The run has no target {target!r}: choose {choices}.")
        alone = run.only(target)
        return cls(run=alone, target=alone.targets[0])

    @property
    def task(self) -> TaskFacts:
        """The run's task."""
        return self.run.facts.task

    @property
    def limits(self) -> Limits:
        """The user's limits on this target, resolved."""
        return self.run.limits[self.target.name]

    @cached_property
    def points(self) -> tuple["PointOn", ...]:
        """All points that have a latency here, in order of their trials."""
        return tuple(self.on(point) for point in self.run.points)

    @cached_property
    def baseline(self) -> "PointOn":
        """The original model."""
        return self.on(self.run.baseline)

    @cached_property
    def uniform_int8(self) -> "PointOn | None":
        """The point in which every layer is int8, when it was measured here."""
        return None if self.run.uniform_int8 is None else self.on(self.run.uniform_int8)

    @cached_property
    def front(self) -> tuple["PointOn", ...]:
        """The front of this target, the fastest first."""
        return tuple(self.on(point) for point in self.run.front)

    @cached_property
    def others(self) -> tuple["PointOn", ...]:
        """The points that are not on it."""
        return tuple(self.on(point) for point in self.run.others)

    def nearest_misses(self, limits: Limits | None = None, *, count: int) -> tuple["PointOn", ...]:
        """The points that break the limits by the least, best first."""
        given = None if limits is None else {self.target.name: limits}
        return tuple(self.on(point) for point in self.run.nearest_misses(given, count=count))

    def on(self, point: Point) -> "PointOn":
        """A point of the run on this target. KeyError when it has no latency here."""
        return PointOn(view=self, point=point, measured=point.measured[self.target.name])


@dataclass(frozen=True, slots=True, kw_only=True)
class PointOn:
    """A point on one target: its numbers there, and its place in the front of that target."""

    view: RunOn
    point: Point
    measured: Measured

    @property
    def trial(self) -> int:
        """The trial's number, below zero for a fine-tuned point."""
        return self.point.trial

    @property
    def recipe(self) -> Recipe:
        """What was done to the model."""
        return self.point.recipe

    @property
    def finetuned(self) -> FineTuned | None:
        """What it was made of, for a fine-tuned point."""
        return self.point.finetuned

    @property
    def artifact(self) -> ArtifactFacts:
        """Its file on this target."""
        return self.measured.artifact

    @property
    def quality(self) -> Quality:
        """The metric of that file."""
        return self.measured.quality

    @property
    def drop(self) -> float:
        """The loss against the original, in the metric's unit."""
        return self.measured.drop

    @property
    def drop_interval(self) -> Interval | None:
        """The interval of the drop; None for the original, and in older runs."""
        return self.measured.drop_interval

    @property
    def quality_interval(self) -> Interval | None:
        """The interval of the metric by itself, where the drop has none: that one tells more."""
        return None if self.drop_interval else self.quality.interval

    @property
    def chance(self) -> float | None:
        """How likely the drop keeps the run's limit; None without a limit or an interval."""
        return self.view.run.chance(self.point)

    def same_drop_as(self, other: "PointOn") -> bool:
        """Whether the drops of two points cannot be told apart; False where one has no interval.

        The intervals count as independent. Both compare with the original's answers, so that the difference
        is known better than that.
        """
        halves = [point.half_drop for point in (self, other)]
        known = [half for half in halves if half is not None]
        return len(known) == 2 and abs(self.drop - other.drop) <= math.hypot(*known)

    @property
    def half_drop(self) -> float | None:
        """Half of the interval of the drop; 0 of the original by definition, None where it has none."""
        if self.trial == self.view.run.baseline.trial:
            return 0.0
        interval = self.drop_interval
        return None if interval is None else (interval[1] - interval[0]) / 2

    @property
    def latency(self) -> AnyLatency:
        """Measured, or predicted."""
        return self.measured.latency

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """Its layers."""
        return self.measured.layers

    @property
    def predicted(self) -> bool:
        """Whether its latency is predicted, not measured."""
        return isinstance(self.latency, Predicted)

    @property
    def size_bytes(self) -> int:
        """The size of its file."""
        return self.artifact.size_bytes

    @property
    def size_ratio(self) -> float:
        """The size relative to the original's."""
        return self.view.run.size_ratio(self.measured, self.view.target.name)

    @property
    def violations(self) -> dict[str, float]:
        """By limit that it breaks, the excess in the limit's own unit."""
        return self.excess_over(self.view.limits)

    def excess_over(self, limits: Limits) -> dict[str, float]:
        """By limit of these that it breaks, the excess in the limit's own unit."""
        broken = self.view.run.violations(self.point, {self.view.target.name: limits})
        return {name: excess.value for name, excess in broken.items()}

    @property
    def feasible(self) -> bool:
        """Whether it breaks no limit here."""
        return not self.violations

    @property
    def indistinguishable_from(self) -> tuple[int, ...]:
        """The trials whose latency intervals overlap its own."""
        return self.view.run.indistinguishable[self.trial]

    @property
    def warnings(self) -> list[str]:
        """Layers that ran in another precision than asked, and a model that is smaller but not faster."""
        asked = [
            f"asked {row.precision_asked}, ran {row.precision_executed}: {row.name}"
            for row in self.layers
            if row.differs
        ]
        return [*asked, *_not_faster(self)]

    def to_json(self) -> dict[str, Any]:
        """A flat JSON value for scripts; nothing reads it again."""
        value = {"trial": self.trial, "recipe": self.recipe.to_json(), **self.measured.to_json()}
        value |= {
            "feasible": self.feasible,
            "violations": self.violations,
            "drop_limit_chance": self.chance,
            "indistinguishable_from": list(self.indistinguishable_from),
            "warnings": self.warnings,
            "seconds": dict(self.point.seconds),
        }
        return value | ({"finetuned": asdict(self.finetuned)} if self.finetuned else {})


def _not_faster(point: PointOn) -> list[str]:
    """A warning when the point computes less than a reference of the same precision, but is not clearly
    faster.

    The reference is uniform int8 where nothing that could be int8 is left in float32, else the original.
    """
    reference, name = point.view.baseline, "the original"
    uniform = point.view.uniform_int8
    if uniform is not None and point.recipe.precision:
        present = {row.name for row in point.layers if row.channels_out}
        if present & uniform.recipe.precision.keys() <= point.recipe.precision.keys():
            reference, name = uniform, "uniform int8"
    if point.artifact.macs >= reference.artifact.macs:
        return []
    latency, other = point.latency, reference.latency
    if isinstance(latency, Predicted) or isinstance(other, Predicted):
        slower = latency.ratio >= other.ratio
        return [f"smaller, but not predicted to be faster than {name}"] if slower else []
    slower = latency.ratio_interval[1] >= other.ratio_interval[0]
    return [f"smaller, but not faster than {name}"] if slower else []


def views_of(run: Run) -> list[RunOn]:
    """The run on each of its targets."""
    return [RunOn.of(run, name) for name in run.target_names]
