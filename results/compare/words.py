"""A comparison in sentences: what got worse first, then what else differs."""

from collections.abc import Iterator

from ...profiles import format_energy
from ..formats import Formats, ratio_text
from ..view import PointOn
from .change import Change
from .comparison import Comparison, Pair
from .fronts import Domination
from .picks import PickChange
from .tolerance import Quantity

_SHOWN_DIFFERENCES = 8


def verdict_line(comparison: Comparison) -> str:
    """`Worse: fastest within 1pp on cpu since runs/monday: worse latency (+15.2 ±2.9 %)`, or that nothing
    is.
    """
    parts = [_loss(pair, pick) for pair in comparison.pairs for pick in pair.worse]
    if parts:
        return f"Worse: {'; '.join(parts)}."
    unknown = sum(pick.verdict == "unknown" for pair in comparison.pairs for pick in pair.picks)
    note = f" {unknown} of the verdicts are unknown." if unknown else ""
    return f"Nothing got worse beyond its interval and tolerance.{note}"


def pair_lines(pair: Pair) -> list[str]:
    """What differs besides the points, hypervolumes, and who dominates whom."""
    return [*differences_lines(pair), hypervolume_line(pair), *domination_lines(pair)]


def title_of(pair: Pair) -> str:
    """`runs/monday → runs/tuesday, resnet20 on cpu`."""
    old, new = pair.old.target.name, pair.new.target.name
    where = new if old == new else f"{old}, then {new}"
    return f"{pair.sides[0].label} → {pair.sides[1].label}, {pair.new.task.name} on {where}"


def differences_lines(pair: Pair) -> list[str]:
    """One sentence that names what makes only ratios comparable; none where everything is the same."""
    if pair.absolute:
        return []
    shown = [str(one) for one in pair.differences[:_SHOWN_DIFFERENCES]]
    more = len(pair.differences) - len(shown)
    return [f"Only ratios are compared: {'; '.join(shown)}{f'; {more} more' if more > 0 else ''}."]


def hypervolume_line(pair: Pair) -> str:
    """`hypervolume 0.612 → 0.604: −0.008, the spread of the measurements alone makes ±0.021`."""
    volume = pair.hypervolume
    change = _signed(f"{volume.new - volume.old:+.3f}")
    spread = f"the spread of the measurements alone makes ±{volume.half_width:.3f}"
    box = ", each in the box of its own metric" if volume.drop_scale is None else ""
    return f"Hypervolume {volume.old:.3f} → {volume.new:.3f}: {change}; {spread}{box}."


def domination_lines(pair: Pair) -> list[str]:
    """Who dominates whom; that the metrics differ where nobody can."""
    if pair.old_dominated is None or pair.new_dominated is None:
        return ["The metrics differ, so that no point of one run dominates a point of the other."]
    return [
        _dominated("then", pair.old_dominated, "now"),
        _dominated("now", pair.new_dominated, "then"),
    ]


def quantities(pair: Pair) -> tuple[Quantity, ...]:
    """The quantities of which a pick's changes are shown; energy where any pick has one on both sides."""
    counted = any("energy" in pick.changes for pick in pair.picks)
    return ("latency", "size", "drop", "energy") if counted else ("latency", "size", "drop")


def pick_text(pair: Pair, point: PointOn | None, *, new: bool) -> str:
    """`trial 8: drop 0.56 ±0.94 pp, 0.27× latency, 0.12× size`, of a pick then or now; with seconds and
    bytes where they compare.
    """
    if point is None:
        return "nothing meets it"
    formats, side = Formats.of(point.view), pair.sides[1 if new else 0]
    numbers = [f"drop {formats.drop_of(point)}", f"{ratio_text(point.latency.ratio)} latency"]
    numbers.append(f"{ratio_text(point.size_ratio)} size")
    energy = point.latency.energy
    if pair.absolute:
        numbers[1] += f" ({formats.seconds_of(point)})"
        numbers[2] += f" ({formats.size_of(point)})"
    if energy is not None:
        amount = f" ({format_energy(energy.energy_j)})" if pair.absolute else ""
        numbers.append(f"{ratio_text(energy.ratio)} energy{amount}")
    return f"{side.name_of(point)}: {', '.join(numbers)}"


def change_text(pair: Pair, change: Change | None) -> str:
    """`+4.2 ±3.1 %`, `+0.20 ±0.31 pp`; `unknown spread` without an interval, `—` without a change."""
    if change is None:
        return "—"
    if change.quantity == "drop":
        return _drop_text(Formats.of(pair.new), change)
    value = _signed(f"{100 * change.change:+.1f}")
    if change.interval is None:
        return f"{value} %, spread unknown"
    half = (change.interval[1] - change.interval[0]) / 2
    return f"{value} ±{100 * half:.1f} %" if half else f"{value} %"


def verdict_text(pick: PickChange) -> str:
    """`worse`, `not worse`, `better` or `unknown`, with the reason."""
    name = "not worse" if pick.verdict == "same" else pick.verdict
    return f"{name}: {pick.reason}"


def _drop_text(formats: Formats, change: Change) -> str:
    scale, unit = (100, " pp") if formats.fraction else (1.0, "")
    digits = "+.2f" if formats.fraction else "+.3g"
    value = _signed(f"{scale * change.change:{digits}}")
    if change.interval is None:
        return f"{value}{unit}, spread unknown"
    half = scale * (change.interval[1] - change.interval[0]) / 2
    spread = f" ±{half:.2f}" if formats.fraction else f" ±{half:.2g}"
    return f"{value}{spread if half else ''}{unit}"


def _loss(pair: Pair, pick: PickChange) -> str:
    """The policy, where and since when, the reason, and the numbers of what is worse."""
    judged = [pick.changes[name] for name in pick.judged if name in pick.changes]
    worse = [change for change in judged if change.verdict == "worse"]
    numbers = ", ".join(f"{change.quantity} {change_text(pair, change)}" for change in worse)
    where = f"{pick.policy.name} on {pair.target} since {pair.sides[0].label}"
    return f"{where}: {pick.reason}{f' ({numbers})' if numbers else ''}"


def _dominated(front: str, counts: Domination, by: str) -> str:
    if not counts.points:
        return f"The front of {front} has nothing but the original."
    points = "point" if counts.points == 1 else "points"
    certain = f", {counts.certain} by more than the intervals" if counts.dominated else ""
    return (
        f"Of {counts.points} {points} on the front {front}, {counts.dominated} are dominated {by}{certain}."
    )


def _signed(text: str) -> str:
    """With a true minus sign, and none on zero."""
    zero = not text.strip("+-0.")
    return text.lstrip("+-") if zero else text.replace("-", "−")


def trend_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """For each run in the order of time, on each target of the last: label, target, points, hypervolume and
    the ratio of each policy's pick.
    """
    for pair in comparison.pairs:
        yield (
            pair.sides[0].label,
            pair.old.target.name,
            str(len(pair.old.points)),
            f"{pair.hypervolume.old:.3f}",
            *(pick_text(pair, pick.old, new=False) for pick in pair.picks),
        )
    last = {pair.target: pair for pair in comparison.pairs}
    for pair in last.values():
        yield (
            pair.sides[1].label,
            pair.target,
            str(len(pair.new.points)),
            f"{pair.hypervolume.new:.3f}",
            *(pick_text(pair, pick.new, new=True) for pick in pair.picks),
        )
