"""Latency and Predicted: a measured latency in numbers, and a computed one. Two types: none passes for the
other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...profiles import Measurement, PredictedLatency
from ...profiles.measurement import GOOD_HALF_WIDTH, rounds_half_width
from .energy import Energy
from .reading import Fields, Interval, require_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A measured latency in numbers; its raw blocks stay in the run's measurement store.

    `others_cores` is how many of the machine's `cores` other processes used on average meanwhile; None where
    that is not known. `energy` is what a sensor counted beside it. `board` is the number of the one
    of several boards that it was measured on; None where there is one, or where its rounds were measured on
    several.
    """

    latency_s: float
    interval_s: Interval
    ratio: float
    ratio_interval: Interval
    p50_s: float
    p90_s: float
    p99_s: float
    noisy: bool
    timer: str
    pairs: int
    peak_memory_bytes: int | None
    cores: int | None = None
    others_cores: float | None = None
    energy: Energy | None = None
    board: int | None = None

    def __post_init__(self) -> None:
        require_finite(latency_s=self.latency_s, ratio=self.ratio, p99_s=self.p99_s)
        if min(self.latency_s, self.ratio, self.p50_s) <= 0:
            raise ValueError("latency_s, ratio and p50_s must be above 0.")
        if not self.p50_s <= self.p90_s <= self.p99_s:
            raise ValueError("p50_s, p90_s and p99_s must not decrease.")
        _require_inside(self.latency_s, self.interval_s, "interval_s")
        _require_inside(self.ratio, self.ratio_interval, "ratio_interval")

    @classmethod
    def of(cls, measurement: Measurement) -> "Latency":
        """The numbers of a measurement."""
        return cls(
            latency_s=measurement.latency_s,
            interval_s=measurement.latency_interval_s,
            ratio=measurement.ratio,
            ratio_interval=measurement.ratio_interval,
            p50_s=measurement.p50_s,
            p90_s=measurement.p90_s,
            p99_s=measurement.p99_s,
            noisy=measurement.noisy,
            timer=measurement.timer,
            pairs=len(measurement.pairs),
            peak_memory_bytes=measurement.peak_memory_bytes,
            cores=measurement.conditions.get("cores"),
            others_cores=measurement.conditions.get("others_cores"),
            energy=Energy.of([measurement]),
            board=measurement.conditions.get("board"),
        )

    @classmethod
    def of_rounds(cls, rounds: Sequence[Measurement]) -> "Latency":
        """The numbers of several measurements of the same, all of their pairs together; the load is that of
        the busiest one.
        """
        pairs = tuple(pair for measurement in rounds for pair in measurement.pairs)
        together = replace(rounds[0], pairs=pairs)
        half_width = rounds_half_width([measurement.pair_ratios for measurement in rounds])
        low, high = (max(0.0, together.ratio * (1 + sign * half_width)) for sign in (-1, 1))
        reference_s = together.baseline_reference_s
        boards = {measurement.conditions.get("board") for measurement in rounds}
        busiest = max(rounds, key=lambda measurement: measurement.conditions.get("others_cores", 0.0))
        return replace(
            cls.of(replace(together, conditions=busiest.conditions)),
            ratio_interval=(low, high),
            interval_s=(low * reference_s, high * reference_s),
            energy=Energy.of(rounds),
            board=boards.pop() if len(boards) == 1 else None,
            noisy=half_width > GOOD_HALF_WIDTH if len(rounds) > 1 else together.noisy,
        )

    @property
    def seconds(self) -> float:
        """Seconds per inference, for whoever compares latencies of both kinds."""
        return self.latency_s

    @property
    def half_width(self) -> float:
        """Half of the ratio's interval, relative to its middle."""
        low, high = self.ratio_interval
        return (high - low) / (high + low)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `latency_from_json` makes an equal latency; without a load, an energy or a
        board that is not known.
        """
        known = {
            "cores": self.cores,
            "others_cores": self.others_cores,
            "energy": self.energy,
            "board": self.board,
        }
        unknown = {key for key, value in known.items() if value is None}
        return {key: value for key, value in asdict(self).items() if key not in unknown}

    @classmethod
    def from_json(cls, fields: Fields) -> "Latency":
        """The latency that `to_json` described."""
        return fields.record(
            lambda: cls(
                latency_s=fields.positive("latency_s"),
                interval_s=fields.interval("interval_s"),
                ratio=fields.positive("ratio"),
                ratio_interval=fields.interval("ratio_interval"),
                p50_s=fields.positive("p50_s"),
                p90_s=fields.positive("p90_s"),
                p99_s=fields.positive("p99_s"),
                noisy=fields.flag("noisy"),
                timer=fields.text("timer"),
                pairs=fields.whole("pairs", least=1),
                peak_memory_bytes=fields.maybe("peak_memory_bytes", fields.whole),
                cores=fields.optional("cores", fields.whole),
                others_cores=fields.optional("others_cores", fields.amount),
                energy=fields.optional("energy", lambda key: Energy.from_json(fields.object(key))),
                board=fields.optional("board", lambda key: fields.whole(key, least=1)),
            )
        )


def _require_inside(value: float, interval: Interval, name: str) -> None:
    low, high = interval
    room = 1e-9 * abs(value)
    if not low - room <= value <= high + room:
        raise ValueError(f"{name} {list(interval)} must hold the value {value}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A latency that was computed, not measured; `ratio` is relative to the original's, predicted in the same
    way.

    It has no interval: `error` is how far the source's predictions were off (median, relative) where that was
    observed, else None. Its JSON shares no key with that of a measured latency.
    """

    latency: PredictedLatency
    ratio: float
    error: float | None = None

    def __post_init__(self) -> None:
        require_finite(predicted_s=self.latency.seconds, predicted_ratio=self.ratio)
        if min(self.latency.seconds, self.ratio) <= 0:
            raise ValueError("predicted_s and predicted_ratio must be above 0.")

    @property
    def seconds(self) -> float:
        """Seconds per inference, for whoever compares latencies of both kinds."""
        return self.latency.seconds

    @property
    def energy(self) -> None:
        """None: an energy is never predicted."""
        return None

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return self.latency.source

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `latency_from_json` makes an equal latency."""
        numbers = {"predicted_s": self.seconds, "predicted_ratio": self.ratio}
        return {**numbers, "source": self.source, "error": self.error}

    @classmethod
    def from_json(cls, fields: Fields) -> "Predicted":
        """The prediction that `to_json` described."""
        return fields.record(
            lambda: cls(
                latency=PredictedLatency(
                    seconds=fields.positive("predicted_s"), source=fields.text("source")
                ),
                ratio=fields.positive("predicted_ratio"),
                error=fields.maybe("error", fields.amount),
            )
        )


AnyLatency = Latency | Predicted


def ratio_range(latency: AnyLatency) -> Interval:
    """Where the latency's ratio to the original's lies; around a prediction by its median error, if known."""
    if isinstance(latency, Predicted):
        error = latency.error or 0.0
        return latency.ratio * (1 - error), latency.ratio * (1 + error)
    return latency.ratio_interval


def half_width_of(interval: Interval) -> float:
    """Half of an interval, relative to its middle."""
    low, high = interval
    return (high - low) / (high + low)


def latency_from_json(fields: Fields) -> AnyLatency:
    """The measured or predicted latency that `to_json` described."""
    return Predicted.from_json(fields) if fields.has("predicted_s") else Latency.from_json(fields)
