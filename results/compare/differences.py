"""What two sides do not have in common besides their points: original, data, metric, environment, target.

The one list of such differences: comparisons name them, and a night takes them for likely causes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..records.facts import RunTarget
from ..view import RunOn
from .side import UNKNOWN_DIGEST

Kind = Literal["task", "metric", "data", "original", "target", "option", "environment"]
Identities = tuple[Mapping[str, str], Mapping[str, str]]
_ENVIRONMENT = {
    "cpu_model": "processor",
    "flags": "instruction sets",
    "governor": "clock governor",
    "threads": "threads",
    "cores": "cores",
    "runtime": "runtime",
    "runtime_version": "runtime version",
    "python_version": "Python",
    "os": "system",
    "device": "device",
    "machine": "machine",
    "power_mode": "power mode",
    "emulated": "emulated",
}
NOT_SET = "not set"
_SHOWN_DIGITS = 12  # of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that was otherwise then than now: what, and both values in words. `what` of an option of the
    runtime is its name.
    """

    kind: Kind
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        """`runtime version: 1.30.0, now 1.31.1`."""
        of = "runtime option " if self.kind == "option" else ""
        return f"{of}{self.what}: {self.old}, now {self.new}"


def differences(old: RunOn, new: RunOn, identities: Identities = ({}, {})) -> tuple[Difference, ...]:
    """Everything that makes more than the points differ. While there is none, seconds, bytes and the metric
    itself compare as well; otherwise only ratios to each one's own original do.

    `identities` are those of both run.toml, empty where one is not known: they tell a model that was trained
    anew from one that was exported otherwise.
    """
    known = all("model" in identity for identity in identities)
    return (
        *(_of_identities(old, new, identities) if known else _of_task(old, new)),
        *_of_target(old.target, new.target),
        *_of_environment(old.target, new.target),
    )


def same_metric(old: RunOn, new: RunOn) -> bool:
    """Whether drops mean the same on both sides."""
    return old.task.metric == new.task.metric


def same_data(old: RunOn, new: RunOn) -> bool:
    """Whether both were scored on the same samples by the same metric, against the same original."""
    return old.task.digest == new.task.digest


def _of_identities(old: RunOn, new: RunOn, identities: Identities) -> Iterator[Difference]:
    """Of two tasks whose model and data are known by themselves."""
    yield from _of_metric(old, new)
    changed = [name for name in ("model", "data") if identities[0].get(name) != identities[1].get(name)]
    for name in changed:
        then, now = (_short(identity.get(name, "")) for identity in identities)
        if name == "model":
            yield Difference(kind="original", what="original model", old=then, new=now)
        else:
            yield Difference(kind="data", what="data", old=then, new=now)
    if not changed and old.task.digest != new.task.digest:
        then, now = _short(old.task.digest), _short(new.task.digest)
        yield Difference(kind="data", what="task definition", old=then, new=now)


def _of_metric(old: RunOn, new: RunOn) -> Iterator[Difference]:
    first, second = old.task, new.task
    if first.name != second.name:
        yield Difference(kind="task", what="task", old=first.name, new=second.name)
    if first.metric != second.metric:
        words = [f"{one.name}, {one.direction} is better" for one in (first.metric, second.metric)]
        yield Difference(kind="metric", what="metric", old=words[0], new=words[1])


def _of_task(old: RunOn, new: RunOn) -> Iterator[Difference]:
    first, second = old.task, new.task
    yield from _of_metric(old, new)
    files = [_short(view.baseline.artifact.digest) for view in (old, new)]
    known = all(files)
    if known and files[0] != files[1]:
        yield Difference(kind="original", what="original model", old=files[0], new=files[1])
    sizes = [view.baseline.size_bytes for view in (old, new)]
    if not known and sizes[0] != sizes[1]:
        yield Difference(kind="original", what="original's bytes", old=str(sizes[0]), new=str(sizes[1]))
    if first.digest != second.digest:
        what = "data or metric" if known and files[0] == files[1] else "model, data or metric"
        yield Difference(kind="data", what=what, old=_short(first.digest), new=_short(second.digest))


def _of_target(old: RunTarget, new: RunTarget) -> Iterator[Difference]:
    pairs = {
        "target": (old.name, new.name),
        "one inference": (old.inference, new.inference),
        "runtime": (old.runtime, new.runtime),
        "threads": (str(old.threads), str(new.threads)),
        "profile": (_short(old.profile_fingerprint), _short(new.profile_fingerprint)),
        "latencies are": (_source(old), _source(new)),
    }
    options = tuple(_of_options(old, new))
    yield from options
    if options:
        del pairs["profile"]  # its digest changes with them, and they tell more
    for what, (then, now) in pairs.items():
        if then != now:
            yield Difference(kind="target", what=what, old=then, new=now)


def _of_options(old: RunTarget, new: RunTarget) -> Iterator[Difference]:
    for name in sorted({*old.runtime_options, *new.runtime_options}):
        then, now = (one.runtime_options.get(name, NOT_SET) for one in (old, new))
        if then != now:
            yield Difference(kind="option", what=name, old=then, new=now)


def _of_environment(old: RunTarget, new: RunTarget) -> Iterator[Difference]:
    """Field by field; nothing where one is not known. A run of before a field was recorded has None there."""
    if old.environment is None or new.environment is None:
        return
    named = {"runtime": old.runtime != new.runtime, "threads": old.threads != new.threads}
    for field, (then, now) in old.environment.differences(new.environment).items():
        if named.get(field) or (field in ("device", "machine", "power_mode") and None in (then, now)):
            continue
        words = [_value(field, value) for value in (then, now)]
        if field == "flags":
            words = [", ".join(sorted(set(then) - set(now))), ", ".join(sorted(set(now) - set(then)))]
        yield Difference(
            kind="environment",
            what=_ENVIRONMENT.get(field, field),
            old=words[0] or "none",
            new=words[1] or "none",
        )


def _value(field: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if value is None:
        return "unknown"
    return _short(str(value)) if field == "machine" else str(value)


def _source(target: RunTarget) -> str:
    return "measured" if target.prediction is None else f"predicted from the {target.prediction.source}"


def _short(digest: str) -> str:
    return digest[:_SHOWN_DIGITS] if digest != UNKNOWN_DIGEST else ""
