"""Event: one thing that a person should know of a night, and what it means for the exit code."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...results.records.reading import Fields
from ...text.secrets import without_secrets

Kind = Literal[
    "regression",  # something is worse, twice in a row beyond its tolerance
    "improved",  # something is better beyond its tolerance
    "found-less",  # the search found less than in the reference night; what is deployed is not affected
    "environment",  # the machine, its software or the task is another than in the reference night
    "canary",  # what the next version of a runtime does to the deployed artifact
    "target-away",  # a target could not be used, or was too restless to measure on
    "search-failed",  # a command of the night ended with an error; its message is in the sentence
    "nothing-meets",  # no measured point meets the search's limits or a policy's
    "deployed",  # a new bundle was deployed
    "kept",  # the deployed bundle stays, and why
    "not-checked",  # something could not be looked at, such as quality without a task
    "window",  # the time was over before this model's turn or its end
    "continued",  # the night was interrupted and went on
]
Severity = Literal["bad", "warning", "good", "note"]

DONE, UNAVAILABLE, REGRESSED = 0, 3, 4  # exit codes, as the command line has them
FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`kind` is for programs, `sentence` for people: one or two sentences with the numbers and no newline.

    `severity`: `bad` is what somebody is called for (regression, target away, failed search), `warning` what
    somebody should look at by day, `good` an improvement, `note` the rest. `model` is the name in
    nightly.toml, empty for the night as a whole; `target` empty where it is of no single one. `cause` is the
    likely cause in words, None where nothing is known. `at` is when it was noticed (ISO 8601, UTC).
    """

    kind: Kind
    severity: Severity
    sentence: str
    at: str
    model: str = ""
    target: str = ""
    cause: str | None = None

    def __post_init__(self) -> None:
        # the messages of commands may repeat what they were given
        object.__setattr__(self, "sentence", without_secrets(" ".join(self.sentence.split())))
        if not self.sentence:
            raise ValueError("an event must have a sentence.")

    def __str__(self) -> str:
        """`digits on cpu: …. Likely cause: ….`"""
        where = " on ".join(filter(None, (self.model, self.target)))
        cause = f" Likely cause: {self.cause}." if self.cause else ""
        return f"{where}: {self.sentence}{cause}" if where else f"{self.sentence}{cause}"

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "Event":
        """The event that `to_json` described."""
        return fields.record(
            lambda: cls(
                kind=fields.choice("kind", get_args(Kind)),
                severity=fields.choice("severity", get_args(Severity)),
                sentence=fields.text("sentence"),
                at=fields.text("at"),
                model=fields.text("model"),
                target=fields.text("target"),
                cause=fields.maybe("cause", fields.text),
            )
        )


def exit_code(events: Iterable[Event]) -> int:
    """4 when something got worse, else 3 when a target could not be used, else 1 when a search failed, else
    0.
    """
    bad = {event.kind for event in events if event.severity == "bad"}
    if "regression" in bad:
        return REGRESSED
    if "target-away" in bad:
        return UNAVAILABLE
    return FAILED if bad else DONE


def reasons(events: Iterable[Event]) -> str:
    """The first line of what a night prints: the bad events, the regressions first; else that nothing is
    worse.
    """
    order = ("regression", "target-away", "search-failed")
    bad = [event for event in events if event.severity == "bad"]
    bad.sort(key=lambda event: order.index(event.kind) if event.kind in order else len(order))
    return " ".join(str(event) for event in bad) or "Nothing got worse."
