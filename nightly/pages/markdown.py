"""summary.md: a night as Markdown, for the summary of a CI job."""

import re
from collections.abc import Iterator

from ...results.formats import ratio_text
from ...results.records.facts import MetricFacts
from ...text.printable import escape
from ..records.event import Event
from ..records.model_night import ModelNight, PolicyChange
from ..records.night import Night
from ..telling import drop_words

_ACTING = re.compile(r"([\\`*_{}\[\]()#+!|~:@])")
_MARKS = {"bad": "❌", "warning": "⚠️", "good": "✅", "note": "▫️"}


def night_markdown(night: Night) -> str:
    """The reason first, then a table of the models, then the events, the gravest first."""
    events = sorted(night.all_events, key=lambda event: list(_MARKS).index(event.severity))
    lines = [
        f"## autocompress nightly {markdown(night.name)}",
        "",
        f"**{markdown(night.reason)}**",
        "",
        "| model | night | policy | then | now | deployed |",
        "|---|---|---|---|---|---|",
        *(row for model in night.models for row in _rows(model)),
        "",
        *map(_event, events),
    ]
    return "\n".join(lines).rstrip() + "\n"


def markdown(text: object) -> str:
    """The text in one line of Markdown in which nothing acts: no markup, no HTML, no link, no mention."""
    return _ACTING.sub(r"\\\1", escape(text, quote=False))


def _rows(model: ModelNight) -> Iterator[str]:
    """A row for each policy; one for a model of which none is known."""
    deployed = model.deployment.version or "nothing yet" if model.deployment else ""
    changes = {change.policy: change for change in model.policies}
    names = list(dict.fromkeys([*(pick.policy for pick in model.picks), *changes]))
    for place, policy in enumerate(names or [""]):
        first = (model.name, model.state) if place == 0 else ("", "")
        cells = (*first, policy, *_then_and_now(model, policy, changes.get(policy)), deployed)
        deployed = ""
        yield f"| {' | '.join(map(markdown, cells))} |"


def _then_and_now(model: ModelNight, policy: str, change: PolicyChange | None) -> tuple[str, str]:
    pick = model.pick(policy)
    if change is None:
        return "", f"{ratio_text(pick.ratio)} latency, {ratio_text(pick.size_ratio)} size" if pick else ""
    verdict = "" if change.verdict in ("same", "unknown") else f", {change.verdict}"
    before, now = (change_value(change, value, model.metric) for value in (change.before, change.now))
    return before, f"{now}{verdict}"


def change_value(change: PolicyChange, value: float | None, metric: MetricFacts | None) -> str:
    """`0.31× latency`, `drop 0.42 pp`; `nothing` where the policy took none."""
    if value is None:
        return "nothing"
    if change.quantity == "drop":
        return f"drop {drop_words(value, metric)}"
    return f"{ratio_text(value)} {change.quantity}"


def _event(event: Event) -> str:
    return f"- {_MARKS[event.severity]} {markdown(event)}"
