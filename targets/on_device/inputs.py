"""What a model is run with: stored samples if there are any, else seeded random ones."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Iterator, Sequence

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
    without a path. Of a file with samples of several shapes, those of the first.
    """
    if not path:
        return None
    if Path(path).is_dir():
        files = sorted(Path(path).glob("*.npy"), key=lambda file: int(file.stem))
        return [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    with np.load(path, allow_pickle=False) as archive:
        return [archive[key] for key in sorted(filter(str.isdigit, archive.files), key=int)]


def stored_groups(path: str) -> Iterator[list[Any]]:
    """The input arrays of each shape: after those of `stored_arrays` "1_0", "1_1" …, "2_0" and so on."""
    yield stored_arrays(path) or []
    if Path(path).is_dir():
        return
    with np.load(path, allow_pickle=False) as archive:
        keys = sorted(tuple(map(int, key.split("_"))) for key in archive.files if "_" in key)
        for number in sorted({number for number, _ in keys}):
            yield [archive[f"{one}_{index}"] for one, index in keys if one == number]


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
