"""Which pairs of a measurement are dropped because the board throttled while they were timed.

A momentary over-current (oc3) ends by itself within milliseconds, and an Orin Nano in MAXN_SUPER may count
several a second. Intel's counters cover all cores and count moments, too: a laptop that counts all the time
could not be measured otherwise. Both throttle a pair only where fixed clocks fell below what they were. Every
event is kept in the conditions of the measurement.
"""

from __future__ import annotations

import time
from typing import Any

from ..runtime import RefusedError
from .state import INTEL, OC_EVENTS, State, read_state
from .tegrastats import tegrastats

PAUSE_S = 1.0  # after a throttled pair: continuing at once would only keep it hot
MOMENTARY = frozenset({OC_EVENTS["oc3"], *INTEL})
FALLEN = 0.98  # of a fixed clock: less is a clock that fell
REMEDIES = {
    "voltage": "use a stronger power supply and a short cable",
    "current": "choose a lower power mode (sudo nvpmodel -m ID) or a stronger power supply",
    "heat": "cool it better (fan, heat sink, air) or choose a lower power mode",
}


def throttling_between(before: State, after: State) -> list[str]:
    """What throttled the board between two states, or did at one of them; empty if nothing did."""
    risen = set(events_between(before, after))
    if not clocks_fell(before, after):
        risen -= MOMENTARY
    return sorted({*risen, *before.active, *after.active})


def events_between(before: State, after: State) -> dict[str, int]:
    """By counter, how many events were counted between two states; counters that stand still are left out."""
    counted = {name: count - before.counters.get(name, 0) for name, count in after.counters.items()}
    return {name: count for name, count in counted.items() if count > 0}


def clocks_fell(before: State, after: State) -> bool:
    """Whether a clock is lower that was held at one frequency; free clocks come and go with the load, which
    says nothing.
    """
    earlier, now = before.clocks_mhz, after.clocks_mhz
    fallen = [name for name in earlier.keys() & now.keys() if now[name] < FALLEN * earlier[name]]
    return bool(before.clocks_fixed and fallen)


class Watch:
    """Looks at the board between the pairs of a measurement. `dropped` are the reasons of each pair that was
    thrown away.
    """

    def __init__(self, root: str = "/"):
        self._root = root
        self.first = self._last = read_state(root)
        self.dropped: list[list[str]] = []
        self._tegrastats = tegrastats(root)

    def throttled(self) -> bool:
        """Whether the board throttled since the last call; the pair of that time is not to be kept."""
        now = read_state(self._root)
        reasons = throttling_between(self._last, now)
        self._last = now
        if reasons:
            self.dropped.append(reasons)
        return bool(reasons)

    def rest(self, remaining_s: float, *, pairs: int) -> None:
        """A pause after a throttled pair. RefusedError of the kind noisy if no time remains, and there are
        fewer than two good `pairs`.
        """
        if remaining_s <= 0 and pairs < 2:
            raise RefusedError(self._complaint(pairs), kind="noisy")
        time.sleep(max(0.0, min(PAUSE_S, remaining_s)))
        self._last = read_state(self._root)

    def conditions(self) -> dict[str, Any]:
        """What a measurement keeps of the board's condition: Measurement.conditions."""
        first, last = self.first, self._last
        ends = [self._tegrastats, tegrastats(self._root)]
        return {
            "power_mode": last.power_mode,
            "clocks_fixed": last.clocks_fixed,
            "clocks_mhz": [first.clocks_mhz, last.clocks_mhz],
            "temperatures_c": [first.temperatures_c, last.temperatures_c],
            "dropped_pairs": len(self.dropped),
            "events": events_between(first, last),
            "throttled_by": self._reasons(),
            **({"tegrastats": ends} if any(ends) else {}),
        }

    def _reasons(self) -> list[str]:
        return sorted({reason for reasons in self.dropped for reason in reasons})

    def _complaint(self, pairs: int) -> str:
        """A sentence about a measurement of which too many pairs were throttled."""
        reasons = self._reasons()
        hottest = max(self._last.temperatures_c.items(), key=lambda zone: zone[1], default=None)
        warmth = f", {hottest[0]} at {hottest[1]:.0f} °C" if hottest else ""
        mode = self._last.power_mode
        named = f" in power mode {mode}" if mode else ""
        remedies = dict.fromkeys(REMEDIES[kind_of(reason)] for reason in reasons)
        return (
            f"The device throttled{named} during {len(self.dropped)} of {len(self.dropped) + pairs} pairs "
            f"({', '.join(reasons)}{warmth}): {'; '.join(remedies)}; then try again."
        )


def kind_of(reason: str) -> str:
    """What a reason of throttling comes from: voltage, current or heat."""
    return next((kind for kind in ("voltage", "current") if kind in reason), "heat")
