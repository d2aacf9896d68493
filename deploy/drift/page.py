"""Drift as a page: the verdict, what was read, every comparison, and the channels that moved most as charts.

One file without a script or a network, in the style of the report.
"""

from collections.abc import Sequence
from pathlib import Path

from ...files import write_text
from ...results.records.statistics import SampleStatistics
from ...results.report.resources import still_page
from ...text.printable import escape
from ...text.svg import svg_text
from .distances import shares_of
from .judge import KS, PSI, Comparison, Drift
from .words import latency_lines, name_of, read_lines, verdict

MOST_CHARTS = 6
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 470, 170, 44, 24, 10
_KINDS = {"input": "input", "output": "answer", "class": "classes"}
_STYLE = ".drift svg { display: block; max-width: 100%; } .drift > h3 { margin: 18px 0 8px; }"


def write_drift(drift: Drift, path: Path) -> None:
    """Writes the page of `drift --html` to `path`, atomically."""
    write_text(path, drift_page(drift))


def drift_page(drift: Drift) -> str:
    """The page as HTML."""
    name = escape(drift.manifest.name)
    kind = "worse" if drift.broken else "fine"
    lines = [*read_lines(drift), *latency_lines(drift.latency)]
    items = "".join(f"<li>{escape(' '.join(line.split()))}</li>" for line in lines)
    body = (
        f'<header><p class="brand">autocompress</p><h1>{name} in use</h1></header>'
        '<section class="comparison drift"><h2>Claims</h2>'
        f'<p class="verdict {kind}">{escape(verdict(drift))}</p><ul class="plain">{items}</ul></section>'
        f'<section class="comparison drift"><h2>Inputs and answers</h2>{_distributions(drift)}</section>'
    )
    return still_page(f"{name} in use", body, style=_STYLE)


def _distributions(drift: Drift) -> str:
    if drift.not_compared:
        return f'<p class="lead">Not compared: {escape(drift.not_compared)}.</p>'
    ordered = sorted(drift.comparisons, key=lambda one: (not (one.moved or one.exceeds), -one.psi))
    lead = (
        f"Moved: PSI from {PSI:g} or KS from {KS:g}, and more than chance. KS of classes is the share in "
        "other classes."
    )
    legend = (
        '<ul class="legend"><li><i class="swatch float32"></i>calibration</li>'
        '<li><i class="swatch int8"></i>in use</li></ul>'
    )
    charts = "".join(_figure(drift, one) for one in ordered[:MOST_CHARTS])
    return (
        f'<p class="lead">{escape(lead)}</p>{legend}<div class="grid">{charts}</div>'
        f"<h3>All comparisons</h3>{_table(ordered)}"
    )


def _table(comparisons: Sequence[Comparison]) -> str:
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("what", "of", "PSI", "KS", "beyond", "verdict")
    )
    rows = "".join(_row(one) for one in comparisons)
    return (
        '<div class="card scroll" tabindex="0" role="region" aria-label="All comparisons">'
        f'<table class="compared"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(one: Comparison) -> str:
    beyond = "" if one.beyond is None else f"{one.beyond:.1%}"
    words = " and ".join(["moved"] * one.moved + ["beyond calibration"] * one.exceeds) or "as in calibration"
    cells = {"of": _KINDS[one.kind], "PSI": f"{one.psi:.2g}", "KS": f"{one.ks:.2g}", "beyond": beyond}
    return (
        f'<tr><th scope="row">{escape(name_of(one))}</th>'
        + "".join(f'<td data-label="{name}">{text}</td>' for name, text in cells.items())
        + f'<td data-label="verdict">{words}</td></tr>'
    )


def _figure(drift: Drift, one: Comparison) -> str:
    """The shares of a comparison then and now, bin by bin, as bars."""
    calibrated, used = _shares(drift, one)
    words = f"{name_of(one)}: shares in calibration and in use, {len(used)} bins"
    top = max(*calibrated, *used) or 1.0
    width = (_WIDTH - _LEFT - 8) / len(used)
    bars = []
    for place, pair in enumerate(zip(calibrated, used, strict=True)):
        for side, share in enumerate(pair):
            height = share / top * (_HEIGHT - _BOTTOM - _TOP)
            x, y = _LEFT + place * width + side * width * 0.42, _HEIGHT - _BOTTOM - height
            color = ("var(--float32)", "var(--int8)")[side]
            bars.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width * 0.42:.1f}" height="{height:.1f}" '
                f'fill="{color}"/>'
            )
    axis = "classes" if one.kind == "class" else "values, from small to large"
    labels = svg_text(_LEFT - 6, _TOP + 10, f"{top:.0%}", anchor="end") + svg_text(
        (_LEFT + _WIDTH) / 2, _HEIGHT - 6, axis
    )
    chart = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="{escape(words)}" '
        f'font-size="12" font-family="inherit">{"".join(bars)}{labels}</svg>'
    )
    title = f"{_KINDS[one.kind]} {name_of(one)}: PSI {one.psi:.2g}"
    return f'<figure class="card"><figcaption><h3>{escape(title)}</h3></figcaption>{chart}</figure>'


def _shares(drift: Drift, one: Comparison) -> tuple[list[float], list[float]]:
    """Of each bin, in calibration and in use."""
    statistics, seen = drift.manifest.statistics, drift.observed
    assert isinstance(statistics, SampleStatistics)
    tensors = statistics.inputs if one.kind == "input" else statistics.outputs
    tensor = next(tensor for tensor in tensors if tensor.name == one.name)
    if one.kind == "class":
        return list(tensor.top or ()), shares_of(seen.top[one.name]).tolist()
    counts = (seen.inputs if one.kind == "input" else seen.outputs)[one.name]
    channel = one.channel or 0
    return list(tensor.channels[channel].shares), shares_of(counts[channel]).tolist()
