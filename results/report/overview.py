"""The top of the page: what was searched, and the chosen point beside the original and uniform int8."""

from dataclasses import dataclass

from ...profiles.units import format_duration, format_energy
from ...text.printable import escape
from ..formats import (
    Formats,
    grouped_warnings,
    is_noisy,
    label_of,
    load_sentence,
    prediction_note,
    ratio_of,
    ratio_text,
)
from ..pick import limits_text
from ..records.latency import Predicted
from ..records.run import Run
from ..view import PointOn, RunOn
from ..words.energies import energy_note, energy_of, energy_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a card: whose value, the value in words, and its length as a share of the card's width."""

    kind: str
    label: str
    value: str
    share: float


def header(run: RunOn) -> str:
    """Title, status and the facts that identify the search."""
    task, target, environment, whole = run.task, run.target, run.target.environment, run.run
    arguments = "".join(f" {name}={value}" for name, value in task.arguments.items())
    threads = f"{target.threads} thread{'s' if target.threads != 1 else ''}"
    version = environment.runtime_version if environment else ""
    finished = sum(point.finetuned is None for point in whole.points)
    kind = "predicted" if prediction_note(run) else "measured"
    facts = {
        "Task": f"{task.spec}{arguments}",
        "Target": f"{target.name}: {target.runtime} {version}, {threads}, {target.inference}",
        "Processor": environment.cpu_model if environment else "unknown",
        "Limits": limits_text(whole, whole.limits),
        "Models tried": f"{finished} {kind}, {_left(whole)}",
        "Time": format_duration(whole.elapsed_s),
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    status = escape(whole.status)
    return (
        f'<header><p class="brand">autocompress report</p><div class="title"><h1>{escape(task.name)}'
        f" <span>on {escape(target.name)}</span></h1>"
        f'<span class="status {status}">{status}</span></div>'
        f'<dl class="facts">{rows}</dl>{_predicted(run)}</header>'
    )


def _left(run: Run) -> str:
    """How many candidates are no points, by the reason."""
    stopped = f"{len(run.stopped)} stopped in validation ({run.saved_samples:.0%} of it saved), "
    return f"{stopped if run.stopped else ''}{len(run.failures)} failed, {run.screened} ruled out"


def _predicted(run: RunOn) -> str:
    """The warning of a target whose latencies are predicted."""
    note = prediction_note(run)
    return f'<ul class="warnings predicted"><li>{escape(note)}</li></ul>' if note else ""


def chosen_point(run: RunOn, chosen: PointOn, *, reason: str) -> str:
    """Three cards (latency, size, quality), and one of energy where a sensor counted it: the chosen point
    beside the original and uniform int8.
    """
    rows = [("original", run.baseline)]
    if run.uniform_int8:
        rows.append(("uniform", run.uniform_int8))
    if all(chosen.trial != point.trial for _, point in rows):
        rows.append(("chosen", chosen))
    cards = _latency_card(run, chosen, rows) + _size_card(run, chosen, rows)
    cards += _quality_card(run, chosen, rows) + _energy_card(run, chosen, rows)
    warnings = grouped_warnings(chosen)
    if is_noisy(chosen.latency):
        load = load_sentence(chosen.latency)
        warnings.insert(0, "its latency is noisy: " + (load or "the interval stayed wider than ±1 %"))
    listed = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return (
        f'<section class="chosen" aria-label="Chosen point"><div class="title"><h2><b>★</b> '
        f"{escape(label_of(chosen, run).capitalize())}</h2><p>{escape(reason)}</p></div>"
        f'<div class="cards">{cards}</div>'
        + (f'<ul class="warnings">{listed}</ul>' if listed else "")
        + "</section>"
    )


def _latency_card(run: RunOn, chosen: PointOn, rows: list[tuple[str, PointOn]]) -> str:
    formats = Formats.of(run)
    longest = max(point.latency.seconds for _, point in rows)
    bars = [
        Bar(
            kind=kind,
            label=_name(kind, point, run),
            value=formats.seconds_of(point),
            share=point.latency.seconds / longest,
        )
        for kind, point in rows
    ]
    if isinstance(chosen.latency, Predicted):
        return _card(
            "Latency, predicted",
            ratio_of(chosen),
            f"{formats.seconds_of(chosen)}, not measured",
            bars,
        )
    p99 = formats.latency(chosen.latency.p99_s)
    note = f"{formats.seconds_of(chosen)}; 99 of 100 within {p99}, load of the machine included"
    return _card("Latency", ratio_of(chosen), note, bars)


def _size_card(run: RunOn, chosen: PointOn, rows: list[tuple[str, PointOn]]) -> str:
    largest = max(point.size_ratio for _, point in rows)
    bars = [
        Bar(
            kind=kind,
            label=_name(kind, point, run),
            value=Formats.of(run).size_of(point),
            share=point.size_ratio / largest,
        )
        for kind, point in rows
    ]
    return _card(
        "Size of the file",
        ratio_text(chosen.size_ratio),
        f"{Formats.of(run).size_of(chosen)}, exact",
        bars,
    )


def _energy_card(run: RunOn, chosen: PointOn, rows: list[tuple[str, PointOn]]) -> str:
    energy = energy_of(chosen)
    counted = [(kind, point, there) for kind, point in rows if (there := energy_of(point)) is not None]
    if energy is None:
        return ""
    largest = max(there.energy_j for _, _, there in counted)
    bars = [
        Bar(
            kind=kind,
            label=_name(kind, point, run),
            value=format_energy(there.energy_j),
            share=there.energy_j / largest,
        )
        for kind, point, there in counted
    ]
    figure = energy_ratio(energy, original=chosen.trial == run.baseline.trial)
    return _card(
        "Energy of an inference", figure, f"{format_energy(energy.energy_j)}. {energy_note(run)}", bars
    )


def _quality_card(run: RunOn, chosen: PointOn, rows: list[tuple[str, PointOn]]) -> str:
    """Bars show the drop, not the metric: from a metric's zero all bars would look alike."""
    formats, limit = Formats.of(run), run.limits.drop
    longest = 1.05 * max(limit or 0.0, *(point.drop for _, point in rows)) or 1.0
    bars = [
        Bar(
            kind=kind,
            label=_name(kind, point, run),
            value=formats.quality(point.quality.validation),
            share=max(0.0, point.drop / longest),
        )
        for kind, point in rows
    ]
    quality = chosen.quality
    note = f"{formats.quality(quality.validation)} on validation"
    if chosen.drop_interval is None:
        note = f"{formats.quality_of(chosen)} on validation"
    if quality.test is not None:
        note += f"; {formats.quality(quality.test)} {formats.test_spread(quality)} on test"
    tick = limit / longest if limit is not None else None
    return _card(f"Drop of {formats.metric_name}", formats.drop_of(chosen), note, bars, tick=tick)


def _card(title: str, figure: str, note: str, bars: list[Bar], *, tick: float | None = None) -> str:
    number, sign, spread = figure.partition(" ±")
    shown = escape(number) + (f" <small>{sign.strip()}{escape(spread)}</small>" if sign else "")
    mark = f'<s style="left:{100 * tick:.1f}%" title="limit"></s>' if tick is not None else ""
    rows = "".join(
        f'<li class="{bar.kind}"><span>{escape(bar.label)}</span>'
        f'<div class="bar"><i style="width:{100 * bar.share:.1f}%"></i>{mark}</div>'
        f"<b>{escape(bar.value)}</b></li>"
        for bar in bars
    )
    return (
        f'<article class="card"><h3>{escape(title)}</h3><p class="figure">{shown}</p>'
        f'<p class="note">{escape(note)}</p><ul class="bars">{rows}</ul></article>'
    )


def _name(kind: str, point: PointOn, run: RunOn) -> str:
    return "this point" if kind == "chosen" else label_of(point, run)
