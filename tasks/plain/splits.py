"""Splits whose samples have named inputs, read as tuples in the order of the example."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset

from ...errors import TaskError
from ..boundary import RECIPE
from ..task import Split


def ordered_split(split: Split, inputs: tuple[str, ...]) -> Split:
    """The split with its dictionaries of inputs as tuples in the order of `inputs`.

    Reading raises TaskError where a sample has other inputs.
    """
    order = InputOrder("its samples have", inputs)
    if isinstance(split, DataLoader):
        return _OrderedLoader(split, order)
    readable = hasattr(split, "__len__") and hasattr(split, "__getitem__")
    return _OrderedDataset(split, order) if readable else split


class InputOrder:
    """Dictionaries of inputs as tuples, and back."""

    def __init__(self, source: str, names: tuple[str, ...]):
        self.source, self.names = source, names

    def ordered(self, sample: Any) -> Any:
        """A pair (inputs, target) with the inputs as a tuple; what is no pair stays as it is."""
        if not isinstance(sample, list | tuple) or len(sample) != 2:
            return sample
        inputs, target = sample
        if not isinstance(inputs, Mapping):
            raise TaskError(
                f"{self.source} inputs without names, but example_inputs has names: give a dictionary. "
                f"{RECIPE}"
            )
        if set(inputs) != set(self.names):
            given, wanted = (", ".join(map(str, sorted(names))) for names in (inputs, self.names))
            raise TaskError(
                f"{self.source} inputs named {given}, but example_inputs has {wanted}: make them the same. "
                f"{RECIPE}"
            )
        return tuple(inputs[name] for name in self.names), target

    def named(self, inputs: Any) -> dict[str, Any]:
        """The dictionary of a single input or a tuple of them."""
        values = inputs if isinstance(inputs, list | tuple) else (inputs,)
        return dict(zip(self.names, values, strict=True))


class _OrderedDataset(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any], order: InputOrder):
        self._dataset, self._order = dataset, order

    def __len__(self) -> int:
        return len(cast(Sequence[Any], self._dataset))

    def __getitem__(self, index: int) -> Any:
        return self._order.ordered(self._dataset[index])

    def __getitems__(self, indices: list[int]) -> list[Any]:
        many = getattr(self._dataset, "__getitems__", None)
        samples = many(indices) if callable(many) else [self._dataset[index] for index in indices]
        return [self._order.ordered(sample) for sample in samples]


class _OrderedLoader(DataLoader[Any]):
    """The user's loader, its batches changed; it stays a DataLoader, with the other's fields."""

    _loader: DataLoader[Any]
    _order: InputOrder

    def __init__(self, loader: DataLoader[Any], order: InputOrder):
        self.__dict__.update(vars(loader))
        self.__dict__.update(_loader=loader, _order=order)
        self.collate_fn = lambda samples: order.ordered(loader.collate_fn(samples))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return map(self._order.ordered, self._loader)
