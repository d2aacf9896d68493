"""Run: everything that a run has measured so far, and the rules that judge it. Frozen; front.json holds it.

A run has one target or more. A candidate is judged by its worst numbers of all targets that measured the
original; limits hold on each. `only` is the run on a single target, with that target's own front.

Targets may also be *alternatives*: runtimes of one device. Then what is judged is a placement, a candidate on
one of them, which is a Point with this one outcome (`Point.on`). Its latency and size are relative to those
of the original in the runtime where that is fastest. A point with several outcomes counts where it is
fastest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from ..front import drop_scale, hypervolume, non_dominated
from ..limits import Limits, chance_below
from .facts import RunFacts, RunTarget
from .latency import Predicted, ratio_range
from .originals import InTurns, OneDevice, OriginalOn, Scale
from .point import Failure, Measured, Point
from .progress import SearchFacts, Stopped
from .reading import Fields, Interval
from .verification import Verification

SCHEMA_VERSION = 3  # of front.json
NEAREST_MISSES = 5

Status = Literal["running", "finished", "interrupted"]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """By how much a point exceeds a limit, on the target where it exceeds it most: in the limit's unit and
    relative.

    It is negative when the limit holds. `relative` is a drop in units of the objective space, or any other
    excess as a share of the limit.
    """

    target: str
    value: float
    relative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """The normalized hypervolume after a trial, and the run's time in seconds."""

    elapsed_s: float
    trial: int
    hypervolume: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """The measured points of a run, the original first, and all that is needed to read them.

    `uniform_int8` is the trial in which every layer is int8. `search` holds facts about the strategy's work.
    `verification` is what the last `verify` measured; it has a file of its own. `elsewhere` is the original
    on targets that `only` left out; no file has it. `in_turns` is how the original's latencies on
    alternatives compare, by target.
    """

    facts: RunFacts
    points: tuple[Point, ...]
    uniform_trial: int | None = None
    status: Status = "running"
    elapsed_s: float = 0.0
    screened: int = 0
    stopped: tuple[Stopped, ...] = ()
    failures: tuple[Failure, ...] = ()
    search: SearchFacts = field(default_factory=SearchFacts)
    verification: Verification | None = None
    elsewhere: tuple[OriginalOn, ...] = ()
    in_turns: Mapping[str, InTurns] = field(default_factory=dict)

    def __post_init__(self) -> None:
        trials = [point.trial for point in self.points]
        if {one.trial for one in self.stopped} & set(trials):
            raise ValueError("a trial is either stopped or a point.")
        if not trials or len(set(trials)) < len(trials):
            raise ValueError("points must hold at least the original model, each trial once.")
        if self.uniform_trial is not None and self.uniform_trial not in trials:
            raise ValueError(f"uniform_trial {self.uniform_trial} is no trial of the points.")
        for point in self.points:
            if {*point.outcomes, *point.left_out} - set(self.facts.target_names):
                raise ValueError(f"trial {point.trial} names a target that the run does not have.")
            if point.finetuned and point.finetuned.of not in trials:
                raise ValueError(f"trial {point.trial} was made of a trial that the run does not have.")

    # --- points and targets

    @property
    def baseline(self) -> Point:
        """The original model."""
        return self.points[0]

    @property
    def uniform_int8(self) -> Point | None:
        """The point in which every layer is int8, when it was measured."""
        return None if self.uniform_trial is None else self.point(self.uniform_trial)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets that have measured the original, in the user's order. The others are still away."""
        return tuple(name for name in self.facts.target_names if name in self.baseline.measured)

    @property
    def targets(self) -> tuple[RunTarget, ...]:
        """What is known of them."""
        return tuple(target for target in self.facts.targets if target.name in self.baseline.measured)

    @property
    def waiting(self) -> dict[str, int]:
        """By target, how many points wait to be measured there; targets without any are left out."""
        counts: dict[str, int] = {}
        for point in self.points:
            for name in point.waiting:
                counts[name] = counts.get(name, 0) + 1
        return counts

    @cached_property
    def _by_trial(self) -> Mapping[int, Point]:
        return {point.trial: point for point in self.points}

    def point(self, trial: int) -> Point:
        """The point of a trial. KeyError when it was not measured."""
        return self._by_trial[trial]

    def origin_of(self, point: Point) -> Point:
        """The trial that a fine-tuned point was made of; any other point itself."""
        return self.point(point.finetuned.of) if point.finetuned else point

    def only(self, target: str) -> "Run":
        """The run on this target alone, without the points that are missing there."""
        if self.facts.target_names == (target,):
            return self
        alone = next(facts for facts in self.facts.targets if facts.name == target)
        points = tuple(point.on(target) for point in self.points if target in point.measured)
        there = {point.trial for point in points}
        return replace(
            self,
            facts=replace(self.facts, targets=(alone,), alternatives=False),
            points=tuple(p for p in points if p.finetuned is None or p.finetuned.of in there),
            uniform_trial=self.uniform_trial if self.uniform_trial in there else None,
            elsewhere=self.originals_beside(target),
            in_turns={},
        )

    def originals_beside(self, target: str) -> tuple[OriginalOn, ...]:
        """The original in other float32 runtimes of this target's device, as far as the run measured it."""
        here = next(facts for facts in self.facts.targets if facts.name == target)
        if self.device is not None:
            return self.device.beside(target)
        own = (OriginalOn(target=one, measured=self._original(one.name)) for one in self.targets)
        return tuple(one for one in (*own, *self.elsewhere) if one.beside or one.competes_on(here))

    # --- alternatives

    @cached_property
    def device(self) -> OneDevice | None:
        """How the original compares on the runtimes of the device; None where a candidate serves all targets,
        or there is one.
        """
        if not self.facts.alternatives or len(self.target_names) < 2:
            return None
        originals = {
            one.name: OriginalOn(target=one, measured=self._original(one.name)) for one in self.targets
        }
        return OneDevice(originals=originals, in_turns=self.in_turns)

    @cached_property
    def placements(self) -> tuple[Point, ...]:
        """What may be on the front: the points; of alternatives each point on each target that measured it,
        and the original where it is fastest.
        """
        if self.device is None:
            return self.points
        here = set(self.target_names)
        first = self.baseline.on(self.device.baseline)
        return (first, *(p.on(name) for p in self.points[1:] for name in p.measured if name in here))

    def scale(self, target: str) -> Scale:
        """What a latency ratio on the target is multiplied with: of alternatives by the original's latency
        there, relative to where it is fastest.
        """
        return Scale(ratio=1.0) if self.device is None else self.device.scale(target, to=self.device.baseline)

    def ratio_range(self, target: str, measured: Measured) -> Interval:
        """Where the latency relative to the original's lies; of alternatives, to the fastest original's."""
        return self.scale(target).scaled(measured.latency) if self.device else ratio_range(measured.latency)

    # --- rules

    @cached_property
    def drop_scale(self) -> float:
        """The drop that ends the objective space, in the metric's unit."""
        limits = [limits.drop for limits in self.limits.values() if limits.drop is not None]
        return drop_scale(
            self.facts.task.metric.unit,
            self._original(self.target_names[0]).quality.validation,
            limit=max(limits, default=None),
        )

    @cached_property
    def limits(self) -> dict[str, Limits]:
        """By target, the user's limits in the metric's unit, seconds, bytes and joules."""
        return {
            target.name: target.constraints.limits(self._original(target.name).quality.validation)
            for target in self.targets
        }

    def _original(self, target: str) -> Measured:
        return self.baseline.measured[target]

    def measured(self, point: Point) -> dict[str, Measured]:
        """The outcomes with a latency that count: on the targets that have measured the original; of
        alternatives the one where the point is fastest, and the original's on the baseline.
        """
        there = {name: each for name, each in point.measured.items() if name in self.baseline.measured}
        if self.device is None or len(there) < 2:
            return there
        fastest = self.device.baseline
        if point.trial != self.baseline.trial:
            fastest = min(there, key=lambda name: there[name].latency.ratio * self.scale(name).ratio)
        return {fastest: there[fastest]}

    def complete(self, point: Point) -> bool:
        """Whether the point has a latency on every target that measured the original; on one of
        alternatives.
        """
        wanted = len(self.target_names) if self.device is None else 1
        return len(self.measured(point)) == wanted

    def vector(self, point: Point) -> Vector:
        """(normalized drop, size ratio, latency ratio), minimized; each on the target where it is worst."""
        measured = self.measured(point)
        return (
            max(outcome.drop for outcome in measured.values()) / self.drop_scale,
            max(self.size_ratio(outcome, name) for name, outcome in measured.items()),
            max(outcome.latency.ratio * self.scale(name).ratio for name, outcome in measured.items()),
        )

    def size_ratio(self, measured: Measured, target: str) -> float:
        """The size of a file relative to the original's on the same target; of alternatives, to that of the
        baseline.
        """
        there = target if self.device is None else self.device.baseline
        return measured.artifact.size_bytes / self._original(there).artifact.size_bytes

    def excess(self, point: Point, limits: Mapping[str, Limits] | None = None) -> dict[str, Excess]:
        """By name of each limit that is set, the excess on the target where it is worst. `limits` replaces
        the run's.
        """
        worst: dict[str, Excess] = {}
        for target, measured in self.measured(point).items():
            limited = (self.limits if limits is None else limits)[target]
            energy = measured.latency.energy
            values = limited.excess(
                drop=measured.drop,
                latency_s=measured.latency.seconds,
                size_bytes=measured.artifact.size_bytes,
                energy_j=energy.energy_j if energy else None,
            )
            relative = limited.relative(values, drop_unit=self.drop_scale)
            for name, value in values.items():
                if name not in worst or worst[name].relative < relative[name]:
                    worst[name] = Excess(target=target, value=value, relative=relative[name])
        return worst

    def violations(self, point: Point, limits: Mapping[str, Limits] | None = None) -> dict[str, Excess]:
        """The excess over each limit that the point breaks; empty when it keeps all."""
        return {name: excess for name, excess in self.excess(point, limits).items() if excess.value > 0}

    def worst_drop(self, point: Point) -> Measured:
        """The outcome on the target where the point loses most."""
        return max(self.measured(point).values(), key=lambda outcome: outcome.drop)

    def chance(self, point: Point, limits: Mapping[str, Limits] | None = None) -> float | None:
        """How likely the point keeps the limit of the drop on the target where that is least likely.

        None without such a limit, for the original, and where no drop has an interval.
        """
        chances = []
        for target, measured in self.measured(point).items():
            limit = (self.limits if limits is None else limits)[target].drop
            if limit is not None and measured.drop_interval is not None:
                chances.append(chance_below(limit, measured.drop, measured.drop_interval))
        return min(chances, default=None)

    def feasible(self, point: Point, limits: Mapping[str, Limits] | None = None) -> bool:
        """Whether the point breaks no limit and is missing on no target. A limit of energy is not kept where
        no sensor counted it.
        """
        asked = self.limits if limits is None else limits
        counted = all(
            measured.latency.energy is not None
            for name, measured in self.measured(point).items()
            if asked[name].energy_j is not None
        )
        return self.complete(point) and counted and not self.violations(point, limits)

    @cached_property
    def front(self) -> tuple[Point, ...]:
        """The feasible points that no feasible one dominates, the fastest first.

        Recipes that came to the same files, as by a recovery that brought nothing, are one point: the first.
        """
        feasible = [point for point in self.placements if self.feasible(point)]
        by_files: dict[tuple[str, ...], Point] = {}
        for point in non_dominated(feasible, self.vector):
            by_files.setdefault(self._files(point), point)
        return tuple(sorted(by_files.values(), key=lambda point: self.vector(point)[2]))

    def _files(self, point: Point) -> tuple[str, ...]:
        """The digests of its files, in the order of the targets; of alternatives, the runtime, too."""
        measured = self.measured(point)
        digests = tuple(measured[name].artifact.digest for name in self.target_names if name in measured)
        return digests if self.device is None else (*measured, *digests)

    @cached_property
    def fronts(self) -> dict[str, tuple[int, ...]]:
        """By target, the trials on the front of a search for it alone."""
        return {name: tuple(point.trial for point in self.only(name).front) for name in self.target_names}

    @property
    def others(self) -> tuple[Point, ...]:
        """The points (of alternatives, placements) that are not on the front, in order of their trials."""
        members = {(point.trial, *self.measured(point)) for point in self.front}
        return tuple(p for p in self.placements if (p.trial, *self.measured(p)) not in members)

    def nearest_misses(
        self, limits: Mapping[str, Limits] | None = None, *, count: int = NEAREST_MISSES
    ) -> tuple[Point, ...]:
        """The complete points that break limits, those with the least relative excess first."""
        distance: dict[int, float] = {}
        for point in self.points:
            if self.complete(point) and (broken := self.violations(point, limits)):
                distance[point.trial] = sum(excess.relative for excess in broken.values())
        nearest = sorted(distance, key=lambda trial: distance[trial])[:count]
        return tuple(self.point(trial) for trial in nearest)

    @cached_property
    def indistinguishable(self) -> dict[int, tuple[int, ...]]:
        """By trial, the other trials whose latency intervals overlap its own on every target of both."""
        ranges = {name: self._ratio_intervals(name) for name in self.target_names}
        order = {point.trial: place for place, point in enumerate(self.points)}
        alike: dict[int, tuple[int, ...]] = {}
        for point in self.points:
            shared, apart = set[int](), {point.trial}
            for name in self.measured(point):
                shared |= ranges[name].keys()
                apart |= _apart(point.trial, ranges[name])
            alike[point.trial] = tuple(sorted(shared - apart, key=order.__getitem__))
        return alike

    def _ratio_intervals(self, target: str) -> dict[int, Interval | None]:
        """By trial, the interval of the ratio on a target; None for a prediction, which is like nothing."""
        intervals: dict[int, Interval | None] = {}
        for point in self.points:
            if target in point.measured:
                latency = point.measured[target].latency
                intervals[point.trial] = None if isinstance(latency, Predicted) else latency.ratio_interval
        return intervals

    @property
    def saved_samples(self) -> float:
        """The share of all samples of validation that no candidate answered, since it was stopped."""
        if not self.stopped:
            return 0.0
        of = self.stopped[0].of
        whole = of * (len(self.points) + len(self.stopped))
        return sum(one.of - one.samples for one in self.stopped) / whole

    # --- hypervolume

    @cached_property
    def hypervolume(self) -> float:
        """The normalized hypervolume of all complete points, limits aside."""
        return hypervolume(self.vector(point) for point in self.placements if self.complete(point))

    @cached_property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The hypervolume after each trial of the search; fine-tuned points came later and are left out."""
        vectors: list[Vector] = []
        by_trial: dict[int, list[Vector]] = {}
        for place in self.placements:
            if self.complete(place):
                by_trial.setdefault(place.trial, []).append(self.vector(place))
        entries = []
        for point in self.points:
            if point.finetuned:
                continue
            vectors += by_trial.get(point.trial, [])
            entries.append(
                HistoryEntry(elapsed_s=point.elapsed_s, trial=point.trial, hypervolume=hypervolume(vectors))
            )
        return tuple(entries)

    # --- JSON

    def to_json(self) -> dict[str, Any]:
        """The value of front.json, from which `from_json` makes an equal run; `verification` is not in it."""
        turns = self.in_turns.items()
        return {
            "schema_version": SCHEMA_VERSION,
            **self.facts.to_json(),
            "points": [point.to_json() for point in self.points if point.finetuned is None],
            "uniform_trial": self.uniform_trial,
            "status": self.status,
            "elapsed_s": self.elapsed_s,
            "screened": self.screened,
            **({"stopped": [one.to_json() for one in self.stopped]} if self.stopped else {}),
            "failures": [failure.to_json() for failure in self.failures],
            "search": self.search.to_json(),
            **({"in_turns": {name: one.to_json() for name, one in turns}} if turns else {}),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Run":
        """The run that `to_json` described, of this schema version."""
        fields.choice("schema_version", (SCHEMA_VERSION,))
        return fields.record(
            lambda: cls(
                facts=RunFacts.taken_from(fields),
                points=tuple(Point.from_json(point) for point in fields.objects("points")),
                uniform_trial=fields.maybe("uniform_trial", fields.whole),
                status=fields.choice("status", get_args(Status)),
                elapsed_s=fields.amount("elapsed_s"),
                screened=fields.whole("screened"),
                stopped=tuple(map(Stopped.from_json, fields.objects("stopped")))
                if fields.has("stopped")
                else (),
                failures=tuple(Failure.from_json(failure) for failure in fields.objects("failures")),
                search=SearchFacts.from_json(fields.object("search")),
                in_turns=_in_turns(fields) if fields.has("in_turns") else {},
            )
        )


def _in_turns(fields: Fields) -> dict[str, InTurns]:
    return fields.each("in_turns", lambda entries, name: InTurns.from_json(entries.object(name)))


def _apart(trial: int, intervals: Mapping[int, Interval | None]) -> set[int]:
    """The trials whose intervals do not overlap that of this one."""
    own = intervals[trial]
    if own is None:
        return set(intervals)
    low, high = own
    return {other for other, of in intervals.items() if of is None or of[0] > high or of[1] < low}
