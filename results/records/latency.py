"""Latency and Predicted: a measured latency in numbers, and a computed one. Two types: none passes for the
other.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Measurement, PredictedLatency
from .reading import Fields, Interval, require_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A measured latency in numbers; its raw blocks stay in the run's measurement store."""

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
        """A JSON value from which `latency_from_json` makes an equal latency."""
        return asdict(self)

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


def latency_from_json(fields: Fields) -> AnyLatency:
    """The measured or predicted latency that `to_json` described."""
    return Predicted.from_json(fields) if fields.has("predicted_s") else Latency.from_json(fields)


def overlap(first: AnyLatency, second: AnyLatency) -> bool:
    """Whether the intervals of two measured ratios overlap; a prediction has none, so it overlaps with
    nothing.
    """
    if isinstance(first, Predicted) or isinstance(second, Predicted):
        return False
    (low_1, high_1), (low_2, high_2) = first.ratio_interval, second.ratio_interval
    return low_1 <= high_2 and low_2 <= high_1
