"""Records that several tests measure with."""

from dataclasses import replace
from typing import Any

from autocompress.profiles.environment import Environment
from autocompress.profiles.measurement import Measurement, PairBlocks, TimingConfig

ENVIRONMENT = Environment(
    cpu_model="Test CPU",
    flags=("avx2", "avx512_vnni"),
    governor=None,
    threads=1,
    cores=(1,),
    runtime="onnxruntime",
    runtime_version="1.31.1",
    python_version="3.11.7",
    os="Linux",
    load_1m=0.5,
    clock_mhz=2000.0,
)


def pair(*candidate: float, baseline: float = 2.0) -> PairBlocks:
    """A pair whose baseline takes `baseline` seconds in every block."""
    steady = (baseline,) * len(candidate)
    return PairBlocks(
        baseline_s=steady, candidate_s=candidate, baseline_wall_s=steady, candidate_wall_s=candidate
    )


def measurement(*ratios: float, **changes: Any) -> Measurement:
    """A measurement with one block per pair, of these ratios; the baseline's reference latency is 10 ms."""
    made = Measurement(
        pairs=tuple(pair(2.0 * ratio) for ratio in ratios),
        timer="thread-cpu",
        timing=TimingConfig(),
        environment=ENVIRONMENT,
        profile_fingerprint="p",
        artifact_digest="a",
        baseline_digest="b",
        baseline_reference_s=0.01,
        peak_memory_bytes=None,
    )
    return replace(made, **changes)
