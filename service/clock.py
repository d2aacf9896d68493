"""A clock for leases: it goes on evenly when somebody sets the machine's clock."""

import time
from collections.abc import Callable


class SteadyClock:
    """Seconds since 1970 as the machine's clock was when this was made, plus what has passed since then."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic):
        self._steady = steady
        self._start = wall() - steady()

    def __call__(self) -> float:
        return self._start + self._steady()
