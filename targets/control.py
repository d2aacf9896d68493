"""A/A controls: a baseline measured beside itself must have the ratio 1, or the machine is too restless."""

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import StageError
from ..profiles.measurement import Measurement

TOLERANCE = 0.01
MEASUREMENTS_COVERED = 10
SECONDS_COVERED = 300.0
PAUSES_S = (1.0, 3.0)  # between the tries of a failing control
PATIENCE_S = 120.0  # how long a command waits for a restless machine
REST_S = 5.0  # between its tries

Result = TypeVar("Result")


class Control:
    """How long the last passed control vouches for the machine: 10 measurements or 5 minutes, whichever ends
    first.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ):
        self._clock = clock
        self._sleep = sleep
        self._passed_at: dict[object, float] = {}
        self._used: dict[object, int] = {}

    def covers(self, subject: object) -> bool:
        """Whether one more measurement of this subject (baseline, batch) is covered; if so, it is counted."""
        passed_at = self._passed_at.get(subject)
        if passed_at is None or self._clock() - passed_at > SECONDS_COVERED:
            return False
        if self._used[subject] >= MEASUREMENTS_COVERED:
            return False
        self._used[subject] += 1
        return True

    def passed(self, subject: object) -> None:
        """A new batch of measurements begins."""
        self._passed_at[subject] = self._clock()
        self._used[subject] = 0

    def run(self, subject: object, measure: Callable[[], Measurement]) -> Measurement:
        """The first A/A measurement within ±1 % out of three tries. StageError of the kind noisy if none
        is.
        """
        ratios = []
        for pause in (*PAUSES_S, None):
            measurement = measure()
            if abs(measurement.ratio - 1) <= TOLERANCE:
                self.passed(subject)
                return measurement
            ratios.append(measurement.ratio)
            if pause is not None:
                self._sleep(pause)
        times = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        raise StageError(
            f"The machine is too restless to measure: the baseline beside itself took {times} times as long "
            f"as itself (1 ± {TOLERANCE} is needed). End other work on it, and try again.",
            stage="measure",
            kind="noisy",
            retryable=True,
        )


def patiently(
    measure: Callable[[], Result],
    note: Callable[[str], None],
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """What `measure` gives, asked again for at most `patience_s` while the machine is too restless, which is
    noted once. StageError of the kind noisy when it stays so.
    """
    began, waits = clock(), False
    while True:
        try:
            return measure()
        except StageError as error:
            if error.kind != "noisy" or clock() - began >= patience_s:
                raise
            if not waits:
                note(f"The machine is restless: waiting up to {patience_s / 60:.2g} min for it. {error}")
            waits = True
        sleep(REST_S)
