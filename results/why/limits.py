"""Which limit binds, and what the points just outside the limits lacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..formats import (
    Formats,
    Point,
    Run,
    interval_of,
    label_of,
    mark_of,
    ratio_interval_of,
    ratio_of,
    ratio_text,
    seconds_of,
    size_ratio,
    speed_text,
)
from ..front import dominates
from ..limits import Limits
from ..pick import Miss, Objective, costs_of, drop_scale_of, excess_of, limits_of, measured_points
from ..pick import nearest_misses as nearest
from .options import admitting, option_of
from .space import largest_drop, worthy

LEAST_GAIN = 0.01  # a limit that costs less than 1 % of the objective does not bind
MISSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gain:
    """What dropping one limit would bring: the best point so far, the better one, the share of the objective
    that it saves.
    """

    limit: str
    objective: Objective
    best: Point
    better: Point
    share: float


def binding_constraint(run: Run) -> dict[str, Any] | None:
    """The limit whose removal alone would improve the best measured value the most, in one sentence with the
    remedy.

    The value is that of the fastest point, or of the smallest where nothing is faster without a limit;
    without a limit on the drop it is the drop. A latency improves only beyond the spread of both
    measurements, and no point counts that lies outside the objective space. `now` and `without` are the two
    values relative to the original's (a drop: to the objective space). `limit` is None when no limit binds or
    none was given, and the sentence says what ends the front instead. None when nothing but the original was
    measured.
    """
    if len(measured_points(run)) < 2:
        return None
    limits = limits_of(run)
    names = _names(limits)
    if not names:
        return _unlimited(run)
    if not _within(run, limits):
        return _unmet(run, limits)
    for objective in _objectives(limits):
        gains = [gain for name in names if (gain := _gain(run, limits, name, objective))]
        if gains:
            return _binding(run, max(gains, key=lambda gain: gain.share))
    what = "either of the limits" if len(names) > 1 else option_of(names[0], run)
    aims = " or ".join(
        {"latency": "faster", "size": "smaller", "drop": "better"}[name] for name in _objectives(limits)
    )
    space = Formats.of(run).drop(largest_drop(run))
    return _answer(
        f"No limit binds: without {what}, no measured point that loses up to {space} would be {aims} "
        f"by {100 * LEAST_GAIN:.0f} % or more."
    )


def miss_reasons(run: Run) -> list[dict[str, Any]]:
    """What each of the nearest misses lacked, per limit, absolute and as a share of the limit, and the limits
    that admit it.

    When the front is empty: the nearest misses. Otherwise the points closest to the limits that no point
    within them dominates: those that would join the front. One outside the objective space counts only if
    there is no other, the original never. `lacks` has drops in the metric's unit, seconds and bytes; a share
    is None for a limit of 0.
    """
    limits = limits_of(run)
    if not _names(limits):
        return []
    within = [_vector(point) for point in _within(run, limits)]
    misses = _misses(run, limits)
    joining = [
        miss for miss in misses if not any(dominates(vector, _vector(miss.point)) for vector in within)
    ]
    inside = [miss for miss in joining if worthy(run, miss.point)]
    return [_reason(run, miss, limits) for miss in (inside or joining)[:MISSES]]


def _gain(run: Run, limits: Limits, name: str, objective: Objective) -> _Gain | None:
    """What dropping the limit `name` would bring for the objective, or None when that is nothing."""

    def cost(point: Point) -> float:
        return costs_of(point)[objective]

    best = min(_within(run, limits), key=cost)
    candidates = [
        best,
        *(
            miss.point
            for miss in _misses(run, limits)
            if miss.excess.keys() == {name} and worthy(run, miss.point)
        ),
    ]
    better = min(candidates, key=cost)
    scale = drop_scale_of(run) if objective == "drop" else cost(best)
    share = (cost(best) - cost(better)) / scale
    fast, now = ratio_interval_of(better), ratio_interval_of(best)
    unclear = objective == "latency" and fast is not None and now is not None and fast[1] >= now[0]
    if share < LEAST_GAIN or unclear:
        return None
    return _Gain(limit=name, objective=objective, best=best, better=better, share=share)


def _binding(run: Run, gain: _Gain) -> dict[str, Any]:
    option, remedy = option_of(gain.limit, run), admitting(gain.limit, gain.better, run)
    now, then = _amount(run, gain.best, gain.objective), _amount(run, gain.better, gain.objective)
    cost = f"{gain.limit} {_value(run, gain.better, gain.limit)}"
    text = (
        f"{option} binds: without it {label_of(gain.better, run)} would {then[0]} {then[1]} instead of {now[1]} ({cost}). "
        f"{remedy} admits it."
    )
    found = _answer(
        text, limit=gain.limit, objective=gain.objective, trial=gain.better["trial"], gain=gain.share
    )
    relative = {
        "now": _relative(run, gain.best, gain.objective),
        "without": _relative(run, gain.better, gain.objective),
    }
    return found | {"best_trial": gain.best["trial"], "option": option, "remedy": remedy, **relative}


def _unlimited(run: Run) -> dict[str, Any]:
    """Without limits the front ends where the objective space does."""
    formats, scale = Formats.of(run), drop_scale_of(run)
    points = measured_points(run)
    last = min((point for point in points if point["drop"] <= scale), key=seconds_of)
    beyond = sum(
        point["drop"] > scale and costs_of(point)["latency"] < costs_of(last)["latency"] for point in points
    )
    text = (
        f"No limit was given: the search looks at drops of up to {formats.drop(scale)}, and the fastest point there is "
        f"{label_of(last, run)} ({speed_text(last)}, drop {formats.drop(last['drop'])})"
    )
    rest = f"; {beyond} faster {'one loses' if beyond == 1 else 'ones lose'} more." if beyond else "."
    return _answer(text + rest, trial=last["trial"])


def _unmet(run: Run, limits: Limits) -> dict[str, Any]:
    """Nothing meets the limits: the one without which something would, the least excess first."""
    nothing = "Nothing meets the limits"
    if any(not excess_of(point, limits) for point in measured_points(run)):
        nothing = f"Nothing that loses up to {Formats.of(run).drop(largest_drop(run))} meets the limits"
    for miss in _misses(run, limits):
        if len(miss.excess) == 1 and (worthy(run, miss.point) or "drop" in miss.excess):
            (name,) = miss.excess
            option, remedy = option_of(name, run), admitting(name, miss.point, run)
            text = (
                f"{nothing}. {option} binds: {label_of(miss.point, run)} breaks no other "
                f"({name} {_value(run, miss.point, name)}). {remedy} admits it."
            )
            found = _answer(text, limit=name, trial=miss.point["trial"])
            return found | {"option": option, "remedy": remedy}
    return _answer(f"{nothing}, and no measured point breaks only one of them.")


def _reason(run: Run, miss: Miss, limits: Limits) -> dict[str, Any]:
    point, formats = miss.point, Formats.of(run)
    limit = {"drop": limits.drop, "latency": limits.latency_s, "size": limits.size_bytes}
    relative = {name: by / most if (most := limit[name]) else None for name, by in miss.excess.items()}
    written = {"drop": formats.drop, "latency": formats.latency, "size": formats.size}
    needed = " and ".join(
        f"{mark_of(point) if name == 'latency' else ''}{written[name](by)} less {'drop' if name == 'drop' else ''}".rstrip()
        + _share(relative[name])
        for name, by in miss.excess.items()
    )
    admits = " ".join(admitting(name, point, run) for name in miss.excess)
    interval = interval_of(point)
    spread = "latency" in miss.excess and interval is not None and interval[0] <= (limits.latency_s or 0.0)
    text = f"{label_of(point, run)} ({_summary(run, point)}) would have needed {needed}"
    text += ", which is within the spread of its latency" if spread else ""
    lacks = {name: {"absolute": by, "relative": relative[name]} for name, by in miss.excess.items()}
    return {"trial": point["trial"], "lacks": lacks, "admit": admits, "text": f"{text}: {admits} admits it."}


def _misses(run: Run, limits: Limits) -> list[Miss]:
    """The points that break a limit, the nearest first, without the original: that nothing was done is no
    news.
    """
    found = nearest(run, limits, count=len(measured_points(run)))
    return [miss for miss in found if miss.point["trial"] != run["baseline"]["trial"]]


def _names(limits: Limits) -> list[str]:
    set_ = {"drop": limits.drop, "latency": limits.latency_s, "size": limits.size_bytes}
    return [name for name, value in set_.items() if value is not None]


def _objectives(limits: Limits) -> Sequence[Objective]:
    """What a person with these limits wants of the best point: nobody wants the fastest one at any drop."""
    if limits.drop is None:
        return ("drop",)
    return ("latency", "size")


def _within(run: Run, limits: Limits) -> list[Point]:
    """The points that meet the limits and lie in the objective space."""
    return [point for point in measured_points(run) if worthy(run, point) and not excess_of(point, limits)]


def _vector(point: Point) -> tuple[float, float, float]:
    costs = costs_of(point)
    return costs["drop"], costs["size"], costs["latency"]


def _amount(run: Run, point: Point, objective: Objective) -> tuple[str, str]:
    """Verb and value: `be 0.31×`, `have 0.12× the size`, `lose 0.42 pp`."""
    if objective == "latency":
        return "be", speed_text(point)
    if objective == "size":
        return "be", f"{ratio_text(size_ratio(point, run))} the size"
    return "lose", Formats.of(run).drop(point["drop"])


def _relative(run: Run, point: Point, objective: Objective) -> float:
    """The objective relative to the original's, a drop to the one that ends the objective space."""
    if objective == "latency":
        return ratio_of(point)
    return size_ratio(point, run) if objective == "size" else float(point["drop"] / drop_scale_of(run))


def _value(run: Run, point: Point, name: str) -> str:
    formats, costs = Formats.of(run), costs_of(point)
    mark = mark_of(point) if name == "latency" else ""
    return mark + {"drop": formats.drop, "latency": formats.latency, "size": formats.size}[name](costs[name])


def _summary(run: Run, point: Point) -> str:
    return f"{speed_text(point)}, drop {_value(run, point, 'drop')}, {_value(run, point, 'size')}"


def _share(relative: float | None) -> str:
    return "" if relative is None else f" ({100 * relative:.{0 if relative >= 0.01 else 1}f} % over)"


def _answer(
    text: str,
    *,
    limit: str | None = None,
    objective: str | None = None,
    trial: int | None = None,
    gain: float | None = None,
) -> dict[str, Any]:
    return {"limit": limit, "objective": objective, "trial": trial, "gain": gain, "text": text}
