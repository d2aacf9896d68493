"""Which limit binds, and what the points just outside the limits lacked."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..formats import Formats, interval_of, label_of, meets_text, ratio_interval_of, ratio_text, speed_text
from ..front import dominates
from ..pick import Objective, amount_text
from ..view import PointOn, RunOn
from .options import admitting, option_of
from .space import largest_drop, worthy

LEAST_GAIN = 0.01  # a limit that costs less than 1 % of the objective does not bind
MISSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The limit that binds, in a sentence with the remedy; `limit` is None when none does.

    Without it `trial` would be the best instead of `best_trial`, by the share `gain` of the `objective`.
    `now` and `without` are the two values relative to the original's (a drop: to the objective space).
    """

    text: str
    limit: str | None = None
    objective: Objective | None = None
    trial: int | None = None
    gain: float | None = None
    best_trial: int | None = None
    option: str | None = None
    remedy: str | None = None
    now: float = 0.0
    without: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """By how much a point exceeds a limit: in the metric's unit, seconds or bytes, and as a share of the
    limit (None for a limit of 0).
    """

    absolute: float
    relative: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissReason:
    """What a point lacked in each limit, the options that admit it, and a sentence."""

    trial: int
    lacks: dict[str, Lack]
    admit: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gain:
    """What dropping one limit would bring: the best point so far, the better one, the share of the objective
    that it saves.
    """

    limit: str
    objective: Objective
    best: PointOn
    better: PointOn
    share: float


def binding_constraint(run: RunOn) -> Binding | None:
    """The limit whose removal alone would improve the best measured value the most, in one sentence with the
    remedy.

    The value is that of the fastest point, or of the smallest where nothing is faster without a limit;
    without a limit on the drop it is the drop. A latency or a drop improves only beyond the spread of both
    measurements, and no point counts that lies outside the objective space. When no limit binds or none was
    given, the sentence says what ends the front instead. None when nothing but the original was measured.
    """
    if len(run.points) < 2:
        return None
    names = _names(run)
    if not names:
        return _unlimited(run)
    if not _within(run):
        return _unmet(run)
    for objective in _objectives(run):
        gains = [gain for name in names if (gain := _gain(run, name, objective))]
        if gains:
            return _binding(run, max(gains, key=lambda gain: gain.share))
    what = "either of the limits" if len(names) > 1 else option_of(names[0], run)
    words = {"latency": "faster", "size": "smaller", "drop": "better"}
    aims = " or ".join(words[name] for name in _objectives(run))
    space = Formats.of(run).drop(largest_drop(run))
    return Binding(
        text=f"No limit binds: without {what}, no measured point that loses up to {space} would be {aims} "
        f"by {100 * LEAST_GAIN:.0f} % or more."
    )


def miss_reasons(run: RunOn) -> tuple[MissReason, ...]:
    """What each of the nearest misses lacked, and the limits that admit it.

    When the front is empty: the nearest misses. Otherwise the points closest to the limits that no point
    within them dominates: those that would join the front. One outside the objective space counts only if
    there is no other, the original never.
    """
    if not _names(run):
        return ()
    within = [_vector(point) for point in _within(run)]
    joining = [
        point for point in _misses(run) if not any(dominates(vector, _vector(point)) for vector in within)
    ]
    inside = [point for point in joining if worthy(point)]
    return tuple(_reason(point) for point in (inside or joining)[:MISSES])


def _gain(run: RunOn, name: str, objective: Objective) -> _Gain | None:
    """What dropping the limit `name` would bring for the objective, or None when that is nothing."""

    def cost(point: PointOn) -> float:
        return _value(point, objective)

    best = min(_within(run), key=cost)
    others = [point for point in _misses(run) if point.violations.keys() == {name} and worthy(point)]
    better = min([best, *others], key=cost)
    scale = run.run.drop_scale if objective == "drop" else cost(best)
    share = (cost(best) - cost(better)) / scale
    if share < LEAST_GAIN or _unclear(better, best, objective):
        return None
    return _Gain(limit=name, objective=objective, best=best, better=better, share=share)


def _unclear(better: PointOn, best: PointOn, objective: Objective) -> bool:
    """Whether the measurements do not tell the two apart."""
    if objective == "drop":
        return better.same_drop_as(best)
    fast, now = ratio_interval_of(better.latency), ratio_interval_of(best.latency)
    return objective == "latency" and fast is not None and now is not None and fast[1] >= now[0]


def _binding(run: RunOn, gain: _Gain) -> Binding:
    option, remedy = option_of(gain.limit, run), admitting(gain.limit, gain.better)
    now, then = _amount(gain.best, gain.objective), _amount(gain.better, gain.objective)
    verb = "lose" if gain.objective == "drop" else "be"
    cost = f"{gain.limit} {_value_text(gain.better, gain.limit)}"
    return Binding(
        text=f"{option} binds: without it {label_of(gain.better, run)} would {verb} {then} instead of {now} "
        f"({cost}). {remedy} admits it.",
        limit=gain.limit,
        objective=gain.objective,
        trial=gain.better.trial,
        gain=gain.share,
        best_trial=gain.best.trial,
        option=option,
        remedy=remedy,
        now=_relative(gain.best, gain.objective),
        without=_relative(gain.better, gain.objective),
    )


def _unlimited(run: RunOn) -> Binding:
    """Without limits the front ends where the objective space does."""
    formats, scale = Formats.of(run), run.run.drop_scale
    last = min(
        (point for point in run.points if point.drop <= scale), key=lambda point: point.latency.seconds
    )
    beyond = sum(point.drop > scale and point.latency.seconds < last.latency.seconds for point in run.points)
    text = (
        f"No limit was given: the search looks at drops of up to {formats.drop(scale)}, and the fastest "
        f"point there is {label_of(last, run)} ({speed_text(last.latency)}, drop {formats.drop_of(last)})"
    )
    rest = f"; {beyond} faster {'one loses' if beyond == 1 else 'ones lose'} more." if beyond else "."
    return Binding(text=text + rest, trial=last.trial)


def _unmet(run: RunOn) -> Binding:
    """Nothing meets the limits: the one without which something would, the least excess first."""
    nothing = "Nothing meets the limits"
    if any(point.feasible for point in run.points):
        nothing = f"Nothing that loses up to {Formats.of(run).drop(largest_drop(run))} meets the limits"
    for point in _misses(run):
        broken = point.violations
        if len(broken) == 1 and (worthy(point) or "drop" in broken):
            (name,) = broken
            option, remedy = option_of(name, run), admitting(name, point)
            text = (
                f"{nothing}. {option} binds: {label_of(point, run)} breaks no other "
                f"({name} {_value_text(point, name)}). {remedy} admits it."
            )
            return Binding(text=text, limit=name, trial=point.trial, option=option, remedy=remedy)
    return Binding(text=f"{nothing}, and no measured point breaks only one of them.")


def _reason(point: PointOn) -> MissReason:
    run = point.view
    limits = run.limits
    limit = {"drop": limits.drop, "latency": limits.latency_s, "size": limits.size_bytes}
    lacks = {}
    for name, excess in point.violations.items():
        most = limit[name]
        lacks[name] = Lack(absolute=excess, relative=excess / most if most else None)
    needed = " and ".join(_needed(point, name, lack) for name, lack in lacks.items())
    admits = " ".join(admitting(name, point) for name in lacks)
    text = f"{label_of(point, run)} ({_summary(point)}) would have needed {needed}{_close(point)}"
    return MissReason(trial=point.trial, lacks=lacks, admit=admits, text=f"{text}: {admits} admits it.")


def _close(point: PointOn) -> str:
    """Says which limits lie within the interval of what breaks them."""
    limits, broken = point.view.limits, point.violations
    latency, drop = interval_of(point.latency), point.drop_interval
    text = ""
    if "latency" in broken and latency is not None and latency[0] <= (limits.latency_s or 0.0):
        text += ", which is within the spread of its latency"
    if "drop" in broken and drop is not None and drop[0] <= (limits.drop or 0.0):
        text += f", which is within the interval of its drop ({meets_text(point)})"
    return text


def _needed(point: PointOn, name: str, lack: Lack) -> str:
    """`0.20 pp less drop (20 % over)`, `0.074 ms less (12 % over)`."""
    words = f"{amount_text(point, name, lack.absolute)} less{' drop' if name == 'drop' else ''}"
    if lack.relative is None:
        return words
    return f"{words} ({100 * lack.relative:.{0 if lack.relative >= 0.01 else 1}f} % over)"


def _misses(run: RunOn) -> list[PointOn]:
    """The points that break a limit, the nearest first, without the original."""
    nearest = run.nearest_misses(count=len(run.points))
    return [point for point in nearest if point.trial != run.baseline.trial]


def _names(run: RunOn) -> list[str]:
    limits = run.limits
    values = {"drop": limits.drop, "latency": limits.latency_s, "size": limits.size_bytes}
    return [name for name, value in values.items() if value is not None]


def _objectives(run: RunOn) -> Sequence[Objective]:
    """The objectives that matter with these limits: without a limit on the drop, the fastest point says
    nothing."""
    return ("drop",) if run.limits.drop is None else ("latency", "size")


def _within(run: RunOn) -> list[PointOn]:
    """The points that meet the limits and lie in the objective space."""
    return [point for point in run.points if worthy(point) and point.feasible]


def _vector(point: PointOn) -> tuple[float, float, float]:
    return point.drop, point.size_bytes, point.latency.seconds


def _amount(point: PointOn, objective: Objective) -> str:
    """`0.31×`, `0.12× the size`, `0.42 pp`."""
    if objective == "latency":
        return speed_text(point.latency)
    if objective == "size":
        return f"{ratio_text(point.size_ratio)} the size"
    return _value_text(point, "drop")


def _relative(point: PointOn, objective: Objective) -> float:
    """The objective relative to the original's, a drop to the one that ends the objective space."""
    if objective == "latency":
        return point.latency.ratio
    return point.size_ratio if objective == "size" else point.drop / point.view.run.drop_scale


def _value(point: PointOn, name: str) -> float:
    if name == "latency":
        return point.latency.seconds
    return point.drop if name == "drop" else float(point.size_bytes)


def _value_text(point: PointOn, name: str) -> str:
    return amount_text(point, name, _value(point, name))


def _summary(point: PointOn) -> str:
    return f"{speed_text(point.latency)}, drop {_value_text(point, 'drop')}, {_value_text(point, 'size')}"
