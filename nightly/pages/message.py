"""What somebody is told of a night, and whether at all."""

from dataclasses import dataclass
from typing import Literal

from ...text.printable import printable
from ..config import Told
from ..records.event import Event, reasons
from ..records.night import Night

_SEVERITIES = ("bad", "warning", "good", "note")
_QUIET = frozenset({"kept", "continued"})  # of every night
LONGEST_BODY = 3_000  # characters; most services take 4,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of one night; `grave`: something got worse."""

    title: str
    body: str
    grave: bool

    @property
    def level(self) -> Literal["failure", "info"]:
        """How services show it."""
        return "failure" if self.grave else "info"


def message_of(night: Night, when: Told) -> Message | None:
    """The message; None where `when` says that nobody wants to know: `worse` is told what is bad, `changed`
    also what is better, deployed, or another than before, `always` every night.
    """
    events = sorted(night.all_events, key=lambda event: _SEVERITIES.index(event.severity))
    bad = [event for event in events if event.severity == "bad"]
    if not bad and (when == "worse" or (when == "changed" and not any(map(_changed, events)))):
        return None
    lines = [printable(event) for event in events] or [reasons(events)]
    body = "\n".join(lines)
    if len(body) > LONGEST_BODY:
        body = f"{body[:LONGEST_BODY]}…\nThe rest is in index.html."
    return Message(title=f"{printable(_title(bad))} ({printable(night.name)})", body=body, grave=bool(bad))


def _changed(event: Event) -> bool:
    return event.kind not in _QUIET


def _title(bad: list[Event]) -> str:
    if not bad:
        return "autocompress: nothing got worse"
    models = ", ".join(dict.fromkeys(event.model for event in bad if event.model)) or "the night"
    worse = any(event.kind == "regression" for event in bad)
    return f"autocompress: {models} got worse" if worse else f"autocompress: look at {models}"
