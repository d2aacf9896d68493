"""Statistics of samples: how inputs and answers are distributed, for the monitor of a bundle.

A run keeps them in `statistics/`: inputs.json of the calibration inputs, <digest>.json of what an artifact
answered to the validation split. They are quantiles and shares; no sample is kept. `pick` puts them into the
manifest (deploy/bundle.py), and `drift` compares.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..results.records.reading import Fields
from ..results.records.statistics import (
    MOST_CHANNELS,
    MOST_CLASSES,
    ChannelStatistics,
    SampleStatistics,
    TensorStatistics,
)
from ..results.run_directory import read_kept, write_kept

FOLDER = "statistics"
BINS = 20
VALUES = 256  # of a channel of one sample
MOST_VALUES = 8192  # of a sample, of all its channels
SAMPLES = 2000  # at most, about
_ROOM = 1e-4  # of the range: a value that is computed a little otherwise falls between the same edges

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsFolder:
    """The folder of a run directory; what is there already stays."""

    path: Path

    @classmethod
    def of_run(cls, run: Path) -> "StatisticsFolder":
        """That of the run directory `run`."""
        return cls(path=run / FOLDER)

    def keep_inputs(self, groups: Sequence[Sequence[Array]], *, layout: str | None) -> None:
        """Keeps what the inputs of calibration are like: for each shape of samples an array for each input.
        `layout` is that of the task's preprocessing.
        """
        if not self._file("inputs").exists():
            parts = zip(*groups, strict=True)
            self._keep("inputs", [tensor_statistics(list(part), layout=layout) for part in parts])

    def outputs(self, digest: str, *, samples: int) -> "SampledOutputs | None":
        """What to tell the answers of the artifact with this digest to, so many samples; None where they are
        known.
        """
        file = self._file(digest)
        keep = partial(self._keep, digest)
        return None if file.exists() else SampledOutputs(samples=samples, keep=keep)

    def read(self, digest: str, *, inputs: Sequence[str], outputs: Sequence[str]) -> SampleStatistics | str:
        """What is kept of the inputs and of the artifact's answers, by these names; or why there is none."""
        of_inputs, of_outputs = self._named("inputs", inputs), self._named(digest, outputs)
        if of_inputs is None and of_outputs is None:
            return "the run is of a version of autocompress that kept none"
        return SampleStatistics(inputs=of_inputs or (), outputs=of_outputs or ())

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def _keep(self, name: str, statistics: Sequence[TensorStatistics | None]) -> None:
        self.path.mkdir(exist_ok=True)
        write_kept(self._file(name), {"tensors": [one and asdict(one) for one in statistics]})

    def _named(self, name: str, names: Sequence[str]) -> tuple[TensorStatistics, ...] | None:
        stored = read_kept(self._file(name), _read)
        if stored is None or len(stored) != len(names):
            return None
        return tuple(replace(one, name=name) for one, name in zip(stored, names, strict=True) if one)


def _read(fields: Fields) -> list[TensorStatistics | None]:
    tensors: list[Any] = fields.value("tensors")
    if not isinstance(tensors, list):
        return []
    return [None if one is None else TensorStatistics.from_json(Fields(one, "tensors")) for one in tensors]


@dataclass(slots=True, kw_only=True)
class SampledOutputs:
    """The outputs of an artifact, as they come; `keep` gets their statistics in the end."""

    samples: int
    keep: Callable[[Sequence[TensorStatistics | None]], None]
    _tensors: list["SampledTensor"] = field(default_factory=list)

    def add(self, outputs: Sequence[Array | list[Array]]) -> None:
        """Takes the outputs of some samples; a list has an array for each."""
        if not self._tensors:
            self._tensors = [SampledTensor(samples=self.samples, top=True) for _ in outputs]
        for tensor, output in zip(self._tensors, outputs, strict=True):
            for part in [one[None] for one in output] if isinstance(output, list) else [output]:
                tensor.add(part)

    def done(self) -> None:
        """To be called when all were added."""
        self.keep([tensor.statistics() for tensor in self._tensors])


def tensor_statistics(
    parts: Sequence[Array], *, layout: str | None = None, top: bool = False
) -> TensorStatistics | None:
    """What the values of a tensor are like, given as one array of samples for each shape; None where there is
    no number. `top`: also which value is the largest.
    """
    tensor = SampledTensor(samples=sum(map(len, parts)), layout=layout, top=top)
    for part in parts:
        tensor.add(part)
    return tensor.statistics()


class SampledTensor:
    """Values of a tensor of `samples` samples, chosen as they come."""

    def __init__(self, *, samples: int, layout: str | None = None, top: bool = False):
        self._share, self._layout = SAMPLES / max(1, samples), layout
        self._counts: Array | None = np.zeros(0, int) if top else None
        self._random = np.random.default_rng(0)
        self._samples, self._values = 0, list[Array]()
        self._axes: set[tuple[int, int | None]] = set()

    def add(self, part: Array) -> None:
        """Takes some samples of one shape."""
        self._count(part)
        few = part if self._share >= 1 else part[self._random.random(len(part)) < self._share]
        if part.dtype.kind in "fiub" and len(few):
            axis = _channel_axis(part, self._layout)
            self._axes.add((part.ndim, axis))
            self._samples += len(few)
            self._values.append(_values_by_channel(few, axis, self._random))

    def statistics(self) -> TensorStatistics | None:
        """What was seen; None where there was no number. Without channels where parts differ in them."""
        if not self._values or not any(values.size for values in self._values):
            return None
        alike = len(self._axes) == 1 and len({len(values) for values in self._values}) == 1
        values = np.concatenate([x if alike else x.reshape(1, -1) for x in self._values], axis=1)
        channels = tuple(_channel(channel) for channel in values.astype(np.float64))
        axis = next(iter(self._axes))[1] if alike else None
        counts = self._counts
        top = None
        if counts is not None and len(counts):
            top = tuple(np.round(counts / counts.sum(), 6).tolist())
        return TensorStatistics(name="", axis=axis, samples=self._samples, channels=channels, top=top)

    def _count(self, part: Array) -> None:
        """How often each class has the largest value, where the tensor has one value for each."""
        if self._counts is None:
            return
        classes = part.shape[1] if part.ndim == 2 else 0
        if not 2 <= classes <= MOST_CLASSES or len(self._counts) not in (0, classes):
            self._counts = None
            return
        counted = np.bincount(part.argmax(1), minlength=classes)
        self._counts = counted if not len(self._counts) else self._counts + counted


def _channel_axis(part: Array, layout: str | None) -> int | None:
    """The axis of the channels: the second, or the last where the task says so; None where there are more
    than MOST_CHANNELS, or whole numbers such as those of words.
    """
    if part.ndim < 2 or part.dtype.kind != "f":
        return None
    axis = part.ndim - 1 if layout == "NHWC" else 1
    return axis if 1 <= part.shape[axis] <= MOST_CHANNELS else None


def _values_by_channel(part: Array, axis: int | None, random: np.random.Generator) -> Array:
    """Some values of each channel: VALUES of each sample at most."""
    by_channel = part.reshape(len(part), 1, -1)
    if axis is not None:
        moved = np.moveaxis(part, axis, 1)
        by_channel = moved.reshape(len(part), moved.shape[1], -1)
    places, most = np.arange(by_channel.shape[2]), max(1, min(VALUES, MOST_VALUES // by_channel.shape[1]))
    if len(places) > most:
        places = random.choice(places, most, replace=False)
    return np.moveaxis(by_channel[:, :, places], 1, 0).reshape(by_channel.shape[1], -1)


def _channel(values: Array) -> ChannelStatistics:
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.zeros(1)
    low, high = float(values.min()), float(values.max())
    room = _ROOM * ((high - low) or max(1.0, abs(low)))
    inner = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]) + room
    edges = np.unique([float(f"{edge:.9g}") for edge in (low - room, *inner, high + room)])
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    shares = counts / counts.sum()
    return ChannelStatistics(edges=tuple(edges.tolist()), shares=tuple(np.round(shares, 6).tolist()))
