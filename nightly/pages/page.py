"""index.html: last night's events first, then each model with its trends, then all nights. No script."""

from collections.abc import Iterable, Sequence
from importlib.resources import files as package_files

from ...results.formats import ratio_text, relative_spread
from ...results.report.resources import filled, still_page
from ...text.printable import escape
from ..records.event import Event, exit_code
from ..records.model_night import ModelNight
from ..records.night import Night
from ..telling import drop_words, quality_words
from .chart import legend, title_of, trend_chart
from .markdown import change_value
from .trends import QUANTITIES, Trend, model_names, trend_of

SHOWN_NIGHTS = 90  # in the charts and the table
_SEVERITIES = ("bad", "warning", "good", "note")
_MOST_CHANGES = 20  # of the environment, the last ones


def nights_page(nights: Sequence[Night]) -> str:
    """The page as HTML; `nights` are in the order of time, at least one."""
    shown, last = nights[-SHOWN_NIGHTS:], nights[-1]
    slots = {
        "name": escape(last.name),
        "status": last.status,
        "kind": "bad" if exit_code(last.all_events) else "fine",
        "reason": escape(last.reason),
        "events": _events(last.all_events),
        "models": "".join(_model(shown, name) for name in model_names(shown)),
        "nights": _nights(shown),
    }
    body = filled(_text("index.html"), slots)
    return still_page(f"Night {escape(last.name)}", body, style=_text("nights.css"))


def _events(events: Iterable[Event]) -> str:
    """The gravest first; a sentence when there is none."""
    ordered = sorted(events, key=lambda event: _SEVERITIES.index(event.severity))
    if not ordered:
        return '<p class="lead">Nothing happened that anybody needs to know.</p>'
    entries = "".join(
        f'<li class="{event.severity}"><b>{escape(event.kind)}</b>{escape(event)}</li>' for event in ordered
    )
    return f'<ul class="events">{entries}</ul>'


def _model(nights: Sequence[Night], name: str) -> str:
    """A model: what the last night says of it, its charts, and when its environment changed."""
    model, trend = nights[-1].model(name), trend_of(nights, name)
    today = '<p class="lead">It was not part of the last night.</p>' if model is None else _today(model)
    return (
        f'<section class="model"><h2>{escape(name)}</h2>{today}'
        f'<div class="grid">{_charts(trend)}</div>{_changes(trend)}</section>'
    )


def _today(model: ModelNight) -> str:
    lines = [f"State: {model.state}."]
    if model.reference:
        lines.append(f"Compared with {model.reference}.")
    if model.deployment:
        lines.append(f"Deployed: {model.deployment.version or 'nothing yet'}. {model.deployment.reason}")
    return f'<p class="lead">{escape(" ".join(lines))}</p>{_policies(model)}{_checks(model)}'


def _policies(model: ModelNight) -> str:
    """What each policy picks, on each target, and how that compares with the reference night."""
    changes = {change.policy: change for change in model.policies}
    rows = []
    for pick in model.picks:
        change = changes.get(pick.policy)
        verdict = (
            ""
            if change is None
            else f"{change_value(change, change.before, model.metric)}, now {change.verdict}"
        )
        for target, there in pick.targets.items():
            spread = relative_spread(there.ratio_interval) if there.ratio_interval else "predicted"
            cells = {
                "target": target,
                "pick": pick.label,
                "quality": quality_words(there.quality, model.metric),
                "drop": drop_words(there.drop, model.metric),
                "latency": f"{ratio_text(there.ratio)} {spread}",
                "size": ratio_text(there.size_ratio),
                "before": verdict,
            }
            rows.append(_row(pick.policy, cells))
    return _table("policy", ("target", "pick", "quality", "drop", "latency", "size", "before"), rows)


def _checks(model: ModelNight) -> str:
    """The deployed bundle, measured again on each target."""
    rows = []
    for check in model.checks:
        latency = ratio_text(check.ratio) if check.ratio is not None else check.not_compared or "not measured"
        quality = check.quality_not_verified or ""
        if check.quality is not None:
            quality = quality_words(check.quality, model.metric)
        stated = ratio_text(check.stated_ratio) if check.stated_ratio is not None else ""
        cells = {
            "target": check.target,
            "latency": latency,
            "stated": stated,
            "quality": quality,
            "looks": check.failure or "; ".join(check.regressed) or "as stated",
        }
        rows.append(_row(check.version, cells))
    return _table("deployed bundle", ("target", "latency", "stated", "quality", "looks"), rows)


def _charts(trend: Trend) -> str:
    return "".join(
        f'<figure class="card"><figcaption><h3>{title_of(quantity)}</h3></figcaption>'
        f"{legend(trend.of(quantity))}{chart}</figure>"
        for quantity in QUANTITIES
        if (chart := trend_chart(trend, quantity))
    )


def _changes(trend: Trend) -> str:
    """The nights in which the environment changed, the last one first: what the marks in the charts mean."""
    if not trend.changed:
        return ""
    entries = "".join(
        f"<li>{escape(trend.nights[one.night])}: {escape(', '.join(one.what))}</li>"
        for one in list(reversed(trend.changed))[:_MOST_CHANGES]
    )
    return f'<h3>▼ What changed around it</h3><ul class="changes">{entries}</ul>'


def _nights(nights: Sequence[Night]) -> str:
    rows = []
    for night in reversed(nights):
        states = ", ".join(f"{model.name} {model.state}" for model in night.models)
        result = night.reason
        rows.append(_row(night.name, {"status": night.status, "models": states, "result": result}))
    return _table("night", ("status", "models", "result"), rows)


def _row(name: str, cells: dict[str, str]) -> str:
    body = "".join(f'<td data-label="{escape(label)}">{escape(text)}</td>' for label, text in cells.items())
    return f'<tr><th scope="row">{escape(name)}</th>{body}</tr>'


def _table(first: str, names: Sequence[str], rows: Sequence[str]) -> str:
    """The table of these rows; empty without any."""
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in (first, *names))
    return (
        f'<div class="card scroll" tabindex="0" role="region" aria-label="{escape(first)}">'
        f'<table class="compared"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _text(name: str) -> str:
    return (package_files(__package__) / name).read_text(encoding="utf-8")
