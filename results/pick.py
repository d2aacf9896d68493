"""Picks one point of a run within limits on its drop, latency and size.

With several targets one point is picked for all of them: the limits hold on each target, and the worst
number of a point counts. For the best point on one target give `run.only(name)`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from ..errors import AutocompressError, InputError
from ..profiles import format_energy
from ..text.printable import printable
from .choosing.choose import choose, within
from .choosing.slower import not_slower, original_words
from .formats import Formats, label_of, mark_of, ratio_of
from .limits import Constraints, Limits
from .records.latency import Predicted
from .records.point import Point
from .records.run import Run
from .view import PointOn, views_of

Objective = Literal["latency", "size", "drop"]
MISSES = 3


class NothingMeets(AutocompressError):  # noqa: N818 - an outcome (exit code 1), not an error
    """No measured point meets the limits (exit code 1); `misses` are the nearest ones, best first."""

    def __init__(self, message: str, *, misses: tuple[Point, ...]):
        super().__init__(message)
        self.misses = misses


def pick(
    run: Run,
    limits: Mapping[str, Limits],
    *,
    minimize: Objective = "latency",
    allow_slower: bool = False,
) -> Point:
    """The best point within the limits of each target by the rule of `choosing.choose`: nothing that may be
    slower than the original, unless `allow_slower`; the original where nothing else is left.

    A limit holds for the measured value, not for the far end of its interval. Raises NothingMeets.
    """
    choice = choose(run, limits, minimize, allow_slower=allow_slower)
    if choice is None:
        raise _nothing_meets(run, limits)
    return choice.point


def trial_to_take(run: Run, trial: int, *, allow_slower: bool = False) -> Point:
    """The point of a trial that the user names. InputError when it was not measured on every target, or may
    be slower than the original.
    """
    point = next((point for point in run.points if point.trial == trial), None)
    if point is None:
        raise InputError(f"The run has no measured trial {trial}: `autocompress front RUN` lists its front.")
    missing = [name for name in run.target_names if name not in point.measured]
    if missing and run.device is None:
        raise InputError(f"Trial {trial} has no latency on {missing[0]}: name another target or trial.")
    if not (allow_slower or not_slower(run, point)):
        ratios = [ratio_of(view.on(point)) for view in views_of(run) if view.target.name in point.measured]
        raise InputError(
            f"Trial {trial} is not shown to be no slower than {original_words(run)} "
            f"({', '.join(ratios)} of the original's latency on the same target): add --allow-slower to take "
            "it all the same, or take another one."
        )
    return point


def cost_of(run: Run, point: Point, objective: Objective) -> float:
    """An objective of the point, to be minimized: a drop in the metric's unit, seconds, bytes; the worst of
    all targets.

    Latencies and sizes of several targets compare as ratios to the original's.
    """
    measured = run.measured(point)
    if objective == "drop":
        return max(measure.drop for measure in measured.values())
    if len(run.target_names) > 1:
        _, size, latency = run.vector(point)
        return latency if objective == "latency" else size
    (measure,) = measured.values()
    return measure.latency.seconds if objective == "latency" else float(measure.artifact.size_bytes)


def resolved(run: Run, constraints: Mapping[str, Constraints]) -> dict[str, Limits]:
    """By target, the limits in the metric's unit, seconds, bytes and joules. InputError for a percentage of a
    baseline of 0, for percentage points of a metric that is no fraction, and for energies that nobody
    counted.
    """
    original, metric = run.baseline.measured, run.facts.task.metric
    for name, limits in constraints.items():
        limits.require_unit(metric.name, metric.unit)
        if limits.max_energy_j is not None and name in original and original[name].latency.energy is None:
            raise InputError(
                f"The run has no energies on {name}, where no sensor counted them: leave out --max-energy "
                f"(`autocompress targets doctor {name}` says what a search there would need)."
            )
    return {name: constraints[name].limits(original[name].quality.validation) for name in run.target_names}


def limits_text(run: Run, limits: Mapping[str, Limits]) -> str:
    """The limits in words: `drop ≤ 1.00 pp and latency ≤ 0.300 ms`; `no limit` without any.

    With several targets `drop ≤ 1.00 pp, latency ≤ 2.000 ms on cpu, latency ≤ 9.000 ms on edge`.
    """
    formats, parts = Formats.of(run), list[str]()
    drops = {name: limit.drop for name, limit in limits.items()}
    latencies = {name: limit.latency_s for name, limit in limits.items()}
    sizes = {name: limit.size_bytes for name, limit in limits.items()}
    energies = {name: limit.energy_j for name, limit in limits.items()}
    for what, values, text in (
        ("drop", drops, formats.drop),
        ("latency", latencies, formats.latency),
        ("size", sizes, formats.size),
        ("energy", energies, format_energy),
    ):
        given = {name: f"{what} ≤ {text(value)}" for name, value in values.items() if value is not None}
        if len(given) == len(limits) and len(set(given.values())) == 1:
            parts.append(next(iter(given.values())))
        else:
            parts += [f"{words} on {name}" for name, words in given.items()]
    separator = " and " if len(run.target_names) == 1 else ", "
    return separator.join(parts) or "no limit"


def _nothing_meets(run: Run, limits: Mapping[str, Limits]) -> NothingMeets:
    if slower := within(run, limits):
        return _all_slower(run, limits, slower)
    misses = run.nearest_misses(limits, count=MISSES)
    lines = [f"  {label_of(point, run)}: {_miss_text(run, point, limits)}" for point in misses]
    original = next(iter(run.measured(run.baseline).values()))
    which = "" if isinstance(original.latency, Predicted) else "measured "
    first = f"No {which}point has {limits_text(run, limits)}. The nearest misses:"
    return NothingMeets("\n".join(map(printable, [first, *lines])), misses=misses)


def _all_slower(run: Run, limits: Mapping[str, Limits], slower: Sequence[Point]) -> NothingMeets:
    """Points meet the limits, but none of them is shown to be no slower than the original."""
    nearest = sorted(slower, key=lambda point: cost_of(run, point, "latency"))[:MISSES]
    words = f"No point with {limits_text(run, limits)} is shown to be no slower than {original_words(run)}"
    lines = [f"  {label_of(point, run)}: {_miss_text(run, point, limits)}" for point in nearest]
    text = [f"{words}. --allow-slower takes one of these:", *lines]
    return NothingMeets("\n".join(map(printable, text)), misses=tuple(nearest))


def _miss_text(run: Run, point: Point, limits: Mapping[str, Limits]) -> str:
    """The numbers of the point on each target, and which limits it exceeds there."""
    formats, there = Formats.of(run), run.measured(point)
    views = [view for view in views_of(run) if view.target.name in there]
    texts = []
    for view in views:
        place, name = view.on(point), view.target.name
        excess = place.excess_over(limits[name])
        text = f"{formats.latency_of(place)}, {formats.size_of(place)}"
        text += f" — exceeds {describe_excess(place, excess)}" if excess else ""
        texts.append(text if len(run.target_names) == 1 else f"{name} {text}")
    separator = ", " if len(run.target_names) == 1 else "; "
    return separator.join([formats.quality_of(views[0].on(point)), "; ".join(texts)])


def describe_excess(point: PointOn, excess: Mapping[str, float]) -> str:
    """`drop by 0.20 pp, latency by 0.031 ms` of a point; `~0.031 ms` where its latency is predicted."""
    return ", ".join(f"{name} by {amount_text(point, name, value)}" for name, value in excess.items())


def amount_text(point: PointOn, name: str, value: float) -> str:
    """A value of the limit `name` in words: `0.20 pp`, `0.031 ms` (`~` if predicted), `12.0 KB`, `1.2 mJ`."""
    if name == "energy":
        return format_energy(value)
    formats = Formats.of(point.view)
    if name == "latency":
        return mark_of(point.latency) + formats.latency(value)
    return formats.drop(value) if name == "drop" else formats.size(value)
