"""Statistics of samples: how inputs and answers are distributed, for the monitor of a bundle.

A run keeps them in `statistics/`: inputs.json of the calibration inputs, <digest>.json of what an artifact
answered to the validation split. They are quantiles and shares; no sample is kept. `pick` puts them into the
manifest (deploy/bundle.py), and `drift` compares.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
SAMPLES = 2000  # at most
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

    def keep_outputs(self, digest: str, outputs: Sequence[Array | list[Array]]) -> None:
        """Keeps what the artifact with this digest answered."""
        if self._file(digest).exists():
            return
        parts = [
            [sample[None] for sample in output[:SAMPLES]] if isinstance(output, list) else [output]
            for output in outputs
        ]
        self._keep(digest, [tensor_statistics(part, top=True) for part in parts])

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


def tensor_statistics(
    parts: Sequence[Array], *, layout: str | None = None, top: bool = False
) -> TensorStatistics | None:
    """What the values of a tensor are like, given as one array of samples for each shape; None where there is
    no number. `top`: also which value is the largest.
    """
    if parts[0].dtype.kind not in "fiub":
        return None
    axis = _channel_axis(parts, layout)
    samples, chosen, random = 0, [], np.random.default_rng(0)
    for part in parts:
        few = part if len(part) <= SAMPLES else part[random.choice(len(part), SAMPLES, replace=False)]
        samples += len(few)
        chosen.append(_values_by_channel(few, axis, random))
    values = np.concatenate(chosen, axis=1)
    if not values.size:
        return None
    channels = tuple(_channel(channel) for channel in values.astype(np.float64))
    classes = _classes(parts) if top else None
    return TensorStatistics(name="", axis=axis, samples=samples, channels=channels, top=classes)


def _channel_axis(parts: Sequence[Array], layout: str | None) -> int | None:
    """The axis of the channels: the second, or the last where the task says so; None where it has several
    sizes, more than MOST_CHANNELS, or whole numbers such as those of words.
    """
    dimensions = {part.ndim for part in parts}
    if dimensions != {parts[0].ndim} or parts[0].ndim < 2 or parts[0].dtype.kind != "f":
        return None
    axis = parts[0].ndim - 1 if layout == "NHWC" else 1
    sizes = {part.shape[axis] for part in parts}
    return axis if len(sizes) == 1 and 1 <= max(sizes) <= MOST_CHANNELS else None


def _values_by_channel(part: Array, axis: int | None, random: np.random.Generator) -> Array:
    """Some values of each channel: VALUES of each sample at most."""
    by_channel = part.reshape(len(part), 1, -1)
    if axis is not None:
        moved = np.moveaxis(part, axis, 1)
        by_channel = moved.reshape(len(part), moved.shape[1], -1)
    places = np.arange(by_channel.shape[2])
    if len(places) > VALUES:
        places = random.choice(places, VALUES, replace=False)
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


def _classes(parts: Sequence[Array]) -> tuple[float, ...] | None:
    """How often each class has the largest value, where the tensor has one value for each."""
    shapes = {part.shape[1:] for part in parts}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 1 or not 2 <= shape[0] <= MOST_CLASSES:
        return None
    counts = sum(np.bincount(part.argmax(1), minlength=shape[0]) for part in parts)
    return tuple(np.round(counts / np.sum(counts), 6).tolist())
