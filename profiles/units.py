"""Quantities as people write them: durations, sizes, energies, allowed quality drops, always with a unit."""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from ..errors import InputError

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_JOULES = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_BYTES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
_DROP_KINDS: Mapping[str, "DropKind"] = {"pp": "pp", "%": "percent", "abs": "absolute"}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s.]*)")

DropKind = Literal["pp", "percent", "absolute"]
QuantityKind = Literal["duration", "size", "energy", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """How much quality may be lost: percentage points, percent of the baseline, or the metric's own unit."""

    kind: DropKind
    value: float

    def limit(self, baseline: float) -> float:
        """The allowed loss in the metric's own unit, ≥ 0. InputError for a percentage of a baseline of 0."""
        if self.kind == "pp":
            return self.value / 100
        if self.kind == "absolute":
            return self.value
        if self.kind == "percent":
            if baseline == 0:
                raise InputError(
                    f"A drop of {self} is a share of the original model's metric, which is 0: "
                    "give it in the metric's own unit, for example 0.1abs."
                )
            return self.value / 100 * abs(baseline)
        assert_never(self.kind)

    def __str__(self) -> str:
        """The drop as `parse_drop` reads it."""
        unit = next(unit for unit, kind in _DROP_KINDS.items() if kind == self.kind)
        return f"{self.value:.12g}{unit}"


def parse_duration(text: str) -> float:
    """Seconds, > 0, of `2ms`, `1.5s`, `30m` or `2h`. InputError without a unit."""
    return _seconds(text, example="2ms")


def parse_budget(text: str) -> float:
    """The same of work that takes minutes: the remedy of the InputError is `20m`."""
    return _seconds(text, example="20m")


def _seconds(text: str, *, example: str) -> float:
    value, unit = _quantity(text, "duration", units=_SECONDS, example=example)
    return _positive(value * _SECONDS[unit], text, "duration")


def parse_since(text: str, *, now: datetime | None = None) -> float:
    """Seconds since 1970 of `2026-11-28`, `2026-11-28T06:30` (local time unless it names another) or `24h`,
    back from now. InputError for anything else.
    """
    with suppress(ValueError):
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    if quantity_kind(text) != "duration":
        raise InputError(
            f"The time {text!r} is none: write a date and time, such as 2026-11-28T06:30, or how long ago, "
            "such as 24h."
        )
    return (now or datetime.now().astimezone()).timestamp() - parse_duration(text)


def parse_size(text: str) -> int:
    """Bytes, > 0, of `5B`, `200KB`, `1.5MB` or `1GB`; a KB is 1,024 bytes. InputError without a unit."""
    value, unit = _quantity(text, "size", units=_BYTES, example="200KB")
    return int(_positive(value * _BYTES[unit], text, "size"))


def parse_energy(text: str) -> float:
    """Joules, > 0, of `5mJ`, `800µJ` or `1.5J`. InputError without a unit."""
    value, unit = _quantity(text, "energy", units=_JOULES, example="5mJ")
    return _positive(value * _JOULES[unit], text, "energy")


def parse_drop(text: str) -> Drop:
    """The drop of `1pp` (percentage points), `1%` (of the baseline) or `0.1abs` (the metric's unit), ≥ 0."""
    value, unit = _quantity(text, "drop", units=_DROP_KINDS, example="1pp")
    if value < 0:
        raise InputError(f"The drop {text!r} is negative: give how much may be lost, for example 1pp.")
    return Drop(kind=_DROP_KINDS[unit], value=value)


def quantity_kind(text: str) -> QuantityKind | None:
    """What the unit of `text` measures; None where it is no number with a unit that is known here."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    kinds: Mapping[QuantityKind, Mapping[str, object]]
    kinds = {"duration": _SECONDS, "size": _BYTES, "energy": _JOULES, "drop": _DROP_KINDS}
    return next(
        (kind for kind, units in kinds.items() if match[2].lower() in {unit.lower() for unit in units}), None
    )


def format_duration(seconds: float) -> str:
    """A length of time for people: `45 s`, `3 min 20 s`, `1 h 5 min`; under ten seconds as `format_latency`
    does.
    """
    if seconds < 10:
        return format_latency(seconds)
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")


def format_latency(seconds: float) -> str:
    """Four significant digits in the fitting unit: `3.142 ms`, `812.5 µs`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= scale:
            return f"{_significant(seconds / scale)} {unit}"
    return "0 s" if seconds == 0 else f"{_significant(seconds / 1e-9)} ns"


def format_energy(joules: float) -> str:
    """Four significant digits in the fitting unit: `3.142 mJ`, `812.5 µJ`."""
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if abs(joules) >= scale:
            return f"{_significant(joules / scale)} {unit}"
    return f"{_significant(joules / 1e-9)} nJ"


def format_size(size_bytes: int) -> str:
    """`87 B`, `168.0 KB`, `1.06 MB`; a KB is 1,024 bytes."""
    if abs(size_bytes) < 1024:
        return f"{size_bytes} B"
    if abs(size_bytes) < 10 * 1024**2:
        return f"{size_bytes / 1024:,.1f} KB"
    if abs(size_bytes) < 10 * 1024**3:
        return f"{size_bytes / 1024**2:,.1f} MB"
    return f"{size_bytes / 1024**3:,.1f} GB"


def _quantity(text: str, what: str, *, units: Mapping[str, object], example: str) -> tuple[float, str]:
    """Number and unit of `text`; units are told apart by exact spelling, or else by lower case."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or not math.isfinite(float(match[1])):
        raise InputError(f"The {what} {text!r} is not a number with a unit: write it like {example}.")
    number, unit = match.groups()
    if not unit:
        raise InputError(
            f"The {what} {text!r} has no unit: write it like {example} (units: {', '.join(units)})."
        )
    if unit not in units:
        spellings = {spelling.lower(): spelling for spelling in units}
        if unit.lower() not in spellings:
            raise InputError(
                f"The {what} {text!r} has the unknown unit {unit!r}: use one of {', '.join(units)}."
            )
        unit = spellings[unit.lower()]
    return float(number), unit


def _positive(value: float, text: str, what: str) -> float:
    if value <= 0:
        raise InputError(f"The {what} {text!r} must be greater than 0.")
    return value


def _significant(value: float) -> str:
    """Four significant digits without an exponent for 1 ≤ value < 10,000."""
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
