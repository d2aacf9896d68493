"""Screening: candidates that cannot matter are told apart before anything is built, and those that cannot
join the front while they are validated.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..compress.graph.network import Cost, Network
from ..compress.options import Int8Weights
from ..compress.recipe import Recipe
from ..evaluation.racing import Bar
from ..profiles import format_duration, format_latency, format_size
from ..results.records.latency import AnyLatency, Predicted
from ..results.records.point import ArtifactFacts, Measured, Point
from ..results.records.run import Run

_MARGIN = 1.05  # a candidate counts as too slow for larger ones only when it is so by more than this
_NO_TIME_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A candidate that was not built: `reason` is duplicate, runtime, size, latency or time.

    `excess` is relative to the limit and tells a sampler how far off it is, 0 where nothing is to be learned.
    """

    reason: str
    message: str
    excess: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TooSlow:
    """A candidate that is slower than a target's limit allows."""

    trial: int
    cost: Cost
    measured: Measured
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRace:
    """What the candidates of a run on one target have reached so far; see evaluation/racing.py."""

    run: Run

    def bar(self, artifact: ArtifactFacts, latency: AnyLatency) -> Bar | None:
        """The least drop of a candidate that is at most as large and as slow, or the user's limit of the drop
        once a candidate keeps all limits.
        """
        (target,) = self.run.facts.target_names
        bars = [
            Bar(drop=measured.drop, trial=point.trial)
            for point in self.run.points
            for measured in (point.measured[target],)
            if measured.artifact.size_bytes <= artifact.size_bytes and measured.latency.ratio <= latency.ratio
        ]
        limit = self.run.limits[target].drop
        if limit is not None and self.run.front:
            bars.append(Bar(drop=limit, trial=None))
        return min(bars, key=lambda bar: bar.drop, default=None)


@dataclass(slots=True, kw_only=True)
class Screen:
    """What is known of the candidates so far, to judge the next one by, and the limits of the user.

    `latencies_s` are the latency limits of those targets that have one. `sizes` are the tightest ones in
    bytes, by how files store the weights of int8 layers. `refusal`: why no runtime of a device takes a
    recipe, None where one does.
    """

    network: Network
    latencies_s: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[Int8Weights, int] = field(default_factory=dict)
    refusal: Callable[[Recipe], str | None] = lambda recipe: None
    _tried: dict[str, int] = field(default_factory=dict)
    _too_slow: list[TooSlow] = field(default_factory=list)
    _step_s: list[float] = field(default_factory=list)
    _fixed_s: list[float] = field(default_factory=list)

    def learn(self, point: Point) -> None:
        """Takes note of a measured candidate."""
        self._tried[point.recipe.digest] = point.trial
        recovery_s = point.seconds.get("recover", 0.0)
        if point.recipe.recovery is not None and recovery_s > 0:
            self._step_s.append(recovery_s / point.recipe.recovery.steps)
        self._fixed_s.append(sum(point.seconds.values()) - recovery_s)
        for target, limit_s in self.latencies_s.items():
            measured = point.measured.get(target)
            if measured is not None and _at_least_s(measured) > limit_s * _MARGIN:
                cost = self.network.cost(point.recipe)
                self._too_slow.append(
                    TooSlow(trial=point.trial, cost=cost, measured=measured, limit_s=limit_s)
                )

    def learn_failure(self, recipe: Recipe, trial: int) -> None:
        """Takes note of a candidate that failed: the same recipe would fail again."""
        self._tried[recipe.digest] = trial

    def judge(self, recipe: Recipe, *, left_s: float = _NO_TIME_S) -> Screened | None:
        """Why the recipe need not be built, or None. `left_s` is the time left for candidates."""
        if recipe.digest in self._tried:
            return Screened(
                reason="duplicate", message=f"the same recipe as trial {self._tried[recipe.digest]}"
            )
        if refused := self.refusal(recipe):
            return Screened(reason="runtime", message=refused)
        return self._size(recipe) or self._latency(self.network.cost(recipe)) or self._time(recipe, left_s)

    @property
    def step_s(self) -> float | None:
        """Seconds of one training step, the median so far; None before the first recovery."""
        return statistics.median(self._step_s) if self._step_s else None

    def seconds(self, recipe: Recipe) -> float | None:
        """How long the recipe will take, from the medians so far; None while nothing comparable was seen.

        The original, which comes first, is exported as well: it counts only while it is alone.
        """
        if not self._fixed_s or (recipe.recovery is not None and not self._step_s):
            return None
        steps = recipe.recovery.steps if recipe.recovery is not None else 0
        return statistics.median(self._fixed_s[1:] or self._fixed_s) + (
            steps * statistics.median(self._step_s) if steps else 0.0
        )

    def _size(self, recipe: Recipe) -> Screened | None:
        for form, limit in self.sizes.items():
            needed = self.network.stored_as(form).cost(recipe).weight_bytes
            if needed > limit:
                message = f"its weights need {format_size(needed)}, the limit is {format_size(limit)}"
                return Screened(reason="size", message=message, excess=needed / limit - 1)
        return None

    def _latency(self, cost: Cost) -> Screened | None:
        for slow in self._too_slow:
            if _no_smaller(cost, slow.cost):
                latency = slow.measured.latency
                mark = "~" if isinstance(latency, Predicted) else ""
                message = (
                    f"no layer is smaller than in trial {slow.trial}, which took "
                    f"{mark}{format_latency(latency.seconds)} (the limit is {format_latency(slow.limit_s)})"
                )
                excess = latency.seconds / slow.limit_s - 1
                return Screened(reason="latency", message=message, excess=excess)
        return None

    def _time(self, recipe: Recipe, left_s: float) -> Screened | None:
        needed = self.seconds(recipe)
        if needed is None or needed <= left_s:
            return None
        message = (
            f"it needs about {format_duration(needed)}, and {format_duration(max(0.0, left_s))} are left"
        )
        return Screened(reason="time", message=message)


def _at_least_s(measured: Measured) -> float:
    """The low end of a measured latency's interval; a predicted latency as it is."""
    latency = measured.latency
    return latency.seconds if isinstance(latency, Predicted) else latency.interval_s[0]


def _no_smaller(cost: Cost, slow: Cost) -> bool:
    """Whether every layer has at least as many channels as in `slow`, and the same precision."""
    return all(
        new.channels_in >= old.channels_in
        and new.channels_out >= old.channels_out
        and new.precision == old.precision
        for new, old in zip(cost.layers, slow.layers, strict=True)
    )
