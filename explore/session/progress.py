"""Progress: what is shown of a search while it runs; here one line per trial, or nothing. live.py shows it on
a terminal, events.py to a program.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TextIO

from ...profiles import format_duration
from ...text.printable import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """A point of the front so far, its numbers as text; `numbers` are the same for a program."""

    trial: int
    quality: str
    drop: str
    latency: str
    size: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A search at one moment. `share` (0..1) and `left_s` are None when neither budget nor number of trials
    is known.

    `hypervolumes` are those of each target alone where there are several. `time` are the seconds by activity
    so far, `queued` the measurements that wait for a target, by its name; `trial` is the last that ended.
    """

    finished: int
    failed: int
    screened: int
    hypervolume: float
    elapsed_s: float
    share: float | None
    left_s: float | None
    front: Sequence[FrontRow]
    time: Mapping[str, float] = field(default_factory=dict)
    queued: Mapping[str, int] = field(default_factory=dict)
    hypervolumes: Mapping[str, float] = field(default_factory=dict)
    trial: int | None = None

    def after(self, passed_s: float) -> "Status":
        """The search `passed_s` later, in which no trial ended: the time left and the share go on evenly."""
        if self.share is None or self.left_s is None:
            return replace(self, elapsed_s=self.elapsed_s + passed_s)
        left_s = max(0.0, self.left_s - passed_s)
        done = 1 - left_s / self.left_s if self.left_s else 1.0
        return replace(
            self,
            elapsed_s=self.elapsed_s + passed_s,
            left_s=left_s,
            share=self.share + done * (1 - self.share),
        )

    def summary(self) -> str:
        """One line: trials, front, hypervolume, what is queued, time left."""
        parts = [f"{self.finished} measured"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.screened} screened out"] if self.screened else []
        parts += [f"{len(self.front)} on the front", f"hypervolume {self.hypervolume:.3f}"]
        parts[-1] += _each(self.hypervolumes)
        parts += [f"{count} queued for {name}" for name, count in self.queued.items()]
        if self.left_s is not None:
            parts.append(f"{format_duration(round(self.left_s))} left" if self.left_s >= 1 else "finishing")
        return ", ".join(parts)


def _each(hypervolumes: Mapping[str, float]) -> str:
    """` (cpu 0.210, edge 0.190)`; nothing with one target."""
    each = ", ".join(f"{name} {value:.3f}" for name, value in hypervolumes.items())
    return f" ({each})" if each else ""


class Progress(ABC):
    """Shows a search. A context manager; all methods return at once and never raise for what they show: a
    text is one line, in which nothing acts.
    """

    _status: Status | None = None
    _elapsed: Callable[[], float] | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def began(self, status: Status, elapsed: Callable[[], float]) -> None:
        """The search begins, or goes on, with this status; `elapsed` says how many seconds it took."""
        self._status, self._elapsed = status, elapsed

    def now(self) -> Status | None:
        """The status at this moment; None before the search begins."""
        if self._status is None or self._elapsed is None:
            return self._status
        return self._status.after(max(0.0, self._elapsed() - self._status.elapsed_s))

    @abstractmethod
    def stage(self, text: str) -> None:
        """What is being done now."""

    def waiting(self, text: str) -> None:
        """That nothing is done but waiting, shown in place of the stage until an empty text ends it."""
        return None

    @abstractmethod
    def note(self, text: str) -> None:
        """Something that should stay readable: a warning, a failure."""

    @abstractmethod
    def finished(self, line: str, status: Status) -> None:
        """A trial ended, described by `line`."""


class QuietProgress(Progress):
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def finished(self, line: str, status: Status) -> None:
        """Nothing."""


class PlainProgress(Progress):
    """One line for each trial and note: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr

    def stage(self, text: str) -> None:
        """Nothing: stages come too often for a log."""

    def note(self, text: str) -> None:
        """The text as a line."""
        print(printable(text), file=self._stream, flush=True)

    def finished(self, line: str, status: Status) -> None:
        """The trial and the summary as a line."""
        print(printable(f"{line}  [{status.summary()}]"), file=self._stream, flush=True)
