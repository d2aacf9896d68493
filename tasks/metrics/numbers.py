"""Metrics of numbers and of texts: absolute error, perplexity, character error."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..task import Metric
from .classification import IGNORED


def mean_absolute_error(unit_name: str = "") -> Metric:
    """The mean over samples of the mean of |output - target|. `unit_name`, such as "pixels", goes into the
    metric's name.
    """

    def errors(outputs: Tensor, targets: Tensor) -> Tensor:
        difference = (outputs.reshape(targets.shape) - targets).abs().double()
        return difference.reshape(len(difference), -1).mean(1)

    name = "mean absolute error" + (f" in {unit_name}" if unit_name else "")
    return Metric(name=name, update=errors, direction="lower", unit="")


def perplexity() -> Metric:
    """The exponential of the mean loss over the tokens that count: outputs N × tokens × words, targets N ×
    tokens, IGNORED where a token does not count.
    """
    return Metric(
        name="perplexity",
        update=token_losses,
        compute=lambda total: float((total[0] / total[1]).exp()),
        direction="lower",
        unit="",
    )


def token_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample the loss of its tokens, in nats, and how many count: N × 2."""
    rows = []
    for logits, true in zip(outputs, targets, strict=True):  # one by one: as much memory again as the logits
        loss = F.cross_entropy(logits.float(), true, ignore_index=IGNORED, reduction="sum")
        rows.append(torch.stack([loss.double(), (true != IGNORED).sum().double()]))
    return torch.stack(rows)


def character_error(
    decode: Callable[[Any], Sequence[str]], *, true: Callable[[Any], Sequence[str]] = list
) -> Metric:
    """Characters to insert, delete or replace per character of the true texts. `decode` makes a text for each
    sample of outputs, `true` of targets.
    """

    def edits(outputs: Any, targets: Any) -> Tensor:
        pairs = zip(decode(outputs), true(targets), strict=True)
        return torch.tensor([(edit_distance(said, text), len(text)) for said, text in pairs]).double()

    return Metric(
        name="character error",
        update=edits,
        compute=lambda total: float(total[0] / total[1]),
        direction="lower",
    )


def edit_distance(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements (Wagner and Fischer, 1974), a row at a time."""
    codes = np.array([ord(letter) for letter in second], dtype=np.int64)
    steps = np.arange(len(second) + 1)
    row = steps.copy()
    for number, letter in enumerate(first, 1):
        changed = np.minimum(row[:-1] + (codes != ord(letter)), row[1:] + 1)
        # insertions go from left to right: the least of (entry - place), plus the place
        row = np.minimum.accumulate(np.concatenate([[number], changed]) - steps) + steps
    return int(row[-1])
