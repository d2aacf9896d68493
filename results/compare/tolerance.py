"""Tolerance: what is no loss even where it is certain."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InputError
from ...profiles import Drop, parse_drop
from ..records.facts import MetricFacts

Quantity = Literal["latency", "size", "drop", "energy"]
SHARES: tuple[Quantity, ...] = ("latency", "size", "energy")
_LEAST_DROP = Drop(kind="percent", value=0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Shares of latency, size and energy, and a drop. `hypervolume` is a share of that of a search's points.
    `runtime` is a share of the latency of one artifact in two versions or settings of its runtime that were
    timed in turns.
    """

    latency: float = 0.05  # differences from hour to hour stay below that, as in `verify`
    size: float = 0.01
    drop: Drop = _LEAST_DROP  # one sample of 360, which another kernel may round to another class
    energy: float = 0.05
    hypervolume: float = 0.05
    runtime: float = 0.02

    def __post_init__(self) -> None:
        for name in (*SHARES, "hypervolume", "runtime"):
            if getattr(self, name) < 0:
                raise ValueError(f"The tolerance of {name} must be at least 0.")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Tolerance":
        """The tolerances of texts such as `latency=2%`, `size=0%` and `drop=0.1pp`; without a name `2%` is
        that of latency, size and energy, `0.1pp` that of the drop. InputError says what is wrong with one.
        """
        given: dict[str, Drop] = {}
        for text in texts:
            name, named, amount = text.strip().rpartition("=")
            parsed = parse_drop(amount)
            names = [name] if named else ["drop"] if parsed.kind != "percent" else list(SHARES)
            if named and name not in get_args(Quantity):
                raise InputError(
                    f"--tolerance {text!r} names {name!r}: choose latency, size, drop or energy."
                )
            if named and name in SHARES and parsed.kind != "percent":
                raise InputError(f"--tolerance {text!r} must be a share: write it like {name}=2%.")
            if twice := next((each for each in names if each in given), None):
                raise InputError(f"--tolerance gives {twice} twice: give it once.")
            given |= dict.fromkeys(names, parsed)
        shares = {name: given[name].value / 100 for name in SHARES if name in given}
        return cls(drop=given.get("drop", _LEAST_DROP), **shares)

    def of(self, quantity: Quantity, metric: MetricFacts, original: float) -> float:
        """The tolerance of a change: a share of latency, size or energy, a drop in the metric's unit where
        the original has the value `original`. InputError for percentage points of a metric that is no
        fraction.
        """
        if quantity != "drop":
            return {"latency": self.latency, "size": self.size, "energy": self.energy}[quantity]
        if self.drop.kind == "pp" and metric.unit != "fraction":
            raise InputError(
                f"The tolerance {self.drop} counts percentage points, but the metric {metric.name!r} is no "
                "fraction: write drop=0.1% (of the original's value) or drop=0.1abs (its own unit)."
            )
        return 0.0 if self.drop.kind == "percent" and original == 0 else self.drop.limit(original)
