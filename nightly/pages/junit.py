"""junit.xml: a night as test results, as CI systems read them: a suite for each model, a case a question.

The cases are the same from night to night, so that a CI system shows their history: whether the search ended,
whether each target could be used, and whether anything regressed on it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ...text.printable import printable
from ..records.event import Event
from ..records.model_night import ModelNight
from ..records.night import Night

_COUNTS = ("tests", "failures", "errors", "skipped")
_NO_XML = re.compile(r"[\ufffe\uffff]")  # what XML 1.0 cannot hold, besides what `printable` has escaped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A question, the events that answer it, and the seconds of its steps. `skipped` says why it was not
    asked.
    """

    name: str
    events: Sequence[Event]
    seconds: float = 0.0
    skipped: str = ""


def junit_xml(night: Night) -> str:
    """The night as JUnit XML."""
    root = Element("testsuites", name=f"autocompress nightly {_text(night.name)}")
    if any(event.severity == "bad" for event in night.events):
        _suite(root, "night", night.began_at, [_Case(name="night", events=night.events)])
    for model in night.models:
        _suite(root, model.name, night.began_at, _cases(model))
    suites = root.findall("testsuite")
    for count in _COUNTS:
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _cases(model: ModelNight) -> list[_Case]:
    """The same questions every night; those that the night did not get to are skipped."""
    events, skipped = model.events, _skipped(model)
    targets = dict.fromkeys(
        [*model.environments, *(check.target for check in model.checks), *(one.target for one in events)]
    )
    seconds = {step.name: step.seconds for step in model.steps}
    search = seconds.pop("search", 0.0)
    asked = [event for event in events if event.kind in ("search-failed", "nothing-meets")]
    cases = [_Case(name="search", events=asked, seconds=search, skipped=skipped)]
    for target in filter(None, targets):
        away = [one for one in events if one.target == target and one.kind == "target-away"]
        worse = [one for one in events if one.target == target and one.kind == "regression"]
        unseen = skipped or (f"{target} could not be used" if away else "")
        cases.append(_Case(name=f"{target} can be used", events=away, skipped=skipped))
        cases.append(_Case(name=f"no regression on {target}", events=worse, skipped=unseen))
    rest = [one for one in events if not one.target and one.kind in ("regression", "target-away")]
    unseen = skipped or ("" if model.state == "done" else f"the model's night is {model.state}")
    cases.append(
        _Case(name="no regression", events=rest, seconds=sum(seconds.values()), skipped=unseen),
    )
    return cases


def _skipped(model: ModelNight) -> str:
    """Why nothing of the model was looked at; empty where it was."""
    return "" if model.state in ("done", "failed", "away") else f"the model's night is {model.state}"


def _suite(root: Element, name: str, began_at: str, cases: Sequence[_Case]) -> None:
    suite = SubElement(root, "testsuite", name=_text(name), timestamp=_text(began_at))
    counts = dict.fromkeys(_COUNTS, 0)
    for asked in cases:
        place = {"classname": f"autocompress.nightly.{_text(name)}", "name": _text(asked.name)}
        case = SubElement(suite, "testcase", place, time=f"{asked.seconds:.3f}")
        counts["tests"] += 1
        bad = [event for event in asked.events if event.severity == "bad"]
        if bad:
            counts[_failed(case, bad)] += 1
        elif asked.skipped:
            SubElement(case, "skipped", message=_text(asked.skipped))
            counts["skipped"] += 1
        others = [str(event) for event in asked.events if event.severity != "bad"]
        if others:
            SubElement(case, "system-out").text = "\n".join(map(_text, others))
    for count, number in counts.items():
        suite.set(count, str(number))


def _failed(case: Element, events: Sequence[Event]) -> str:
    """Marks the case as failed by a regression, or else as ended by an error."""
    regression = any(event.kind == "regression" for event in events)
    lines = [_text(event) for event in events]
    what = "failure" if regression else "error"
    SubElement(case, what, message=lines[0], type=events[0].kind).text = "\n".join(lines)
    return "failures" if regression else "errors"


def _text(value: object) -> str:
    return _NO_XML.sub("?", printable(value))
