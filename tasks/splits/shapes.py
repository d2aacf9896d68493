"""Every split can be read, and all samples have the types and shapes of the example.

Answers of a whole split are one tensor, and so are the samples that calibrate and reconstruct: a length that
varies between batches is refused here, before any work. Samples all over the split are looked at, since the
first ones may happen to be equal.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ...errors import TaskError
from ..boundary import user_code
from ..data import Batch, Inputs, Randomness, batch_of, chosen, fetch, read, sample_count
from ..quality import shape_text
from ..task import Split

_SAMPLES = 64
_BATCHES = 8


def check_split(name: str, split: Split, example: Inputs) -> None:
    """Raises TaskError for a split that cannot be read, is empty, or has samples of other shapes."""
    if isinstance(split, IterableDataset):
        raise TaskError(f"{name} is an iterable dataset: wrap it in a DataLoader.")
    if not isinstance(split, DataLoader) and not (
        hasattr(split, "__len__") and hasattr(split, "__getitem__")
    ):
        raise TaskError(f"{name} must be a map-style dataset or a DataLoader, not {type(split).__name__}.")
    with user_code(
        f"Reading {name}", remedy="Each sample must be (input, target), with tensors or numbers in it"
    ):
        inputs = None if sample_count(split) == 0 else _inputs_of_one_shape(name, split)
    if inputs is None:
        raise TaskError(f"{name} is empty: all three splits need samples.")
    require_like_example(name, inputs, example)


def require_like_example(name: str, inputs: Inputs, example: Inputs) -> None:
    """Raises TaskError if the inputs have not the types and shapes of the example."""
    given, wanted = described(inputs), described(example)
    if given != wanted:
        raise TaskError(
            f"{name} gives inputs of {given}, but example_inputs have {wanted} (without the batch): "
            "make them the same."
        )


def described(inputs: Inputs) -> str:
    """Types and shapes of one sample: `float32 3×32×32, int64 scalar`."""
    return ", ".join(f"{str(x.dtype).removeprefix('torch.')} {shape_text(x[0])}" for x in inputs)


def _inputs_of_one_shape(name: str, split: Split) -> Inputs | None:
    """The first inputs. Raises TaskError that names two shapes, where inputs or targets have several."""
    first = None
    shapes: dict[str, str] = {}
    for inputs, targets in _named(name, _spread(split)):
        first = first or inputs
        for what, text in (("inputs", described(inputs)), ("targets", described(tuple(_tensors(targets))))):
            if text != shapes.setdefault(what, text):
                two = " and of ".join(sorted((shapes[what], text)))
                raise TaskError(
                    f"{name} gives {what} of {two} (without the batch): all samples need one shape, "
                    "so pad or crop them to one, in the dataset or its collate function."
                )
    return first


def _named(name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; errors name the split."""
    try:
        yield from batches
    except TaskError as error:
        raise TaskError(f"{name}: {error}") from error


def _spread(split: Split) -> Iterator[Batch]:
    """64 single samples from all over the split if there is random access, and the first batches of a
    loader.
    """
    return Randomness(0).drawing(_samples(split))


def _samples(split: Split) -> Iterator[Batch]:
    if not isinstance(split, DataLoader):
        for index in chosen(len(cast(Any, split)), _SAMPLES):
            yield fetch(split, [index])
        return
    yield from islice(read(split), _BATCHES)
    dataset: Dataset[Any] = split.dataset
    if split.batch_size is not None and not isinstance(dataset, IterableDataset):
        for index in chosen(len(cast(Any, dataset)), _SAMPLES):
            yield batch_of(split.collate_fn([dataset[index]]))


def _tensors(targets: Any) -> Iterator[Tensor]:
    """The tensors of batched targets."""
    if isinstance(targets, Tensor):
        if targets.ndim and len(targets):
            yield targets
    elif isinstance(targets, Mapping):
        for part in targets.values():
            yield from _tensors(part)
    elif isinstance(targets, list | tuple):
        for part in targets:
            yield from _tensors(part)
