"""Derives what a model's outputs mean from how the task's loss reacts to changes of them.

An output is a set of class scores along a dimension if the loss does not change when all scores of a position
are shifted by a constant, and its gradient behaves like that of a softmax. It has independent scores if the
gradient of each entry goes with the sigmoid of that entry alone. It is an embedding if the loss does not
change when vectors are scaled. Shapes alone prove nothing: what is not recognized has continuous values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import TaskError
from ..boundary import user_code
from ..data import batches
from ..quality import outputs_of
from ..task import Task
from .kinds import OutputKind, classes, embeddings, independent, values

_SAME = 1e-4  # relative difference of two losses that counts as none
_LIKE = 0.9  # cosine of two changes of a gradient that counts as alike
_LEVELS = (-3.0, -1.5, 0.0, 1.5, 3.0)
_POSITIONS = 4096  # at most so many positions are compared
_SAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reaction:
    """The task's loss as a function of one output; the others stay as they are.

    `base` is a random answer around the mean of the output: where the model is sure, the loss hardly reacts.
    """

    loss: Callable[[Any, Any], Tensor]
    outputs: tuple[Tensor, ...]
    targets: Any
    index: int
    base: Tensor

    @property
    def output(self) -> Tensor:
        """The original's answer."""
        return self.outputs[self.index]

    def value(self, output: Tensor) -> Tensor:
        """The loss of another answer. TaskError when it refuses it."""
        outputs = (*self.outputs[: self.index], output, *self.outputs[self.index + 1 :])
        with user_code("loss"):
            return self.loss(outputs[0] if len(outputs) == 1 else outputs, self.targets)

    def gradient(self, output: Tensor) -> Tensor:
        """The gradient of the loss at another answer, 0 where it does not read it."""
        leaf = output.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            value = self.value(leaf)
            if not value.requires_grad:
                return torch.zeros_like(leaf)
            (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
        return torch.zeros_like(leaf) if gradient is None else gradient

    def same(self, changed: Tensor) -> bool:
        """Whether the loss is that of `base`."""
        with torch.no_grad():
            before, after = float(self.value(self.base)), float(self.value(changed))
        return abs(after - before) <= _SAME * max(abs(before), 1e-3)


def output_kinds(task: Task) -> tuple[OutputKind, ...]:
    """The meaning of each output of a task's model, which must be in eval mode, on a training batch."""
    inputs, targets = next(batches(task.train, batch_size=_SAMPLES, seed=task.seed, augment=task.augment))
    return derived_kinds(task.loss, outputs_of(task.model, inputs), targets)


def derived_kinds(
    loss: Callable[[Any, Any], Tensor], outputs: tuple[Tensor, ...], targets: Any
) -> tuple[OutputKind, ...]:
    """The meaning of each output of a training batch. The caller's random state does not change."""
    detached = tuple(output.detach().clone() for output in outputs)  # of inference mode, for autograd
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tuple(
            _kind(_Reaction(loss=loss, outputs=detached, targets=targets, index=index, base=_around(output)))
            for index, output in enumerate(detached)
        )


def _around(output: Tensor) -> Tensor:
    if not output.is_floating_point():
        return output
    return output.mean() + 2 * torch.randn_like(output)


def _kind(reaction: _Reaction) -> OutputKind:
    output = reaction.output
    if not output.is_floating_point() or output.numel() == 0:
        return values()
    if (dim := _distribution(output)) is not None:
        return classes(dim, probabilities=True)
    try:
        if _is_probability(reaction):
            return independent(probabilities=True)
        return _scores(reaction) or values()
    except TaskError:  # the loss takes no other answers than such as the model gives
        return values()


def _scores(reaction: _Reaction) -> OutputKind | None:
    """Class scores, independent scores or embeddings; None for others, and where the loss does not read
    them.
    """
    output = reaction.output
    dims = [dim for dim in range(1, output.dim()) if output.shape[dim] > 1]
    if reaction.same(reaction.base + torch.randn_like(output)):
        return None
    for dim in dims:
        if _is_softmax(reaction, dim):
            return classes(dim)
    if _is_sigmoid(reaction):
        return independent()
    for dim in dims:
        if reaction.same(reaction.base * (0.5 + 1.5 * torch.rand(_one(output, dim)))):
            return embeddings(dim)  # the loss ignores the length of its vectors
    return None


def _distribution(output: Tensor) -> int | None:
    """The dimension along which all entries are probabilities that add up to 1."""
    if output.min() < 0 or output.max() > 1:
        return None
    for dim in range(1, output.dim()):
        sums = output.sum(dim)
        if output.shape[dim] > 1 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            return dim
    return None


def _is_softmax(reaction: _Reaction, dim: int) -> bool:
    """Class scores along `dim`: the loss ignores a shift of a position, its gradient goes with the softmax.

    Log-probabilities are class scores too: their exponentials add up to 1, and the loss takes them as they
    are.
    """
    base, sums = reaction.base, reaction.output.logsumexp(dim)
    if torch.allclose(sums, torch.zeros_like(sums), atol=1e-3):
        return True
    if not reaction.same(base + 2 * torch.randn(_one(base, dim))):
        return False
    moved = base + 2 * torch.randn_like(base)
    change = _rows(reaction.gradient(moved) - reaction.gradient(base), dim)
    wanted = _rows(moved.softmax(dim) - base.softmax(dim), dim)
    read = change.abs().sum(1) > 0
    if not read.any():
        return False
    alike = F.cosine_similarity(change[read], wanted[read], dim=1)
    return bool(alike.median() >= _LIKE) or _pulls_to_one_class(reaction.gradient(moved), moved, dim)


def _pulls_to_one_class(gradient: Tensor, scores: Tensor, dim: int) -> bool:
    """The gradient of each position is a multiple of softmax - onehot: focal and weighted losses too."""
    rows, shares = _rows(gradient, dim), _rows(scores.softmax(dim), dim)
    read = rows.abs().sum(1) > 0
    rows, shares = rows[read], shares[read]
    target = rows.argmin(1, keepdim=True)
    others = torch.ones_like(rows).scatter(1, target, 0)
    alike = F.cosine_similarity(rows * others, shares * others, dim=1)
    return bool(alike.median() >= 0.98)


def _is_sigmoid(reaction: _Reaction) -> bool:
    """Each entry's gradient is a + b·sigmoid(entry), with b > 0, whatever the other entries are."""
    output = reaction.output
    low, *inner, high = (torch.full_like(output, level) for level in _LEVELS)
    first, last = reaction.gradient(low), reaction.gradient(high)
    rise = (last - first) / (high.sigmoid() - low.sigmoid())
    read = rise.abs() > 1e-6 * rise.abs().max()
    if not read.any() or (rise[read] < 0).any():
        return False
    for level in inner:
        expected = first + rise * (level.sigmoid() - low.sigmoid())
        error = (reaction.gradient(level) - expected)[read].abs() / rise[read]
        if error.mean() > 0.02:
            return False
    return _entries_are_independent(reaction)


def _entries_are_independent(reaction: _Reaction) -> bool:
    base = reaction.base
    moves = torch.rand_like(base) < 0.5
    moved = torch.where(moves, base + torch.randn_like(base), base)
    before, after = reaction.gradient(base)[~moves], reaction.gradient(moved)[~moves]
    return bool((after - before).abs().max() <= 1e-3 * before.abs().max()) if len(before) else True


def _is_probability(reaction: _Reaction) -> bool:
    """Entries in 0..1 whose gradient times p (1 - p) grows with p, as that of a binary cross-entropy."""
    output = reaction.output
    if output.min() < 0 or output.max() > 1:
        return False
    low, middle, high = (torch.full_like(output, level) for level in (0.2, 0.45, 0.8))
    first, second, third = (reaction.gradient(p) * p * (1 - p) for p in (low, middle, high))
    rise = (third - first) / (0.8 - 0.2)
    read = rise.abs() > 1e-6 * rise.abs().max()
    if not read.any() or (rise[read] < 0).any():
        return False
    error = (second - first - rise * (0.45 - 0.2))[read].abs() / rise[read]
    return bool(error.mean() <= 0.02)


def _one(output: Tensor, dim: int) -> list[int]:
    """The shape with one entry along `dim`."""
    return [1 if axis == dim else size for axis, size in enumerate(output.shape)]


def _rows(tensor: Tensor, dim: int) -> Tensor:
    """positions × entries along `dim`, at most _POSITIONS of them."""
    return tensor.movedim(dim, -1).reshape(-1, tensor.shape[dim])[:_POSITIONS]
