"""Splits from the arrays of one .npz file, and tasks of them."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...errors import TaskError
from ..task import Task
from .named_measures import Measures
from .one_set import parts_of_one_set

Types = Mapping[str, torch.dtype]

_SPLITS = ("train", "validation", "test")
_DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a model's input wants: its type, and its sizes, None where any will do."""

    dtype: torch.dtype
    sizes: Sequence[int | None]


class ArraySplit(Dataset[Any]):
    """Rows of arrays. A single input that is called "x" is a tensor; others are a dictionary by name."""

    def __init__(self, inputs: Mapping[str, Tensor], targets: Tensor):
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        return self.rows(index), self.targets[index]

    def rows(self, index: int | slice | Tensor) -> Any:
        """The inputs of one sample, or of more."""
        chosen = {name: array[index] for name, array in self.inputs.items()}
        return chosen["x"] if list(chosen) == ["x"] else chosen


def array_splits(path: Path, inputs: Mapping[str, Wanted]) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    """Training, validation and test from an .npz file, for a model with these inputs.

    Its arrays are called `train_x`, `train_y`, `validation_x` and so on. Where it has only `x` and `y`, they
    are one set: a fixed random choice of 60 % of it trains, 20 % validate. Raises TaskError.
    """
    splits = _stored(path, {name: wanted.dtype for name, wanted in inputs.items()})
    for split in splits:
        for name, wanted in inputs.items():
            _require_fit(split.inputs[name], wanted.sizes, f"{name} in {path}")
    return splits


def _stored(path: Path, types: Types) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    arrays = _arrays(path)
    names = [*types, "y"]
    if set(names) <= set(arrays):
        return _parts(path, _split(path, arrays, types, ""))
    missing = [f"{split}_{name}" for split in _SPLITS for name in names if f"{split}_{name}" not in arrays]
    if missing:
        raise TaskError(
            f"{path} has no array {missing[0]!r} (it has {', '.join(arrays) or 'none'}): store "
            f"{', '.join(f'train_{name}' for name in names)} and the same for validation and test, or "
            f"{', '.join(names)} as one set that is split."
        )
    train, validation, test = (_split(path, arrays, types, f"{split}_") for split in _SPLITS)
    return train, validation, test


def array_task(
    name: str, network: nn.Module, splits: Sequence[ArraySplit], measures: Measures, *, seed: int
) -> Task:
    """The task of a network on arrays: training, validation and test, loss and metric by name."""
    train, validation, test = splits
    example = validation.rows(slice(2))
    return Task(
        name=name,
        model=network,
        train=train,
        validation=validation,
        test=test,
        loss=measures.loss,
        metric=measures.metric,
        example_inputs=(example,) if isinstance(example, Tensor) else example,
        seed=seed,
    )


def _require_fit(array: Tensor, wanted: Sequence[int | None], what: str) -> None:
    """TaskError when the samples have not the shape that the model takes; None fits any size."""
    if array.ndim == len(wanted) and all(
        size is None or array.shape[index] == size for index, size in enumerate(wanted)
    ):
        return
    sizes = "×".join("N" if size is None else str(size) for size in wanted)
    raise TaskError(
        f"{what} is {'×'.join(map(str, array.shape))}, but the model takes {sizes} (N: any size): "
        "store the arrays in that shape."
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file. No pickled objects are loaded; checksums are compared."""
    if not path.is_file():
        raise TaskError(f"There is no data file {str(path)!r}: give an .npz file, as numpy.savez writes it.")
    if not zipfile.is_zipfile(path):
        raise TaskError(f"{path} is no .npz file: write one with numpy.savez(path, train_x=…, train_y=…, …).")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise TaskError(f"{path} cannot be read, it may be damaged or hold objects: {error}.") from error


def _split(path: Path, arrays: Mapping[str, np.ndarray], types: Types, prefix: str) -> ArraySplit:
    inputs = {name: _input(path, f"{prefix}{name}", arrays[f"{prefix}{name}"], types[name]) for name in types}
    targets = _targets(path, f"{prefix}y", arrays[f"{prefix}y"])
    for name, tensor in inputs.items():
        if not len(targets) or tensor.shape[:1] != targets.shape[:1]:
            raise TaskError(
                f"{path}: {prefix}{name} has {len(tensor)} samples and {prefix}y {len(targets)}: "
                "both need the same number, at least one."
            )
    return ArraySplit(inputs, targets)


def _input(path: Path, name: str, array: np.ndarray, wanted: torch.dtype) -> Tensor:
    """The array in the model's type: float64 is rounded, narrower types are widened."""
    tensor = _tensor(path, name, array)
    rounded = tensor.dtype == torch.float64 and wanted.is_floating_point
    if not rounded and not torch.can_cast(tensor.dtype, wanted):
        raise TaskError(f"{path}: {name} is {tensor.dtype}, but the model takes {wanted}: store that type.")
    return tensor.to(wanted)


def _targets(path: Path, name: str, array: np.ndarray) -> Tensor:
    """Integers as int64, others as float32."""
    tensor = _tensor(path, name, array)
    real = tensor.is_floating_point() or tensor.dtype == torch.bool
    return tensor.float() if real else tensor.long()


def _tensor(path: Path, name: str, array: np.ndarray) -> Tensor:
    if not array.ndim:
        raise TaskError(f"{path}: {name} is a single value: dimension 0 must be the samples.")
    try:
        tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except TypeError:
        raise TaskError(f"{path}: {name} has the type {array.dtype}: store numbers.") from None
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise TaskError(f"{path}: {name} has NaN or infinite values: leave those samples out.")
    return tensor


def _parts(path: Path, whole: ArraySplit) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    """The set, split by a fixed permutation."""
    train, validation, test = (
        ArraySplit({name: array[rows] for name, array in whole.inputs.items()}, whole.targets[rows])
        for rows in parts_of_one_set(len(whole), seed=0, source=str(path), of="samples")
    )
    return train, validation, test
