"""Point: a candidate of a run, with its numbers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..compress.recipe import Recipe
from ..errors import InputError
from ..files import file_below
from ..results.formats import label_of
from ..results.records.point import Point as PointRecord
from ..results.records.reading import Interval
from ..results.records.run import Run as RunRecord
from ..results.view import PointOn, RunOn
from .showing import point_html


@dataclass(frozen=True, eq=False)
class Point:
    """A candidate. Of several targets its numbers are those of the one on which it is slowest, beside the
    original; of the runtimes of one device those of the one in which it is fastest.

    `on(target)` has those of another.
    """

    directory: Path
    run: RunRecord
    record: PointRecord
    target: str

    def __repr__(self) -> str:
        ratio = f"{'~' if self.predicted else ''}{self.latency_ratio:.3f}"
        numbers = f"drop {self.drop:.4g}, latency {ratio}×, {self.size_bytes} bytes"
        return f"<Point {self.label} on {self.target}: {numbers}>"

    def _repr_html_(self) -> str:
        return point_html(self.view)

    def on(self, target: str) -> "Point":
        """The same candidate on another target of the run. InputError where it has no numbers."""
        if target not in self.record.measured:
            names = " or ".join(map(repr, self.record.measured))
            raise InputError(f"Trial {self.trial} was not measured on {target!r}: choose {names}.")
        return Point(directory=self.directory, run=self.run, record=self.record, target=target)

    @cached_property
    def view(self) -> PointOn:
        """The point and its numbers on its target."""
        return RunOn.of(self.run, self.target).on(self.record)

    @property
    def trial(self) -> int:
        """The trial's number; 0 is the original, a fine-tuned point is below 0."""
        return self.record.trial

    @property
    def label(self) -> str:
        """`trial 12`, `original`, `uniform int8`."""
        return label_of(self.view, self.view.view)

    @property
    def recipe(self) -> Recipe:
        """What was done to the model."""
        return self.record.recipe

    @property
    def quality(self) -> float:
        """The task's metric on validation."""
        return self.view.quality.validation

    @property
    def test_quality(self) -> float | None:
        """The metric on the test split; None where it was not scored there."""
        return self.view.quality.test

    @property
    def drop(self) -> float:
        """The loss against the original on validation, in the metric's unit (0.01 is one percentage
        point).
        """
        return self.view.drop

    @property
    def drop_interval(self) -> Interval | None:
        """The 95 % interval of the drop; None for the original."""
        return self.view.drop_interval

    @property
    def latency_s(self) -> float:
        """Seconds of one inference; in the hour of the search, if they were measured."""
        return self.view.latency.seconds

    @property
    def latency_ratio(self) -> float:
        """The latency relative to the original's, measured in turns; of a search over the runtimes of a
        device, to the original's in the runtime where that is fastest.
        """
        return self.view.latency.ratio * self.run.scale(self.target).ratio

    @property
    def predicted(self) -> bool:
        """Whether the latency is predicted, not measured."""
        return self.view.predicted

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self.view.size_bytes

    @property
    def size_ratio(self) -> float:
        """The size relative to the original's, of the same one."""
        return self.run.size_ratio(self.view.measured, self.target)

    @property
    def path(self) -> Path:
        """The model's file in the run directory. RunDirectoryError when the run names one outside of it."""
        return file_below(self.directory, self.view.artifact.file)
