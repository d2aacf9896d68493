"""Limits: what the user demands of a point, and by how much a point exceeds it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from ..errors import InputError
from ..profiles import Drop, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Limits as the user gave them; None means no limit."""

    max_drop: Drop | None = None
    max_latency_s: float | None = None
    max_size_bytes: int | None = None
    max_energy_j: float | None = None

    def limits(self, baseline: float) -> "Limits":
        """The limits in the metric's unit, seconds, bytes and joules. InputError for a share of a baseline of
        0.
        """
        drop = None if self.max_drop is None else self.max_drop.limit(baseline)
        return Limits(
            drop=drop,
            latency_s=self.max_latency_s,
            size_bytes=self.max_size_bytes,
            energy_j=self.max_energy_j,
        )

    def require_unit(self, metric: str, unit: str) -> None:
        """Raises InputError for percentage points of a metric that is no fraction: 1pp of an R² or of an
        error in pixels means nothing.
        """
        if self.max_drop is not None and self.max_drop.kind == "pp" and unit != "fraction":
            raise InputError(
                f"--max-drop {self.max_drop} counts percentage points, but the metric {metric!r} is no "
                f"fraction: give a share of the original's value, such as {self.max_drop.value:.12g}%, or a "
                "number in the metric's own unit, such as 0.1abs."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resolved limits: quality drop in the metric's unit, seconds, bytes, joules."""

    drop: float | None = None
    latency_s: float | None = None
    size_bytes: int | None = None
    energy_j: float | None = None

    def excess(
        self, *, drop: float, latency_s: float, size_bytes: int, energy_j: float | None = None
    ) -> dict[str, float]:
        """By name of each limit that is set: value - limit; positive means that it is broken. An energy that
        nobody counted exceeds nothing, and keeps no limit either (Run.feasible).
        """
        excess: dict[str, float] = {}
        if self.drop is not None:
            excess["drop"] = _over(drop, self.drop)
        if self.latency_s is not None:
            excess["latency"] = _over(latency_s, self.latency_s)
        if self.size_bytes is not None:
            excess["size"] = float(size_bytes - self.size_bytes)
        if self.energy_j is not None and energy_j is not None:
            excess["energy"] = _over(energy_j, self.energy_j)
        return excess

    def relative(self, excess: Mapping[str, float], *, drop_unit: float) -> dict[str, float]:
        """The excess on one scale, to be added up: drops in `drop_unit`, others as a share of the limit."""
        scale = {"drop": drop_unit, "latency": self.latency_s or 1.0, "size": float(self.size_bytes or 1)}
        scale["energy"] = self.energy_j or 1.0
        return {name: value / scale[name] for name, value in excess.items()}


def _over(value: float, limit: float) -> float:
    """value - limit; 0 where the two are equal but for rounding: 0.90 - 0.89 is no more than 0.01."""
    return 0.0 if math.isclose(value, limit, rel_tol=1e-9) else value - limit


def chance_below(limit: float, drop: float, interval: tuple[float, float]) -> float:
    """How likely the drop is at most `limit`, 0..1, by the normal distribution of its 95 % interval.

    An interval without width is certain.
    """
    deviation = (interval[1] - interval[0]) / (2 * 1.96)
    if deviation == 0:
        return float(drop <= limit)
    return NormalDist(drop, deviation).cdf(limit)


def chance_text(chance: float) -> str:
    """`97 %`; no chance is called certain or impossible: `>99 %`, `<1 %`."""
    if chance > 0.995:
        return ">99 %"
    return "<1 %" if chance < 0.005 else f"{100 * chance:.0f} %"


def require_reachable_size(max_size_bytes: int | None, smallest_bytes: int) -> None:
    """Raises InputError when even the smallest recipe's weights exceed the limit: known before any work."""
    if max_size_bytes is not None and smallest_bytes > max_size_bytes:
        raise InputError(
            f"--max-size {format_size(max_size_bytes)} cannot be reached: the smallest recipe on this target "
            f"needs {format_size(smallest_bytes)} for its weights alone. Raise the limit to at least that."
        )
