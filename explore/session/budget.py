"""Budget: how a search's time is divided, and where it went.

The shares are those of the `front` sampler. What an activity does not use is left for exploring, which has no
limit of its own.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

from ...profiles import format_duration
from ...results.activity import BESIDE, Activity
from ...results.records.point import Point
from ...results.records.reading import Fields
from ...results.records.run import Run
from ...results.run_directory import RunDirectory, read_kept, write_kept
from .clock import Clock

SEARCH_SHARE = 0.85  # of the budget; the rest is for the finalists
LEAST_FINALISTS = 3  # that are looked at longer, even where that exceeds the budget a little
_LOOK = 3.0  # times as long as a candidate is measured, a finalist is looked at
_MOST_FOR_FINALISTS = 1 / 3  # of a budget that is small for what a look takes
SENSITIVITY_SHARE = 0.12
LATENCY_SHARE = 0.10
CHEAP = 0.01  # of the budget: where a candidate takes less, candidates teach as much as tables do
CHEAP_TABLES = 0.6  # of the shares of the tables then: 13 % of the budget
MIDDLING = 0.02  # of the budget: where a candidate takes more, the tables' time is missed by candidates
DEAR = 0.08
DEAR_TABLES = 0.5  # of the shares where a candidate takes as much as that; in between, what lies between
RECOVERY_SHARE = 0.40
_FOR_CANDIDATES = SEARCH_SHARE - SENSITIVITY_SHARE - LATENCY_SHARE
_CANDIDATES = 3  # that a budget must have room for, to be called enough
TABLE_S = 60.0  # for each table of a search whose end is a number of trials
_FILE = "time.json"
_STAGES: Mapping[str, Activity | None] = {  # of an evaluation
    "reconstruct": "database",
    "recover": "recovery",
    "check": "validation",
    "validate": "validation",
    "timing loop": "timing loops",
    "measure": None,  # starting a measurement's sessions and warming them up: other
    "inspect": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Seconds for each part of a search, None where only the number of trials ends it.

    Without recovery its share is explored. `search_share` of the time is for candidates, the rest for the
    finalists.
    """

    total_s: float | None
    recovery: bool = True
    search_share: float = SEARCH_SHARE

    @property
    def search_s(self) -> float | None:
        """The time for everything but the finalists."""
        return None if self.total_s is None else self.search_share * self.total_s

    def candidates_s(self, look_s: float) -> float | None:
        """The time for everything but the finalists, of which one takes `look_s`: a small budget leaves more
        to the least finalists than its usual share.
        """
        if self.total_s is None or self.search_s is None or self.search_share == 1.0:
            return self.search_s
        looks_s = min(LEAST_FINALISTS * look_s, _MOST_FOR_FINALISTS * self.total_s)
        return min(self.search_s, self.total_s - looks_s)

    @property
    def sensitivity_s(self) -> float:
        """The most time for the sensitivity of every level."""
        return TABLE_S if self.total_s is None else SENSITIVITY_SHARE * self.total_s

    @property
    def latency_s(self) -> float:
        """The most time for measurements of the latency table."""
        return TABLE_S if self.total_s is None else LATENCY_SHARE * self.total_s

    def of_tables(self, candidate_s: float) -> float:
        """The share of both that is spent where a candidate takes so long to evaluate."""
        if self.total_s is None:
            return 1.0
        share = candidate_s / self.total_s
        if share < CHEAP:
            return CHEAP_TABLES
        dear = min(1.0, max(0.0, (share - MIDDLING) / (DEAR - MIDDLING)))
        return 1.0 - dear * (1.0 - DEAR_TABLES)

    def is_dear(self, candidate_s: float) -> bool:
        """Whether so few candidates fit that everything before them should be short."""
        return self.total_s is not None and candidate_s > MIDDLING * self.total_s

    @property
    def recovery_s(self) -> float | None:
        """The time for rungs r2 and r3."""
        if not self.recovery:
            return 0.0
        return None if self.total_s is None else RECOVERY_SHARE * self.total_s

    def to_json(self) -> dict[str, float | None]:
        """Seconds by part, for `--dry-run --json`."""
        explored = None
        if self.search_s is not None and self.recovery_s is not None and self.total_s is not None:
            explored = self.search_s - self.sensitivity_s - self.latency_s - self.recovery_s
        return {
            "sensitivity_s": self.sensitivity_s,
            "latency_table_s": self.latency_s,
            "exploring_s": explored,
            "recovery_s": self.recovery_s,
            "finalists_s": None if self.total_s is None else (1 - self.search_share) * self.total_s,
        }


def look_s(points: Sequence[Point]) -> float:
    """How long a look at a finalist will take by what candidates took, 0 without any: it is measured _LOOK
    times as long, and scored on the test split, which has about as many samples as validation.
    """
    if not points:
        return 0.0
    stages = [point.seconds for point in points]
    measured = [each.get("timing loop", 0.0) + each.get("measure", 0.0) for each in stages]
    return _LOOK * fmean(measured) + fmean(each.get("validate", 0.0) for each in stages)


def larger_budget(run: Run) -> str:
    """Why nothing but the original was measured, and a budget that would have been enough: the original, the
    tables and some candidates that take as long as the original.
    """
    original = run.points[0]
    needed_s = (original.elapsed_s + _CANDIDATES * sum(original.seconds.values())) / _FOR_CANDIDATES
    minutes = math.ceil(max(needed_s, 1.0) / 60)
    return (
        f"Nothing but the original was measured: with it {format_duration(original.elapsed_s)} of the budget "
        f"had passed. About {minutes} min would have been enough: the same command with --budget {minutes}m "
        "goes on from here."
    )


def budget_line(plan: Mapping[str, float | None]) -> str:
    """The parts in one line: `sensitivity ≤ 1 min 12 s, latency table ≤ 1 min, exploring (r0, r1) ~3 min 20
    s, …`.
    """
    signs = {"sensitivity_s": "≤ ", "latency_table_s": "≤ "}
    names = {
        "latency_table_s": "latency table",
        "exploring_s": "exploring (r0, r1)",
        "recovery_s": "recovery (r2, r3)",
    }
    return ", ".join(
        f"{names.get(key, key.removesuffix('_s'))} {signs.get(key, '~')}{format_duration(seconds)}"
        for key, seconds in plan.items()
        if seconds
    )


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Seconds by activity over all sessions of a run, kept in time.json. Work in a second process counts
    beside the clock's.
    """

    directory: RunDirectory
    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: RunDirectory, clock: Clock) -> "Ledger":
        """The ledger of the run so far."""
        return cls(
            directory=directory, clock=clock, seconds=read_kept(directory.path / _FILE, _seconds) or {}
        )

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        """Counts the seconds of the block."""
        start = self.clock.elapsed_s
        try:
            yield
        finally:
            self.add({activity: self.clock.elapsed_s - start})

    def add(self, seconds: Mapping[Activity, float]) -> None:
        """Counts seconds, and writes the file."""
        for activity, value in seconds.items():
            self.seconds[activity] = self.seconds.get(activity, 0.0) + value
        write_kept(self.directory.path / _FILE, {"seconds": self.seconds})

    def add_stages(self, stages: Mapping[str, float]) -> None:
        """Counts the stages of an evaluation."""
        totals: dict[Activity, float] = {}
        for stage, value in stages.items():
            activity = _STAGES.get(stage, "build")
            if activity is not None:
                totals[activity] = totals.get(activity, 0.0) + value
        self.add(totals)

    def add_beside(self, stages: Mapping[str, float]) -> None:
        """Counts the work of a second process, which is not part of the clock's time."""
        self.seconds[BESIDE] = self.seconds.get(BESIDE, 0.0) + sum(stages.values())
        write_kept(self.directory.path / _FILE, {"seconds": self.seconds})

    def spent_s(self, activity: Activity) -> float:
        """Seconds so far."""
        return self.seconds.get(activity, 0.0)

    def to_json(self) -> dict[str, float]:
        """Seconds by activity, what no activity accounts for as `other`."""
        here = sum(value for activity, value in self.seconds.items() if activity != BESIDE)
        return {**self.seconds, "other": max(0.0, self.clock.elapsed_s - here)}


def _seconds(fields: Fields) -> dict[str, float]:
    return fields.each("seconds", lambda entries, name: entries.amount(name))
