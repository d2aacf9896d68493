"""Run: a run directory, opened to be looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import file_below
from ..profiles.measurement import Measurement
from ..results.choosing.choose import limits_for
from ..results.choosing.recommended import recommended
from ..results.pick import Objective, pick, resolved
from ..results.records.point import Point as PointRecord
from ..results.records.run import Run as RunRecord
from ..results.run_directory import read_run
from ..results.target_limits import limits_of
from .comparing import Comparison
from .point import Point
from .showing import run_html
from .tables import Table, layers_table, points_table

if TYPE_CHECKING:
    import pandas

OBJECTIVES: tuple[Objective, ...] = ("latency", "size", "drop")


@dataclass(frozen=True, eq=False)
class Run:
    """A run as it was when it was opened. Only data are read: nothing that the directory names is run or
    loaded.
    """

    path: Path
    record: RunRecord

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a directory, of this version or an earlier one. RunDirectoryError when there is none."""
        return cls(path=Path(path), record=read_run(Path(path)))

    def __repr__(self) -> str:
        counts = f"{len(self.points)} points, {len(self.front)} on the front"
        return f"<Run {self.path} on {', '.join(self.targets)}: {counts}, {self.status}>"

    def _repr_html_(self) -> str:
        return run_html(self.record, [point.view for point in self.points])

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of its targets."""
        return self.record.target_names

    @property
    def status(self) -> str:
        """`running`, `finished` or `interrupted`."""
        return self.record.status

    @property
    def hypervolume(self) -> float:
        """The normalized hypervolume of all points (docs/search.md)."""
        return self.record.hypervolume

    @cached_property
    def _by_trial(self) -> dict[int, Point]:
        return {record.trial: self._point(record) for record in self.record.points}

    @property
    def points(self) -> tuple[Point, ...]:
        """All candidates with a latency, the original first."""
        return tuple(self._by_trial.values())

    @property
    def front(self) -> tuple[Point, ...]:
        """Those that no other one dominates and that meet the search's limits, the fastest first. Of a search
        over the runtimes of a device a point is in one of them, and a trial may be there twice.
        """
        return tuple(self._shown(record) for record in self.record.front)

    @property
    def original(self) -> Point:
        """The model without compression."""
        return self.points[0]

    @property
    def recommended(self) -> Point:
        """The point that `front` marks with ★."""
        return self._shown(recommended(self.record).point)

    def point(self, trial: int) -> Point:
        """The candidate of a trial. InputError when it was not measured."""
        if trial not in self._by_trial:
            raise InputError(f"The run has no measured trial {trial}: run.points lists them.")
        return self._by_trial[trial]

    def pick(
        self,
        *,
        max_drop: str | None = None,
        max_latency: str | None = None,
        max_size: str | None = None,
        max_energy: str | None = None,
        minimize: Objective = "latency",
        allow_slower: bool = False,
    ) -> Point:
        """The best point within limits, by the rule of the command: texts like `1pp`, `2ms` or
        `cpu=2ms,edge=9ms`, `200KB`, `5mJ`. A limit that is not given is the search's; without one on the
        drop, 1 pp. Of points that latency does not tell apart the most accurate is taken, and none that may
        be slower than the original (`allow_slower`: any).

        InputError for a limit without a unit, NothingMeets (`results.pick`) when nothing meets them.
        """
        if minimize not in OBJECTIVES:
            raise InputError(f"minimize={minimize!r} is unknown: choose {', '.join(OBJECTIVES)}.")
        limits = limits_of(
            self.targets,
            max_drop=max_drop,
            max_latency=[max_latency] if max_latency else [],
            max_size=[max_size] if max_size else [],
            max_energy=[max_energy] if max_energy else [],
        )
        within = limits_for(self.record, resolved(self.record, limits))
        best = pick(self.record, within, minimize=minimize, allow_slower=allow_slower)
        return self._shown(best)

    def bundle(
        self, point: Point, out: str | Path, *, packed: bool = False, sign: str | Path | None = None
    ) -> Path:
        """Writes the deployment bundle of a point for its target to a new or empty folder, and returns the
        model's file there. `sign` is a private key of OpenSSH that signs it. InputError or
        RunDirectoryError says why it cannot be written.
        """
        from ..deploy.bundle import write_bundle

        original, key = self.original.on(point.target), None if sign is None else Path(sign)
        return write_bundle(
            point.view, point.path, Path(out), original=original.path, packed=packed, sign=key, run=self.path
        )

    def report(self, out: str | Path | None = None) -> Path:
        """Writes the report (one HTML file; report.html of the run if `out` is not given) and returns its
        path.
        """
        from ..results.report import write_report

        path = self.path / "report.html" if out is None else Path(out)
        write_report(self.record, path)
        return path

    def compare(
        self, *others: "Run | str | Path", policies: Sequence[str] = (), tolerance: Sequence[str] = ()
    ) -> Comparison:
        """This run beside later ones, in the order of time; the last is judged against each earlier one.
        Others are runs or the paths of runs or bundles; policies and tolerances are texts as the command
        `compare` takes them. InputError for what does not fit.
        """
        from ..deploy.sides import side_at, side_of_run

        sides = [
            side_of_run(other.path, other.record) if isinstance(other, Run) else side_at(Path(other))
            for other in (self, *others)
        ]
        return Comparison.of(sides, policies, tolerance)

    def table(self) -> Table:
        """A row for each point and target: numbers with their intervals, and what the recipe does."""
        return points_table(self.record)

    def to_pandas(self) -> "pandas.DataFrame":
        """`table()` as a data frame."""
        return self.table().to_pandas()

    def layers(self, point: Point) -> Table:
        """A row for each layer of a point."""
        return layers_table(point.view)

    def measurements(self) -> Iterator[Measurement]:
        """All latency measurements of the run, with their raw blocks of seconds, in no particular order."""
        from ..targets.store import measurements_in

        file = file_below(self.path, "measurements.db")
        if file.is_file():
            yield from measurements_in(file)

    def _shown(self, record: PointRecord) -> Point:
        """The point of a record; of a placement the candidate in that runtime."""
        return self._by_trial[record.trial] if self.record.device is None else self._point(record)

    def _point(self, record: PointRecord) -> Point:
        measured = self.record.measured(record)
        slowest = max(measured, key=lambda name: measured[name].latency.ratio)
        return Point(directory=self.path, run=self.record, record=record, target=slowest)
