"""Splits that can only be read from front to back, and whose length nobody knows: as loaders."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from ...errors import TaskError
from .grouping import collated

BATCH = 64


class StreamLoader(DataLoader[Any]):
    """The samples of a stream in batches of BATCH, or of fewer where their shapes differ."""

    def __init__(self, source: Iterable[Any]):
        super().__init__(_Stream(source), batch_size=BATCH)
        self.source = source

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        samples = iter(self.source)
        while chunk := list(islice(samples, BATCH)):
            yield from collated(chunk)


class _Stream(IterableDataset[Any]):
    def __init__(self, source: Iterable[Any]):
        self._source = source

    def __iter__(self) -> Iterator[Any]:
        return iter(self._source)


def readable_splits(splits: Iterable[Any]) -> list[Any]:
    """The splits, with a loader in the place of each stream of samples: an iterable dataset of torch, of
    Hugging Face, of WebDataset, or any object with `__iter__` alone. The same stream gets the same loader.

    TaskError for one that can be read only once.
    """
    loaders: dict[int, StreamLoader] = {}
    return [_readable(split, loaders) for split in splits]


def _readable(split: Any, loaders: dict[int, StreamLoader]) -> Any:
    streams = isinstance(split, IterableDataset) or not hasattr(split, "__getitem__")
    if isinstance(split, DataLoader) or not streams or not hasattr(split, "__iter__"):
        return split
    if isinstance(split, Iterator):
        raise TaskError(
            f"A split is a {type(split).__name__}, which can be read only once: give an object whose "
            "__iter__ begins anew each time, such as a torch IterableDataset."
        )
    return loaders.setdefault(id(split), StreamLoader(split))
