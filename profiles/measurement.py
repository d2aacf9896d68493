"""Measurement: raw block times of a candidate beside its baseline; every statistic is derived from them.

A latency is (mean over session pairs of the median block ratio) × the baseline's reference latency. The ratio
is what is measured well: drift, load and clock changes hit baseline and candidate alike. Its 95 % interval is
Student's t over the pairs, because sessions differ from each other by more than blocks of one session do.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Literal

from .environment import Environment
from .units import format_latency

Timer = Literal["thread-cpu", "wall", "cuda-events"]
Interval = tuple[float, float]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingConfig:
    """How long to measure: `pairs_min`–`pairs_max` fresh session pairs of `pair_s` seconds, in blocks of
    `block_s`.

    Measuring stops once the relative half-width of the ratio's interval is ≤ `half_width`, after `pairs_max`
    pairs, or after `max_s` seconds (two pairs are always completed). `batch` samples go into one inference.
    `engine_builds`: how many engines a runtime that builds them (TensorRT) makes of the model, whose pairs
    they share: no two builds choose quite the same kernels. Other runtimes have nothing to build. `round`:
    the how manieth measurement of the same this is, when one was not enough. `sizes`: those of the free
    dimensions (`Sizes.text`), empty where there are none.
    """

    pairs_min: int = 3
    pairs_max: int = 5
    pair_s: float = 0.4
    block_s: float = 0.01
    warmup_s: float = 0.2
    half_width: float = 0.01
    max_s: float = 10.0
    batch: int = 1
    engine_builds: int = 1
    round: int = 1
    sizes: str = ""

    def __post_init__(self) -> None:
        if not 2 <= self.pairs_min <= self.pairs_max or self.batch < 1 or self.engine_builds < 1:
            raise ValueError(f"2 ≤ pairs_min ≤ pairs_max, batch ≥ 1 and engine_builds ≥ 1 are needed: {self}")
        if min(self.pair_s, self.block_s, self.half_width, self.max_s) <= 0 or self.warmup_s < 0:
            raise ValueError(f"durations and half_width must be positive: {self}")

    def with_batch(self, batch: int) -> "TimingConfig":
        """The same configuration for another batch size."""
        return replace(self, batch=batch)


SEARCH_TIMING = TimingConfig()
GOOD_HALF_WIDTH = 0.02  # of a finalist; a wider one is measured again
FINALIST_TIMING = TimingConfig(pairs_min=5, pairs_max=8, pair_s=0.8, engine_builds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBlocks:
    """One pair of fresh sessions: seconds per inference of each block, in order; index i are neighbours in
    time.

    `baseline_s` and `candidate_s` are in the measurement's timer, `*_wall_s` in wall-clock time.
    `inference_wall_s` are wall-clock times of single candidate inferences, evenly thinned to a few hundred.
    `loop_s` is the wall-clock time that warming up and timing took. `baseline_j` and `candidate_j` are joules
    per inference of blocks that are neighbours in time; empty where no sensor counts them.
    """

    baseline_s: tuple[float, ...]
    candidate_s: tuple[float, ...]
    baseline_wall_s: tuple[float, ...]
    candidate_wall_s: tuple[float, ...]
    inference_wall_s: tuple[float, ...] = ()
    loop_s: float = 0.0
    baseline_j: tuple[float, ...] = ()
    candidate_j: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        blocks = (self.baseline_s, self.candidate_s, self.baseline_wall_s, self.candidate_wall_s)
        if len({len(block) for block in blocks}) != 1 or not self.baseline_s:
            raise ValueError(
                f"A pair needs equally many blocks, at least one: {[len(block) for block in blocks]}"
            )
        if not all(value > 0 and math.isfinite(value) for block in blocks for value in block):
            raise ValueError("Block times must be positive and finite.")
        energies = (self.baseline_j, self.candidate_j)
        if len(self.baseline_j) != len(self.candidate_j) or any(
            joules and sum(joules) <= 0 for joules in energies
        ):
            raise ValueError(
                "A pair needs as many energies of the baseline as of the candidate, some above 0."
            )
        if not all(value >= 0 and math.isfinite(value) for joules in energies for value in joules):
            raise ValueError("Energies must be at least 0 and finite.")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PairBlocks":
        """The pair that the worker, or `Measurement.to_json`, described."""
        times = {key: tuple(blocks) for key, blocks in value.items() if isinstance(blocks, list)}
        return cls(**{**value, **times})

    @property
    def ratio(self) -> float:
        """Median over neighbouring blocks of candidate time / baseline time."""
        return statistics.median(c / b for b, c in zip(self.baseline_s, self.candidate_s, strict=True))

    @property
    def energy_ratio(self) -> float | None:
        """Candidate energy / baseline energy of all blocks: a counter's steps are too coarse for single ones.
        None without a sensor.
        """
        return sum(self.candidate_j) / sum(self.baseline_j) if self.baseline_j else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was seen of one artifact beside its baseline; immutable, raw values kept, statistics derived.

    `baseline_reference_s` is the baseline's latency in this environment, measured once for all candidates of
    a run; `baseline_reference_j` its energy, where a sensor counts it. `details` are what the runtime tells
    beside it (size of an engine, seconds to build it), `conditions` the board's state meanwhile
    (temperatures, clocks, pairs dropped because it throttled, the watts of the idle machine).
    `peak_memory_bytes` is what loading and running the candidate added to the worker's resident memory; None
    where the system does not tell.
    """

    pairs: tuple[PairBlocks, ...]
    timer: Timer
    timing: TimingConfig
    environment: Environment
    profile_fingerprint: str
    artifact_digest: str
    baseline_digest: str
    baseline_reference_s: float
    peak_memory_bytes: int | None
    details: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    baseline_reference_j: float | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if len(self.pairs) < 2:
            raise ValueError(
                f"A measurement needs at least 2 pairs, not {len(self.pairs)}: one has no interval."
            )
        if not (self.baseline_reference_s > 0 and math.isfinite(self.baseline_reference_s)):
            raise ValueError(
                f"The baseline's reference latency must be positive: {self.baseline_reference_s}"
            )

    @property
    def pair_ratios(self) -> tuple[float, ...]:
        """Each pair's median block ratio, candidate / baseline."""
        return tuple(pair.ratio for pair in self.pairs)

    @property
    def energy_ratios(self) -> tuple[float, ...]:
        """Each pair's energy, candidate / baseline; empty unless a sensor counted all of them."""
        ratios = [ratio for pair in self.pairs if (ratio := pair.energy_ratio) is not None]
        return tuple(ratios) if len(ratios) == len(self.pairs) else ()

    @property
    def ratio(self) -> float:
        """Candidate latency / baseline latency: mean over pairs of the median block ratio."""
        return statistics.fmean(self.pair_ratios)

    @property
    def ratio_interval(self) -> Interval:
        """95 % interval of the ratio: Student's t over the pairs; the lower end is never below 0."""
        spread = self.half_width * self.ratio
        return max(0.0, self.ratio - spread), self.ratio + spread

    @property
    def half_width(self) -> float:
        """Half the width of the ratio's interval relative to the ratio: 0.01 means ±1 %."""
        return relative_half_width(self.pair_ratios)

    @property
    def loop_s(self) -> float:
        """Wall-clock seconds that warming up and timing took: what the protocol is meant to cost."""
        return sum(pair.loop_s for pair in self.pairs)

    @property
    def noisy(self) -> bool:
        """Whether the interval stayed wider than was asked for."""
        return self.half_width > self.timing.half_width

    @property
    def latency_s(self) -> float:
        """Seconds per inference of a batch: ratio × the baseline's reference latency."""
        return self.ratio * self.baseline_reference_s

    @property
    def latency_interval_s(self) -> Interval:
        """95 % interval of the latency among candidates of one run: the reference is shared, so its error
        cancels.
        """
        low, high = self.ratio_interval
        return low * self.baseline_reference_s, high * self.baseline_reference_s

    @property
    def drift_s(self) -> Interval:
        """From the candidate's fastest pair to its slowest (medians of their blocks): how far the machine
        drifted since the reference was measured. Another hour may be further off.
        """
        times = [self.latency_s, *(statistics.median(pair.candidate_s) for pair in self.pairs)]
        return min(times), max(times)

    @property
    def p50_s(self) -> float:
        """Median wall-clock seconds of a single inference, load of the machine included."""
        return self._percentile(0.50)

    @property
    def p90_s(self) -> float:
        """90th percentile of the wall-clock seconds of a single inference."""
        return self._percentile(0.90)

    @property
    def p99_s(self) -> float:
        """99th percentile of the wall-clock seconds of a single inference."""
        return self._percentile(0.99)

    def _percentile(self, share: float) -> float:
        """Linear interpolation between the sorted inference times (block means where no single times were
        kept).
        """
        times = sorted(s for pair in self.pairs for s in (pair.inference_wall_s or pair.candidate_wall_s))
        position = share * (len(times) - 1)
        low = math.floor(position)
        high = min(low + 1, len(times) - 1)
        return times[low] + (times[high] - times[low]) * (position - low)

    def summary_json(self) -> dict[str, Any]:
        """A JSON value for scripts: the ratio, percentiles and intervals first, and no raw blocks."""
        return {
            "ratio": self.ratio,
            "ratio_interval": self.ratio_interval,
            "p50_s": self.p50_s,
            "p90_s": self.p90_s,
            "p99_s": self.p99_s,
            "latency_s": self.latency_s,
            "drift_s": self.drift_s,
            "noisy": self.noisy,
            "session_pairs": len(self.pairs),
            **{name: value for name, value in self.to_json().items() if name != "pairs"},
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal measurement; raw values included."""
        return {**asdict(self), "environment": self.environment.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Measurement":
        """The measurement that `to_json` described. ValueError for another schema version."""
        if value.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"A measurement of schema version {value.get('schema_version')} cannot be read here."
            )
        pairs = tuple(PairBlocks.from_json(pair) for pair in value["pairs"])
        timing = TimingConfig(**value["timing"])
        environment = Environment.from_json(value["environment"])
        return cls(**{**value, "pairs": pairs, "timing": timing, "environment": environment})

    def __str__(self) -> str:
        """`1.234 ms (1.21 to 1.30 ms while measuring), 0.531 × the baseline ± 0.6 %`."""
        mark = ", noisy" if self.noisy else ""
        ratio = f"{self.ratio:.3f} × the baseline ± {100 * self.half_width:.1f} %{mark}"
        drift = " to ".join(map(format_latency, self.drift_s))
        return f"{format_latency(self.latency_s)} ({drift} while measuring), {ratio}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLatency:
    """A latency that nobody measured, and where it comes from; another type, so that it cannot pass as
    measured.
    """

    seconds: float
    source: str

    def __str__(self) -> str:
        """Marked with `~`."""
        return f"~{format_latency(self.seconds)}"


def rounds_half_width(rounds: Sequence[tuple[float, ...]]) -> float:
    """Half the width of the 95 % interval of the mean of all pairs' ratios, relative to it.

    It is Student's t over the pairs. But pairs of one round share an hour and a process: where rounds differ
    from each other by more than their pairs say, the standard error is that of the rounds' means.
    """
    ratios = [ratio for pairs in rounds for ratio in pairs]
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    if len(rounds) > 1:
        means = [statistics.fmean(pairs) for pairs in rounds]
        error = max(error, statistics.stdev(means) / math.sqrt(len(means)))
    return critical_value(len(ratios) - 1) * error / statistics.fmean(ratios)


def relative_half_width(ratios: tuple[float, ...]) -> float:
    """Half the width of the 95 % Student t interval of the mean of ≥ 2 `ratios`, relative to the mean."""
    mean = statistics.fmean(ratios)
    return critical_value(len(ratios) - 1) * statistics.stdev(ratios) / math.sqrt(len(ratios)) / mean


@cache
def critical_value(degrees: int) -> float:
    """Student's t quantile 0.975 for ≥ 1 degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats would take half a second to import

    return float(stdtrit(degrees, 0.975))
