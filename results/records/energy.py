"""Energy: joules per inference that a sensor counted, with its spread. Where no sensor is, there is none."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Measurement
from ...profiles.measurement import rounds_half_width
from .reading import Fields, Interval, require_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What an inference of a batch uses, all of what the sensor counts: the idle machine's share is in it.

    `energy_j` is `ratio` (to the original's, measured in turns) times the original's reference. The intervals
    are 95 %, Student's t over the session pairs. `sensor` is its kind and its parts; `idle_w` are the watts
    of the waiting machine just before.
    """

    energy_j: float
    interval_j: Interval
    ratio: float
    ratio_interval: Interval
    sensor: str
    idle_w: float | None

    def __post_init__(self) -> None:
        require_finite(energy_j=self.energy_j, ratio=self.ratio, idle_w=self.idle_w)
        if min(self.energy_j, self.ratio) <= 0:
            raise ValueError("energy_j and ratio must be above 0.")

    @classmethod
    def of(cls, rounds: Sequence[Measurement]) -> "Energy | None":
        """The energy of several measurements of the same, all of their pairs together. None unless a sensor
        counted all of them.
        """
        counted, reference = [one.energy_ratios for one in rounds], rounds[0].baseline_reference_j
        if not all(counted) or reference is None:
            return None
        ratio = statistics.fmean(each for ratios in counted for each in ratios)
        half_width = rounds_half_width(counted)
        low, high = (max(0.0, ratio * (1 + sign * half_width)) for sign in (-1, 1))
        conditions = rounds[0].conditions
        return cls(
            energy_j=ratio * reference,
            interval_j=(low * reference, high * reference),
            ratio=ratio,
            ratio_interval=(low, high),
            sensor=conditions["energy_sensor"],
            idle_w=conditions.get("idle_w"),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "Energy":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                energy_j=fields.positive("energy_j"),
                interval_j=fields.interval("interval_j"),
                ratio=fields.positive("ratio"),
                ratio_interval=fields.interval("ratio_interval"),
                sensor=fields.text("sensor"),
                idle_w=fields.maybe("idle_w", fields.amount),
            )
        )
