"""The original on several runtimes of one device: which of them compete, and how their latencies compare."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...profiles import Environment
from .facts import RunTarget
from .latency import AnyLatency, half_width_of, ratio_range
from .point import Measured
from .reading import Fields, Interval, require_inside

APART = 0.05  # relative; what seconds of two times differ by on one machine, as in `verify`
_DEVICE = ("machine", "device", "cpu_model", "flags", "power_mode")


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurns:
    """The original's latency on a target divided by that on the reference of a run (its first target that was
    timed), all timed in turns; with its 95 % interval and the rounds.
    """

    ratio: float
    interval: Interval
    rounds: int

    def __post_init__(self) -> None:
        require_inside(self.interval, in_turns=self.ratio)
        if self.interval[0] <= 0:
            raise ValueError("in_turns_interval must be above 0.")

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "InTurns":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                ratio=fields.positive("ratio"),
                interval=fields.interval("interval"),
                rounds=fields.whole("rounds", least=1),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A quotient of two latencies of the original, and half of its interval, relative."""

    ratio: float
    half_width: float = 0.0

    def scaled(self, latency: AnyLatency) -> Interval:
        """Where the ratio of a latency lies, multiplied by this quotient: the errors are independent."""
        middle = latency.ratio * self.ratio
        spread = math.hypot(half_width_of(ratio_range(latency)), self.half_width)
        return middle * (1 - spread), middle * (1 + spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalOn:
    """The original on a target of a run. `beside` is its latency there divided by that on the target that it
    is compared with, where both were timed in turns.
    """

    target: RunTarget
    measured: Measured
    beside: Scale | None = None

    @property
    def in_float32(self) -> bool:
        """Whether no layer is known to compute in less than float32 there."""
        return all(row.precision_executed in (None, "float32") for row in self.measured.layers)

    def competes_on(self, target: RunTarget) -> bool:
        """Whether who uses this target could use the original here instead: another runtime of the same
        device, with as many threads and the same inference, that computes in float32.
        """
        other = self.target
        alike = (other.threads, other.batch, other.sizes) == (target.threads, target.batch, target.sizes)
        return (
            other.name != target.name
            and alike
            and self.in_float32
            and _one_device(other.environment, target.environment)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDevice:
    """The original in the runtimes of a device, of which a candidate takes one, by target; at least one.

    What was not timed in turns is compared by its seconds, which are uncertain by APART besides.
    """

    originals: Mapping[str, OriginalOn]
    in_turns: Mapping[str, InTurns]

    @property
    def baseline(self) -> str:
        """The target on which the original is fastest: of those that compute it in float32, if any does."""
        exact = [name for name, one in self.originals.items() if one.in_float32]
        names = exact or list(self.originals)
        return min(names, key=lambda name: self.scale(name, to=names[0]).ratio)

    def beside(self, target: str) -> tuple[OriginalOn, ...]:
        """The original in the other float32 runtimes, compared with it on a target."""
        others = [one for name, one in self.originals.items() if name != target and one.in_float32]
        return tuple(replace(one, beside=self.scale(one.target.name, to=target)) for one in others)

    def scale(self, target: str, *, to: str) -> Scale:
        """The original's latency on a target divided by that on another."""
        if target == to:
            return Scale(ratio=1.0)
        one, other = self.in_turns.get(target), self.in_turns.get(to)
        if one is not None and other is not None:
            widths = half_width_of(one.interval), half_width_of(other.interval)
            return Scale(ratio=one.ratio / other.ratio, half_width=math.hypot(*widths))
        here, there = (self.originals[name].measured.latency for name in (target, to))
        widths = half_width_of(ratio_range(here)), half_width_of(ratio_range(there))
        return Scale(ratio=here.seconds / there.seconds, half_width=math.hypot(*widths, APART))


def _one_device(first: Environment | None, second: Environment | None) -> bool:
    """Whether both are known, and the same machine and processor. Where the system has no identity, equal
    processors with equal systems pass for one: a comparison too many takes nothing slower.
    """
    if first is None or second is None or first.emulated or second.emulated:
        return False
    same = all(getattr(first, name) == getattr(second, name) for name in _DEVICE)
    return same and (first.machine is not None or first.os == second.os)
