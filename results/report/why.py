"""Why the run came out as it did: pictures and sentences of `explore/why`, one card per answer that the run
can give.
"""

import re
from collections.abc import Sequence

from ...profiles.units import format_duration, format_size
from ...text.printable import escape
from ..formats import Formats, label_of
from ..records.latency import Latency
from ..records.progress import SearchFacts
from ..view import RunOn
from ..why import Why
from ..why.indistinguishable import Group
from ..why.layers import RankedSlot, SensitiveLayers, kl_text
from ..why.limits import Binding, MissReason
from ..why.spent import PRODUCTIVE, TimeSpent
from ..why.trust import PredictedLatencies, RungCorrelation

SHOWN_SLOTS = 5
SHOWN_GROUPS = 3
SHOWN_MEMBERS = 8
KIND_TITLES = {"precision": "Precision", "keep": "Channels", "skip": "Blocks", "rank": "Rank"}
_OPTION = re.compile(r"--max-\w+ [\w.%]+")
_OBJECTIVES = {
    "latency": "latency of the fastest point",
    "size": "size of the smallest point",
    "drop": "least drop",
}


def why_section(run: RunOn) -> str:
    """The section of the page; empty when there is nothing to tell."""
    why = Why.of(run)
    cards = [_limits_card(why.binding, why.misses, run), _alike_card(why.indistinguishable, run)]
    if not any(cards):
        return ""
    answers = f'<div class="answers">{"".join(cards)}</div>'
    return f'<section class="why" aria-label="Why"><h2>Why</h2>{answers}</section>'


def expert_cards(run: RunOn) -> str:
    """The answers for who knows how a search works; empty when there is none."""
    why = Why.of(run)
    cards = [
        _layers_card(why.sensitive),
        _time_card(why.time, run.run.search),
        _trust_card(why.predicted_latency, why.rungs),
    ]
    return f'<div class="answers why">{"".join(cards)}</div>' if any(cards) else ""


def _limits_card(binding: Binding | None, misses: Sequence[MissReason], run: RunOn) -> str:
    if binding is None:
        return ""
    bars = _binding_bars(binding, _OBJECTIVES[binding.objective]) if binding.objective else ""
    listed = "".join(f"<li>{_marked(miss.text)}</li>" for miss in misses)
    heading = "Just outside the limits" if run.front else "The nearest misses"
    outside = f"<h4>{heading}</h4><ul class=plain>{listed}</ul>" if listed else ""
    return _card("What limits the result", f"<p>{_marked(binding.text)}</p>{bars}{outside}")


def _binding_bars(binding: Binding, objective: str) -> str:
    """The objective with the limit and without it, as shares of the original's."""
    rows = "".join(
        f'<li class="{kind}"><span>{label}</span>{_bar(share)}<b>{100 * share:.0f} %</b></li>'
        for kind, label, share in (
            ("chosen", "with it", binding.now),
            ("front", "without it", binding.without),
        )
    )
    whole = "the objective space" if binding.objective == "drop" else "the original's"
    return f'<p class="note">{objective}, share of {whole}</p><ul class="bars">{rows}</ul>'


def _layers_card(sensitive: SensitiveLayers | None) -> str:
    """Per kind of level the most sensitive slots; each kind has its own scale, or a removed block would
    flatten all the rest.
    """
    if sensitive is None:
        return ""
    columns = []
    for kind, title in KIND_TITLES.items():
        rows = [row for row in sensitive.ranked if row.kind == kind]
        if rows:
            most = rows[0].loss or 1.0
            bars = "".join(_layer_row(row, most) for row in rows[:SHOWN_SLOTS])
            more = f"<small> {SHOWN_SLOTS} of {len(rows)}</small>" if len(rows) > SHOWN_SLOTS else ""
            columns.append(f'<h4>{title}{more}</h4><ul class="bars sensitive">{bars}</ul>')
    note = (
        '<p class="note">KL divergence to the original model with this one change (~: estimated from other '
        "levels); bars compare within a kind</p>"
    )
    return _card("The most sensitive layers", f"<p>{escape(sensitive.text)}</p>{note}{''.join(columns)}")


def _layer_row(row: RankedSlot, most: float) -> str:
    name, words = escape(row.name), escape(row.words)
    loss = escape(kl_text(row.loss, measured=row.measured))
    return (
        f'<li title="{name} {words}"><span><code>{name}</code> <small>{words}</small></span>'
        f"{_bar(row.loss / most)}"
        f"<b>{loss}</b></li>"
    )


def _alike_card(groups: Sequence[Group], run: RunOn) -> str:
    """The latency intervals of each group's points on one axis, which is what makes them a group."""
    if not groups:
        return ""
    shown = sorted(groups, key=lambda group: -len(group.trials))[:SHOWN_GROUPS]
    parts = [f"<p>{escape(group.text)}</p>{_strips(group, run)}" for group in shown]
    rest = len(groups) - len(shown)
    more = (
        f'<p class="note">{rest} more such group{"s" if rest > 1 else ""}; the table marks every pair with '
        "≈.</p>"
        if rest
        else ""
    )
    note = '<p class="note">latency with its 95 % interval; intervals of a group all overlap</p>'
    return _card("Cannot be told apart", "".join(parts) + more + note)


def _strips(group: Group, run: RunOn) -> str:
    points = {point.trial: point for point in run.front}
    measured = [
        (point, point.latency)
        for point in (points[trial] for trial in group.trials[:SHOWN_MEMBERS])
        if isinstance(point.latency, Latency)
    ]
    start = min(latency.ratio_interval[0] for _, latency in measured)
    end = max(latency.ratio_interval[1] for _, latency in measured)
    width, formats, rows = (end - start) or 1.0, Formats.of(run), []
    for point, latency in measured:
        low, high = latency.ratio_interval
        place = f"left:{100 * (low - start) / width:.1f}%;width:{100 * (high - low) / width:.1f}%"
        middle = f"left:{100 * (latency.ratio - start) / width:.1f}%"
        numbers = f"{formats.size_of(point)}, {formats.drop_of(point)}"
        rows.append(
            f'<li><span>{escape(label_of(point, run))}</span><div class="strip"><i style="{place}"></i>'
            f'<s style="{middle}"></s></div><b>{escape(numbers)}</b></li>'
        )
    return f'<ul class="bars strips">{"".join(rows)}</ul>'


def _time_card(spent: TimeSpent | None, search: SearchFacts) -> str:
    """One stacked bar: blue is what improves or judges a candidate, grey what that needs."""
    if spent is None:
        return ""
    seconds, total = spent.seconds, spent.total_s
    names = [name for name in PRODUCTIVE if name in seconds]
    names += [name for name in seconds if name not in PRODUCTIVE]
    shades = dict(zip(names, _shades(names), strict=True))
    parts = "".join(
        f'<i class="{shades[name]}" style="width:{100 * seconds[name] / total:.2f}%" '
        f'title="{escape(name)}"></i>'
        for name in names
    )
    rows = "".join(
        f'<li><i class="swatch {shades[name]}"></i><span>{escape(name)}</span> '
        f"<b>{escape(format_duration(seconds[name]))}</b>"
        f"<small>{100 * seconds[name] / total:.0f} %</small></li>"
        for name in names
    )
    return _card(
        "Where the time went",
        f'<p>{escape(spent.text)}</p><div class="stack">{parts}</div><ul class="spent">{rows}</ul>'
        f"{_memory_line(search)}",
    )


def _memory_line(search: SearchFacts) -> str:
    """How much memory the search took; empty for a run of an earlier version."""
    if search.peak_memory_bytes is None:
        return ""
    limit = search.memory_limit_bytes
    of_limit = "" if limit is None else f" of at most {format_size(limit)}"
    return f"<p>{escape(f'It took {format_size(search.peak_memory_bytes)} of memory{of_limit}.')}</p>"


def _shades(names: Sequence[str]) -> list[str]:
    """A class per activity: the productive ones `work1`, `work2` …, the others `rest1` …, the rest of a long
    list alike.
    """
    works = sum(name in PRODUCTIVE for name in names)
    return [f"work{i + 1}" if i < works else f"rest{min(5, i - works + 1)}" for i in range(len(names))]


def _trust_card(predicted: PredictedLatencies | None, rungs: Sequence[RungCorrelation]) -> str:
    texts = [*([predicted.text] if predicted else []), *(rung.text for rung in rungs)]
    if not texts:
        return ""
    listed = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return _card("How good the predictions were", f"<ul class=plain>{listed}</ul>")


def _marked(text: str) -> str:
    """The text as HTML, its options as code, which the style sheet keeps on one line."""
    return _OPTION.sub(r"<code>\g<0></code>", escape(text))


def _bar(share: float) -> str:
    return f'<div class="bar"><i style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></i></div>'


def _card(title: str, content: str) -> str:
    """A card; `content` is HTML."""
    return f'<article class="card"><h3>{escape(title)}</h3>{content}</article>'
