"""What a reader should see first: the star with its reason, and the named points beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..formats import label_of
from ..limits import Limits, chance_text
from ..pick import limits_text
from ..records.point import Point
from ..records.run import Run
from .choose import Aim, Choice, choose, limits_for
from .slower import fastest_original, original_words

NAMES: dict[Aim, str] = {
    "latency": "fastest",
    "size": "smallest",
    "drop": "most accurate",
    "balance": "balanced",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The point that a reader should see first, and in half a sentence why. `meets` is False of the nearest
    miss, which nothing hands out unasked.
    """

    point: Point
    reason: str
    meets: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPoint:
    """A point, and what it is best at: `fastest`, `smallest`, `most accurate`, `balanced`."""

    point: Point
    names: tuple[str, ...]


def recommended(run: Run) -> Recommendation:
    """The star: what `pick` takes without limits.

    It is the fastest point within the search's own limits (a search without a limit on the drop gets 1 pp, or
    1 % of the original's metric). Where nothing there is shown to be no slower than the original, it is the
    original; where nothing meets the limits, the nearest miss. The sentence says so.
    """
    limits = limits_for(run)
    choice = choose(run, limits, "latency")
    if choice is None:
        return _nearest_miss(run, limits)
    if choice.point.trial == run.baseline.trial:
        return Recommendation(point=choice.point, reason=original_reason(run, limits))
    return Recommendation(point=choice.point, reason=_reason(run, choice, limits))


def named_points(run: Run) -> tuple[NamedPoint, ...]:
    """The fastest, the smallest, the most accurate and the balanced point within the limits of the star,
    which is the first. Empty where the star is the original or a miss.
    """
    limits = limits_for(run)
    names: dict[tuple[int, str], list[str]] = {}
    points: dict[tuple[int, str], Point] = {}
    for aim, name in NAMES.items():
        choice = choose(run, limits, aim)
        if choice is None or choice.point.trial == run.baseline.trial:
            return ()
        key = choice.point.trial, ",".join(run.measured(choice.point))
        points[key] = choice.point
        names.setdefault(key, []).append(name)
    return tuple(NamedPoint(point=points[key], names=tuple(each)) for key, each in names.items())


def _reason(run: Run, choice: Choice, limits: Mapping[str, Limits]) -> str:
    several = len(run.target_names) > 1 and run.device is None
    where = "on its slowest target " if several else ""
    what = f"{where}the fastest point with {limits_text(run, limits)}{_likely(run, choice.point, limits)}"
    if not choice.alike:
        return what
    return f"{what}: latency does not tell {1 + len(choice.alike)} points apart, and it is the most accurate"


def original_reason(run: Run, limits: Mapping[str, Limits]) -> str:
    """Why it is the original that is taken; names the smallest of the points that may be slower."""
    if len(run.points) == 1:
        return "nothing but the original was measured"
    than = f" than {original_words(run)}" if _faster_elsewhere(run) else ""
    reason = f"no compressed point with {limits_text(run, limits)} is shown to be no slower{than}"
    smallest = choose(run, limits, "size", allow_slower=True)
    if smallest is None or smallest.point.trial == run.baseline.trial:
        return reason
    return f"{reason}; the smallest is {label_of(smallest.point, run)} (--allow-slower)"


def _faster_elsewhere(run: Run) -> bool:
    """Whether the original is faster in another runtime of the device."""
    if run.device is not None:
        return True
    return any(fastest_original(run, name) is not None for name in run.target_names)


def _nearest_miss(run: Run, limits: Mapping[str, Limits]) -> Recommendation:
    """The nearest miss; where slower points meet the limits, the fastest of those."""
    words = limits_text(run, limits)
    slower = choose(run, limits, "latency", allow_slower=True)
    if slower is not None:
        reason = (
            f"nothing with {words} is shown to be no slower than {original_words(run)}; this is the fastest"
        )
        return Recommendation(point=slower.point, reason=reason, meets=False)
    (miss,) = run.nearest_misses(limits, count=1)
    return Recommendation(point=miss, reason=f"nothing meets {words}; this is the nearest miss", meets=False)


def _likely(run: Run, point: Point, limits: Mapping[str, Limits]) -> str:
    """How likely the drop keeps its limit; empty where that is not known."""
    chance = run.chance(point, limits)
    return "" if chance is None else f" ({chance_text(chance)} likely)"
