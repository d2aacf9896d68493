"""Trends: each model's numbers over the nights, and where its environment changed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...results.records.reading import Interval
from ..records.model_night import ModelNight
from ..records.night import Night
from ..records.seen import PickOn

Quantity = Literal["quality", "latency", "size", "hypervolume"]
QUANTITIES: tuple[Quantity, ...] = ("quality", "latency", "size", "hypervolume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number of one night, by the night's place among those that are shown."""

    night: int
    value: float
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A quantity of one thing over the nights: of the pick of a policy on a target, of the bundle that is
    deployed there, or of the front. Latency and size are ratios to the original.
    """

    quantity: Quantity
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was another in a night than in the one that it is compared with, in words."""

    night: int
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All series of a model. `nights` are the names of the nights, the first one first."""

    model: str
    nights: tuple[str, ...]
    series: tuple[Series, ...]
    changed: tuple[Changed, ...]

    def of(self, quantity: Quantity) -> tuple[Series, ...]:
        """The series of a quantity."""
        return tuple(series for series in self.series if series.quantity == quantity)

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)


def model_names(nights: Sequence[Night]) -> tuple[str, ...]:
    """Every model of the nights: those of the last night in its order, then those that are gone."""
    names = [model.name for night in reversed(nights) for model in night.models]
    return tuple(dict.fromkeys(names))


def trend_of(nights: Sequence[Night], name: str) -> Trend:
    """The numbers of a model over the nights, which are in the order of time."""
    rows = [(place, model) for place, night in enumerate(nights) if (model := night.model(name)) is not None]
    volumes = (
        Value(night=place, value=model.hypervolume) for place, model in rows if model.hypervolume is not None
    )
    series = [*_of_picks(rows), *_of_checks(rows), _series("hypervolume", "front", volumes)]
    changed = [
        Changed(night=place, what=tuple(map(str, model.changes))) for place, model in rows if model.changes
    ]
    return Trend(
        model=name,
        nights=tuple(night.name for night in nights),
        series=tuple(one for one in series if one.values),
        changed=tuple(changed),
    )


def _of_picks(rows: Sequence[tuple[int, ModelNight]]) -> list[Series]:
    """Quality, latency and size of each policy's pick on each target."""
    pairs = {
        (pick.policy, target): None for _, model in rows for pick in model.picks for target in pick.targets
    }
    targets = {target for _, target in pairs}
    made = []
    for policy, target in pairs:
        name = f"{policy} on {target}" if len(targets) > 1 else policy
        picked = [
            (place, pick.targets[target])
            for place, model in rows
            if (pick := model.pick(policy)) is not None and target in pick.targets
        ]
        made += [
            _series("quality", name, _values(picked, lambda one: (one.quality, None))),
            _series("latency", name, _values(picked, lambda one: (one.ratio, one.ratio_interval))),
            _series("size", name, _values(picked, lambda one: (one.size_ratio, None))),
        ]
    return made


def _of_checks(rows: Sequence[tuple[int, ModelNight]]) -> list[Series]:
    """Quality and latency of the bundle that was deployed before the night, as the night measured them."""
    targets = dict.fromkeys(check.target for _, model in rows for check in model.checks)
    made = []
    for target in targets:
        name = f"deployed on {target}" if len(targets) > 1 else "deployed"
        checks = [(place, one) for place, model in rows for one in model.checks if one.target == target]
        qualities = (
            Value(night=place, value=one.quality) for place, one in checks if one.quality is not None
        )
        latencies = (
            Value(night=place, value=one.ratio, interval=one.ratio_interval)
            for place, one in checks
            if one.ratio is not None
        )
        made += [_series("quality", name, qualities), _series("latency", name, latencies)]
    return made


def _values(
    picked: Iterable[tuple[int, PickOn]], read: Callable[[PickOn], tuple[float, Interval | None]]
) -> Iterable[Value]:
    for place, one in picked:
        value, interval = read(one)
        yield Value(night=place, value=value, interval=interval)


def _series(quantity: Quantity, name: str, values: Iterable[Value]) -> Series:
    return Series(quantity=quantity, name=name, values=tuple(values))
