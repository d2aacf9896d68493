"""Nights on a noisy machine: what a search, a verification and a measurement in turns would say.

The spreads are what was measured of one artifact of `digits` on two shared cores beside other work
(benchmarks/nightly.py says how). Everything of a night shares the night's own drift, so that a second look
right after the first sees most of the same noise.
"""

import random
from dataclasses import dataclass, replace

from autocompress.nightly.steps.in_turns import Turns
from autocompress.results.records.run import Run
from autocompress.tests.nightly.stand_in import SMALL, StandIn, verification

NIGHT = 0.015  # of a ratio from night to night, relative (one standard deviation)
LOOK = 0.010  # of one measurement beside the other, within a night
TURNS = 0.012  # of one round in turns
LOST = 0.15  # how often a search misses a point that it found the night before


@dataclass
class Noise:
    """The noise of one series of nights, and the true state of the world: what an upgrade did to the
    artifact's latency, what was lost of its quality.
    """

    random: random.Random
    drift: float = 1.0
    slower: float = 1.0
    quality: float = 0.98

    def begin_night(self) -> None:
        self.drift = 1 + self.random.gauss(0, NIGHT)

    def look(self) -> float:
        """A factor by which a measured ratio is off."""
        return self.drift * (1 + self.random.gauss(0, LOOK))

    def verified(self) -> dict:
        ratio = 0.5 * self.look()
        return verification(ratio=ratio, quality=self.quality)

    def found(self, task: str) -> Run:
        """What a search finds: the same points, measured with noise, now and then without one of them."""
        points = [
            point for place, point in enumerate(SMALL.points) if place < 3 or self.random.random() > LOST
        ]
        return replace(SMALL, points=tuple(map(self._measured, points)), failures=())

    def _measured(self, point):
        if point.trial == 0:
            return point
        factor = self.look()
        outcomes = {}
        for name, measured in point.measured.items():
            latency = measured.latency
            ends = tuple(end * factor for end in latency.ratio_interval)
            seconds = tuple(end * factor for end in latency.interval_s)
            changed = replace(
                latency,
                ratio=latency.ratio * factor,
                ratio_interval=ends,
                latency_s=latency.latency_s * factor,
                interval_s=seconds,
            )
            outcomes[name] = replace(measured, latency=changed)
        return replace(point, outcomes=outcomes)

    def in_turns(self, *_, **__) -> Turns:
        ratios = tuple(self.slower * (1 + self.random.gauss(0, TURNS)) for _ in range(8))
        return Turns(old_version="1.23.2", new_version="1.24.0", ratios=ratios)

    def beside(self, *_, **__) -> tuple[float, float]:
        """Two artifacts that are in truth equally fast."""
        middle = 1 + self.random.gauss(0, LOOK)
        return middle * 0.985, middle * 1.015


class NoisyStandIn(StandIn):
    """Commands whose measurements have this noise."""

    def __init__(self, place, noise: Noise):
        super().__init__(place, noise.found)
        self.noise = noise

    def _verify(self, words: list[str]) -> dict:
        return self.noise.verified()
