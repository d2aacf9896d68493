"""Every split can be read, and all samples have the types and shapes of the example, but for free dimensions.

Samples all over the split are looked at, since the first ones may happen to be equal.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset, IterableDataset

from ...errors import TaskError
from ..boundary import user_code
from ..data import Batch, Randomness, batch_of, chosen, fetch, read, sample_count
from ..plain.dynamic import FreeDims, sizes_in
from ..task import Split
from .grouping import Inputs

_SAMPLES = 64
_BATCHES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A shape that was seen in a split: one sample, and in how many batches."""

    split: str
    inputs: Inputs
    count: int


def looks_at(name: str, split: Split) -> list[Look]:
    """Looks at samples all over the split. Raises TaskError for one that cannot be read, or is empty."""
    if not isinstance(split, DataLoader) and not (
        hasattr(split, "__len__") and hasattr(split, "__getitem__")
    ):
        raise TaskError(f"{name} must be a dataset or a DataLoader, not {type(split).__name__}.")
    samples: dict[str, Inputs] = {}
    counts: Counter[str] = Counter()
    with user_code(
        f"Reading {name}", remedy="Each sample must be (input, target), with tensors or numbers in it"
    ):
        if sample_count(split) != 0:
            for inputs, _ in spread_samples(name, split):
                samples.setdefault(described(inputs), tuple(x[:1].clone() for x in inputs))
                counts[described(inputs)] += 1
    if not samples:
        raise TaskError(f"{name} is empty: all three splits need samples.")
    return [Look(split=name, inputs=inputs, count=counts[text]) for text, inputs in samples.items()]


def require_like_example(name: str, inputs: Inputs, example: Inputs, dims: FreeDims) -> None:
    """Raises TaskError if the inputs have not the types and shapes of the example but for free dimensions."""
    given, wanted = described(inputs, dims), described(example, dims)
    if given != wanted:
        raise TaskError(
            f"{name} gives inputs of {given}, but example_inputs have {wanted} (without the batch): "
            "make them the same."
        )
    for x, names in zip(inputs, dims, strict=True):
        for dim, size_name in names.items():
            wanted_size = sizes_in(inputs, dims)[size_name]
            if x.shape[dim] != wanted_size:
                raise TaskError(
                    f"{name} gives inputs whose dimensions {size_name!r} have the sizes {x.shape[dim]} and "
                    f"{wanted_size}: one name has one size in a sample."
                )


def described(inputs: Inputs, dims: FreeDims = ()) -> str:
    """Types and shapes of one sample: `float32 3×32×32, int64 scalar`; free dimensions by their names."""
    parts = []
    for index, x in enumerate(inputs):
        names = dims[index] if index < len(dims) else {}
        sizes = [str(names.get(dim, size)) for dim, size in enumerate(x.shape)][1:]
        parts.append(f"{str(x.dtype).removeprefix('torch.')} {'×'.join(sizes) or 'scalar'}")
    return ", ".join(parts)


def spread_samples(name: str, split: Split) -> Iterator[Batch]:
    """64 single samples from all over the split if there is random access, and the first batches of a
    loader. Errors name the split.
    """
    try:
        yield from Randomness(0).drawing(_samples(split))
    except TaskError as error:
        raise TaskError(f"{name}: {error}") from error


def _samples(split: Split) -> Iterator[Batch]:
    if not isinstance(split, DataLoader):
        for index in chosen(len(cast(Any, split)), _SAMPLES):
            yield from fetch(split, [index])
        return
    yield from islice(read(split), _BATCHES)
    dataset: Dataset[Any] = split.dataset
    if split.batch_size is not None and not isinstance(dataset, IterableDataset):
        for index in chosen(len(cast(Any, dataset)), _SAMPLES):
            yield batch_of(split.collate_fn([dataset[index]]))
