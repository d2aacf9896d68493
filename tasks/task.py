"""Task: the user's model, data and metric. Data only; `check.py` validates it before any work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .metrics.from_torchmetrics import is_torchmetric, stated_by
from .outputs.kinds import OutputKind
from .splits.streams import readable_splits

Split = Dataset[Any] | DataLoader[Any]
Outputs = Tensor | tuple[Tensor, ...]
ExampleInputs = tuple[Tensor, ...] | Mapping[str, Tensor]
Dynamic = Mapping[str | int, Mapping[int, str]]
UsedTokens = Mapping[str | int, Sequence[int]]
BatchSize = int | Literal["free"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A quality, in one of three ways.

    - `function(outputs, targets)` over a whole split, both concatenated along dimension 0 (lists of samples
      where their shapes differ), returns a float. `prepare(outputs, targets)` is for what takes long and
      looks at one sample after the other, such as the suppression of boxes: it returns one tensor (or list)
      with an entry for each sample, which `function` then gets instead of the outputs.
    - `update(outputs, targets)` of a batch returns statistics that add up: a tensor, or a tuple or dictionary
      of tensors, with an entry for each sample. `compute` makes the metric of their sum over all samples;
      without it the metric is the mean. No outputs are kept.
    - `torchmetric` is a torchmetrics.Metric. It gets `arguments(outputs, targets)`, a tuple (by default both
      as they are), and `compute` may choose one number of its result.

    `unit` "fraction" prints 0.9173 as 91.73 % and counts drops in percentage points; "" prints the bare
    number.
    """

    name: str
    function: Callable[[Any, Any], float] | None = None
    direction: Literal["higher", "lower"] = "higher"
    unit: Literal["fraction", ""] = "fraction"
    prepare: Callable[[Any, Any], Any] | None = None
    update: Callable[[Any, Any], Any] | None = None
    compute: Callable[[Any], Any] | None = None
    torchmetric: Any = None
    arguments: Callable[[Any, Any], tuple[Any, ...]] | None = None

    def drop(self, value: float, *, baseline: float) -> float:
        """How much worse `value` is than `baseline`, in the metric's own unit; negative means better."""
        return baseline - value if self.direction == "higher" else value - baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A trained model, its data and its metric.

    Splits are datasets of `(input, target)` (several inputs: `((a, b), target)`), map-style or iterable, or
    loaders of batches of the same form. `loss(outputs, targets)` is a scalar tensor. `example_inputs` is a
    tuple of tensors with a batch dimension 0, or a dictionary of them: then the inputs of samples are
    dictionaries with the same names, and the model is called with keywords. `augment(inputs, targets)`
    changes a training batch (for recovery only); it gets one input as a tensor, several as a tuple, named
    ones as a dictionary.
    `preprocessing` describes for the manifest how raw data become an input. `outputs` says what each output
    means (outputs/kinds.py); None derives it from the loss. `dynamic` names dimensions that are free in the
    file, by input (its name or position) and dimension: `{"tokens": {1: "length"}}`; others are found.
    `metric` may be a torchmetrics.Metric that says which direction is better.
    `batch` is the only batch size that the model takes, "free" if it takes any, and None if it takes one
    sample without a batch dimension; `example_inputs` are then such a sample. `resolutions` are smaller sizes
    of images that a search may try, as shares (0.75, 0.5) of height and width or as (height, width): the
    model's input stays as it is, and the file resizes it first. `used_tokens` are the values of an input of
    whole numbers, by its name or position, that count: a search may remove the other rows of the tables that
    it reads. The file then takes any other value for the first of them.
    """

    name: str
    model: nn.Module
    train: Split
    validation: Split
    test: Split
    loss: Callable[[Any, Any], Tensor]
    metric: Metric
    example_inputs: ExampleInputs
    augment: Callable[[Any, Any], tuple[Any, Any]] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[OutputKind, ...] | None = None
    dynamic: Dynamic = field(default_factory=dict)
    batch: BatchSize = "free"
    resolutions: tuple[float | tuple[int, int], ...] = ()
    used_tokens: UsedTokens = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        splits = readable_splits((self.train, self.validation, self.test))
        for name, split in zip(("train", "validation", "test"), splits, strict=True):
            object.__setattr__(self, name, split)
        if not isinstance(self.metric, Metric) and is_torchmetric(self.metric):
            object.__setattr__(self, "metric", Metric(**stated_by(self.metric)))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The example inputs in their order, without names."""
        example = self.example_inputs
        return tuple(example.values()) if isinstance(example, Mapping) else example


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Top-1 accuracy as a fraction: outputs N × classes, targets N."""
    return float((torch.as_tensor(outputs).argmax(1) == torch.as_tensor(targets)).float().mean())
