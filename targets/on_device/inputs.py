"""What a model is run with: stored samples if there are any, else seeded random ones."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np

from .runtime import Feeds, Input, RefusedError, Request

Size = Sequence[Sequence[int]]  # [input, dimension, size] of each free dimension


def sizes_of(request: Request) -> list[tuple[float, Size]]:
    """The sizes of free dimensions that a request asks for, each with its weight; the heaviest first."""
    asked = [(weight, size) for weight, size in request.get("sizes") or [[1.0, []]]]
    return sorted(asked, key=lambda one: -one[0])


def require_batch(inputs: Sequence[Input], batch: int, shapes: dict[str, list[int]]) -> None:
    """Refuses a batch size other than the one that the model fixes; an input in `shapes` is the caller's
    business.
    """
    for declared in inputs:
        fixed = declared.shape[0] if declared.shape else None
        if isinstance(fixed, int) and fixed != batch and declared.name not in shapes:
            raise RefusedError(
                f"The model's input {declared.name!r} has the fixed batch size {fixed}, not {batch}: "
                f"ask for batch {fixed}, or export the model with a dynamic batch dimension.",
                kind="input",
            )


def random_feeds(inputs: Sequence[Input], batch: int, shapes: dict[str, list[int]], size: Size = ()) -> Feeds:
    """Seeded random arrays for every input: dynamic dimension 0 is the batch, others must be in `size`, or
    their input named in `shapes`.
    """
    rng, feeds = np.random.default_rng(0), {}
    for index, declared in enumerate(inputs):
        shape = list(shapes.get(declared.name) or ([batch, *declared.shape[1:]] if declared.shape else []))
        for at, dim, length in size:
            if at == index:
                shape[dim] = length
        if not all(isinstance(size, int) for size in shape):
            example = ",".join(str(size) if isinstance(size, int) else "32" for size in shape)
            raise RefusedError(
                f"The model's input {declared.name!r} has the dynamic shape {list(declared.shape)}: "
                f"say its size with --shape {declared.name}={example}",
                kind="input",
            )
        dtype = np.dtype(declared.dtype)
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[declared.name] = np.ascontiguousarray(values, dtype=dtype)
    return feeds


def stored_arrays(path: str | None) -> list[Any] | None:
    """The input arrays "0", "1" … of an .npz file, or of a folder of .npy files (mapped, not read). None
    without a path. Of samples of several shapes, those of the first.
    """
    return next(stored_groups(path)) if path else None


def stored_groups(path: str) -> Iterator[list[Any]]:
    """The input arrays of each shape: after those of `stored_arrays` "1_0", "1_1" …, "2_0" and so on."""
    if Path(path).is_dir():
        files = {file.stem: file for file in Path(path).glob("*.npy")}
        for names in named_groups(files):
            yield [np.load(files[name], mmap_mode="r", allow_pickle=False) for name in names]
        return
    with np.load(path, allow_pickle=False) as archive:
        for names in named_groups(archive.files):
            yield [archive[name] for name in names]


def named_groups(names: Iterable[str]) -> list[list[str]]:
    """Those of the names that are an input's, in the order of the inputs, for each shape of samples."""
    places: dict[tuple[int, int], str] = {}
    for name in names:
        group, _, index = name.rpartition("_")
        if index.isdigit() and (not group or group.isdigit()):
            places[int(group or 0), int(index)] = name
    groups = sorted({group for group, _ in places})
    return [[places[place] for place in sorted(places) if place[0] == group] for group in groups]


class Picked:
    """Which samples of a split are asked for: those whose number, times the golden ratio, has a fractional
    part from `low` up to `high`, both in units of 2⁻³².

    So each range takes its share of every stretch of the split, whatever its order and length; ranges from 0
    are nested. (Multiples of the golden ratio are spread most evenly: Knuth, The Art of Computer Programming,
    volume 3, section 6.4, theorem S.)
    """

    STEP, WHOLE = 2654435769, 1 << 32

    def __init__(self, low: int, high: int, *, first: int = 0):
        self._low, self._high, self._first = low, high, first

    def rows(self, start: int, count: int) -> Any:
        """The places of those among `count` samples, of which the first has the number `start` here."""
        numbers = np.arange(self._first + start, self._first + start + count, dtype=np.uint64)
        parts = numbers * np.uint64(self.STEP) % np.uint64(self.WHOLE)
        return np.flatnonzero((parts >= np.uint64(self._low)) & (parts < np.uint64(self._high)))


def stored_shapes(path: str | None) -> list[tuple[int, ...]] | None:
    """The shapes of `stored_arrays`, without reading the arrays."""
    if not path:
        return None
    if Path(path).is_dir():
        return [array.shape for array in stored_arrays(path) or []]
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not Path(name).stem.isdigit():
                continue  # samples of another shape
            with archive.open(name) as file:
                header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
                shapes[int(Path(name).stem)] = header[np.lib.format.read_magic(file)[0]](file)[0]
    return [shapes[key] for key in sorted(shapes)]


def feeds_of(
    inputs: Sequence[Input],
    arrays: list[Any] | None,
    batch: int,
    shapes: dict[str, list[int]],
    size: Size = (),
) -> Feeds:
    """One batch for every input: the first stored samples, or random ones where nothing is stored.

    Stored samples are cut to `size`, or repeated up to it.
    """
    if arrays is None:
        return random_feeds(inputs, batch, shapes, size)
    if len(arrays) != len(inputs):
        raise ValueError(f"{len(inputs)} inputs, but {len(arrays)} arrays")
    rows = [first_samples(array, batch) for array in arrays]
    for index, dim, length in size:
        places = np.arange(length) % rows[index].shape[dim]
        rows[index] = np.ascontiguousarray(np.take(rows[index], places, axis=dim))
    return {declared.name: array for declared, array in zip(inputs, rows)}


def asked_feeds(inputs: Sequence[Input], arrays: list[Any] | None, request: Request) -> Feeds:
    """The feeds of a request for one batch (`batch`, `shapes`), of the heaviest of its sizes."""
    size = sizes_of(request)[0][1]
    return feeds_of(inputs, arrays, request["batch"], request.get("shapes") or {}, size)


def first_samples(array: Any, batch: int) -> Any:
    """The first `batch` samples, repeated if there are fewer."""
    return np.ascontiguousarray(np.resize(array[:batch], (batch, *array.shape[1:])))
