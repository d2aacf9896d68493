"""Boards that are busy or gone: a search goes on without them, and waits only when no target is left.

A board is *away* when it cannot be reached (TargetUnavailable, or a StageError of the kind `device`). What it
should have measured is queued, and `Availability` says when asking again is due. When all targets are away,
nothing can be decided: `Patience` waits, then the search stops like an interrupted one.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import StageError, TargetUnavailable, is_away
from ..profiles import format_duration

PAUSES_S = (5.0, 10.0, 20.0, 40.0, 60.0)  # between the tries of one absence; the last one repeats
PATIENCE_S = 600.0

Say = Callable[[str], None]
T = TypeVar("T")


class Patience:
    """Waits while all targets are away: at most `limit_s` (None: PATIENCE_S), with growing pauses.

    A limit of 0 is for targets on this machine: what is wrong with them does not pass by waiting.
    """

    def __init__(
        self,
        *,
        limit_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._limit_s = PATIENCE_S if limit_s is None else limit_s
        self._clock = clock
        self._sleep = sleep

    def until_back(self, action: Callable[[], T], *, name: str, say: Say) -> T:
        """What the action returns, tried again while it says that its targets are away. TargetUnavailable
        when they stay away. `name` is that of the target, or of several.

        Every other error of the action is raised at once.
        """
        started, tries = self._clock(), 0
        while True:
            try:
                return action()
            except (StageError, TargetUnavailable) as error:
                if not is_away(error):
                    raise
                pause = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
                tries += 1
                left_s = self._limit_s - (self._clock() - started)
                if left_s < pause:
                    state = "is away" if self._limit_s else "cannot be used"
                    raise TargetUnavailable(f"Target '{name}' {state}: {error}") from error
                say(f"target '{name}' is away, waiting for it for {format_duration(left_s)} at most: {error}")
                self._sleep(pause)


class Availability:
    """Which targets are away, why, and when each is due to be asked again."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._due_at: dict[str, float] = {}

    def reason(self, name: str) -> str | None:
        """Why the target was away when it was last asked; None when it answered."""
        return self._reasons.get(name)

    def gone(self, name: str, reason: str) -> None:
        """The target could not be reached just now."""
        tries = self._tries.get(name, 0)
        self._reasons[name], self._tries[name] = reason, tries + 1
        self._due_at[name] = self._clock() + PAUSES_S[min(tries, len(PAUSES_S) - 1)]

    def answered(self, name: str) -> None:
        """The target was reached."""
        self._reasons.pop(name, None)
        self._tries.pop(name, None)
        self._due_at.pop(name, None)

    def ask_all(self) -> None:
        """Makes every target that is away due now."""
        self._due_at = dict.fromkeys(self._due_at, self._clock())

    def may_ask(self, name: str) -> bool:
        """Whether the target answered when it was last asked, or that was long enough ago."""
        return name not in self._due_at or self._clock() >= self._due_at[name]

    def due(self) -> bool:
        """Whether a target that is away may be asked again."""
        return any(self._clock() >= at for at in self._due_at.values())
