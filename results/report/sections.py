"""The page below the charts: the front as a table, failures, the search space and the environment."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...profiles.units import format_duration, format_energy
from ...text.printable import escape
from ..formats import (
    MISSING,
    Formats,
    bits_text,
    count_text,
    is_noisy,
    is_not_faster,
    label_of,
    mark_of,
    meets_text,
    prediction_note,
    ratio_text,
    same_text,
    spread_of,
)
from ..records.facts import GroupFacts
from ..records.run import Run
from ..table import load_note, shown_points
from ..view import PointOn, RunOn
from ..words.energies import energy_of, energy_ratio, energy_unit
from .charts import quality_range

SHOWN_FAILURES = 200
NARROW_LABELS = {"times": "latency ratio", "times-size": "size ratio"}


def front_table(run: RunOn, *, chosen: PointOn) -> str:
    """The front with the original and uniform int8, the fastest first; a click on a row shows its layers."""
    formats, points = Formats.of(run), [run.on(point) for point in shown_points(run.run)]
    columns = {
        "quality": formats.metric_name,
        "test": "test",
        "drop": "drop",
        "latency": "latency",
        "times": "×",
    }
    columns |= {} if energy_unit(run) is None else {"energy": "energy"}
    columns |= {"size": "size", "times-size": "×", "macs": "MACs", "bits": "bits", "distilled": "distilled"}
    if all(point.quality.test is None for point in points):
        del columns["test"]
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in columns.values())
    body = "".join(_front_row(point, chosen=chosen, columns=columns) for point in points)
    load = f'<p class="lead">{escape(note)}</p>' if (note := load_note(run)) else ""
    missing = "" if run.front else "No point meets the limits; the nearest miss is shown. "
    return (
        f'<p class="lead">{missing}± is half of the 95 % interval; that of a drop is paired, because the '
        "original answers the same samples. Points marked ≈ have overlapping latency intervals: the "
        "measurements do not tell them apart.</p>"
        f'<div class="card scroll"><table class="front"><thead><tr><th>point</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{load}"
    )


def outside_note(run: RunOn) -> str:
    """Says how many measured points lie below the visible part of the charts; empty when none does."""
    formats, (bottom, _) = Formats.of(run), quality_range(run)
    sign = -1 if formats.lower_is_better else 1
    below = sum(
        sign * point.quality.validation / formats.quality_scale < sign * bottom for point in run.points
    )
    if not below:
        return ""
    points = "1 point lies" if below == 1 else f"{below} points lie"
    hint = "double-click a chart to see everything"
    return f'<p class="lead">{points} below the charts (a larger drop); {hint}.</p>'


def failures(run: Run) -> str:
    """How many candidates failed where, and each of them with its reason; a sentence when none did."""
    rows = run.failures
    if not rows:
        return '<section><h2>Failures</h2><p class="lead">No candidate failed.</p></section>'
    counts = Counter(f"{row.stage}: {row.kind}" for row in rows)
    chips = "".join(f"<li>{escape(name)} <b>{count}</b></li>" for name, count in counts.most_common())
    body = "".join(
        f"<tr>{_cell('trial', str(row.trial))}{_cell('stage', row.stage)}{_cell('kind', row.kind)}"
        f"{_cell('what happened', row.message + (' Tried again.' if row.retryable else ''))}</tr>"
        for row in rows[:SHOWN_FAILURES]
    )
    more = len(rows) - SHOWN_FAILURES
    rest = f'<p class="lead">{more} more are in the run\'s log.</p>' if more > 0 else ""
    return (
        f'<section><h2>Failures</h2><ul class="chips">{chips}</ul><div class="card scroll">'
        '<table class="failures">'
        f"<thead><tr><th>trial</th><th>stage</th><th>kind</th><th>what happened</th></tr></thead>"
        f"<tbody>{body}</tbody>"
        f"</table></div>{rest}</section>"
    )


def search_space(run: Run) -> str:
    """The channel groups with their levels, and what was left out and why."""
    groups = "".join(
        f"<tr>{_cell('group', group.name, code=True)}{_cell('channels', _levels(group))}"
        f"{_cell('layers', ', '.join(group.layers), code=True)}</tr>"
        for group in run.facts.groups
    )
    excluded = "".join(
        f"<li><code>{escape(exclusion.name)}</code> {escape(exclusion.reason)}</li>"
        for exclusion in run.facts.excluded
    )
    left_out = f'<h3>Left as they are</h3><ul class="plain">{excluded}</ul>' if excluded else ""
    return (
        f"<section><h2>Search space</h2><details class=card><summary>{len(run.facts.groups)} channel groups, "
        f"{len(run.facts.layers)} layers</summary><table class=space><thead><tr><th>group</th>"
        "<th>channels</th>"
        f"<th>layers</th></tr></thead><tbody>{groups}</tbody></table>{left_out}</details></section>"
    )


def environment(run: RunOn) -> str:
    """Where it was measured and the command that repeats it."""
    facts = {
        **(run.target.environment.to_json() if run.target.environment else {}),
        "profile": run.target.profile_fingerprint,
        "meaning of the outputs": "; ".join(run.task.outputs) or "unknown",
        "task digest": run.task.digest,
    }
    rows = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_plain(value))}</dd></div>"
        for name, value in facts.items()
    )
    title = "Predicted by" if prediction_note(run) else "Measured on"
    return (
        f'<section><h2>{title}</h2><div class="card"><dl class="facts">{rows}</dl>'
        f"<h3>The same search again</h3><pre>{escape(run.run.facts.command)}</pre></div></section>"
    )


def _front_row(point: PointOn, *, chosen: PointOn, columns: Mapping[str, str]) -> str:
    cells = "".join(
        f'<td class="number {kind}" data-label="{escape(NARROW_LABELS.get(kind, columns[kind]))}">{cell}</td>'
        for kind, cell in _front_cells(point).items()
        if kind in columns
    )
    star = "<b>★</b> " if point.trial == chosen.trial else ""
    others = same_text(point)
    same = f'<i title="intervals overlap">≈ {others}</i>' if others else ""
    title = "it computes less, but its latency is not clearly lower"
    slow = f'<em title="{title}">not faster</em> ' if is_not_faster(point) else ""
    label = escape(label_of(point, point.view))
    name = f'<th scope="row"><button type="button">{star}{label}</button>{same} {slow}</th>'
    return f'<tr data-trial="{point.trial}">{name}{cells}</tr>'


def _front_cells(point: PointOn) -> dict[str, str]:
    """The HTML of each cell by column."""
    formats, quality, latency = Formats.of(point.view), point.quality, point.latency
    noisy = '<em title="the interval stayed wider than ±1 %">noisy</em> ' if is_noisy(latency) else ""
    return {
        "quality": _spread(
            formats.quality(quality.validation), formats.quality_spread(point.quality_interval)
        ),
        "test": _spread(formats.quality(quality.test), formats.test_spread(quality)),
        "drop": _spread(formats.drop_of(point), meets_text(point)),
        "latency": noisy + escape(formats.seconds_of(point)),
        "times": _spread_ratio(point),
        "energy": _energy(point),
        "size": escape(formats.size_of(point)),
        "times-size": _ratio(point.size_ratio),
        "macs": escape(count_text(point.artifact.macs)),
        "bits": bits_text(point),
        "distilled": _distilled(point),
    }


def _energy(point: PointOn) -> str:
    energy = energy_of(point)
    if energy is None:
        return MISSING
    ratio = energy_ratio(energy, original=point.trial == point.view.baseline.trial)
    return _spread(format_energy(energy.energy_j), ratio)


def _distilled(point: PointOn) -> str:
    if point.finetuned:
        return format_duration(point.finetuned.seconds)
    return f"{point.recipe.recovery.steps} steps" if point.recipe.recovery else MISSING


def _spread(value: str, spread: str) -> str:
    return f"{escape(value)} <small>{escape(spread)}</small>" if spread else escape(value)


def _spread_ratio(point: PointOn) -> str:
    """The ratio of latencies; that of the original has no spread."""
    bar = _ratio(point.latency.ratio, mark=mark_of(point.latency))
    spread = "" if point.trial == point.view.baseline.trial else spread_of(point.latency)
    return f"{bar} <small>{escape(spread)}</small>" if spread else bar


def _ratio(value: float, *, mark: str = "") -> str:
    return f'<span class="ratio" style="--share:{min(1.0, value):.3f}">{mark}{ratio_text(value)}</span>'


def _cell(label: str, text: str, *, code: bool = False) -> str:
    shown = f"<code>{escape(text)}</code>" if code else escape(text)
    return f'<td data-label="{escape(label)}">{shown}</td>'


def _levels(group: GroupFacts) -> str:
    levels = [str(level) for level in group.levels]
    return " ".join(levels if len(levels) <= 9 else [*levels[:4], "…", *levels[-4:]])


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return MISSING if value is None else json.dumps(value)
