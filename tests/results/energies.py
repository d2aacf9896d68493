"""Energies for runs and measurements of tests."""

from dataclasses import replace

from autocompress.profiles import Measurement
from autocompress.results.records.energy import Energy
from autocompress.results.records.run import Run
from autocompress.tests.profiles.records import measurement, pair
from autocompress.tests.results.sample_run import with_latency

SENSOR = "rapl: package-0, dram-0"


def energy(ratio: float, *, original_j: float = 4e-3, half_width: float = 0.02) -> Energy:
    """The energy of a point with this ratio to the original's."""
    low, high = ratio * (1 - half_width), ratio * (1 + half_width)
    return Energy(
        energy_j=ratio * original_j,
        interval_j=(low * original_j, high * original_j),
        ratio=ratio,
        ratio_interval=(low, high),
        sensor=SENSOR,
        idle_w=3.2,
    )


def with_energies(run: Run, ratios: dict[int, float]) -> Run:
    """The run on a target where a sensor counted these trials."""
    for trial, ratio in ratios.items():
        run = with_latency(run, trial, energy=energy(ratio))
    return run


def counted(*ratios: float) -> Measurement:
    """A measurement of pairs with these ratios of latency, and half as large ones of energy."""
    pairs = tuple(replace(pair(ratio), baseline_j=(2e-3,), candidate_j=(1e-3 * ratio,)) for ratio in ratios)
    conditions = {"energy_sensor": SENSOR, "idle_w": 3.2}
    return measurement(*ratios, pairs=pairs, baseline_reference_j=2e-3, conditions=conditions)
