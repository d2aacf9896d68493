"""Losses and metrics of outputs called `logits`: classes of a sample, or of each of its tokens."""

from collections.abc import Mapping
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor

from ...task import Metric, accuracy
from .texts import IGNORED

Outputs: TypeAlias = Mapping[str, Tensor]


def class_loss(outputs: Outputs, targets: Tensor) -> Tensor:
    """Cross-entropy of N × classes."""
    return F.cross_entropy(outputs["logits"], targets)


def class_accuracy(outputs: Outputs, targets: Tensor) -> float:
    """The share of samples whose largest score is that of their class."""
    return accuracy(outputs["logits"], targets)


def token_loss(outputs: Outputs, targets: Tensor) -> Tensor:
    """Cross-entropy of N × tokens × classes, over the tokens that count."""
    return F.cross_entropy(outputs["logits"].flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def token_accuracy(outputs: Outputs, targets: Tensor) -> float:
    """The share of tokens that count whose largest score is right."""
    counted = targets != IGNORED
    return float((outputs["logits"].argmax(2) == targets)[counted].float().mean())


def perplexity(outputs: Outputs, targets: Tensor) -> float:
    """The exponential of the mean loss, which is summed up piece by piece to save memory."""
    total = sum(
        float(F.cross_entropy(logits.float(), rows, ignore_index=IGNORED, reduction="sum"))
        for logits, rows in zip(outputs["logits"], targets, strict=True)
    )
    return float((targets != IGNORED).sum().double().reciprocal().mul(total).exp())


def tag_f1(outside: int) -> Metric:
    """F1 of the tokens that have a tag; `outside` is the class of those that have none."""

    def f1(outputs: Outputs, targets: Tensor) -> float:
        counted = targets != IGNORED
        given, right = outputs["logits"].argmax(2)[counted], targets[counted]
        hits = float(((given == right) & (right != outside)).sum())
        total = float((given != outside).sum() + (right != outside).sum())
        return 2 * hits / total if total else 0.0

    return Metric(name="token F1", function=f1)


CLASS_ACCURACY = Metric(name="top-1 accuracy", function=class_accuracy)
TAG_ACCURACY = Metric(name="token accuracy", function=token_accuracy)
NEXT_TOKEN_ACCURACY = Metric(name="next-token accuracy", function=token_accuracy)
PERPLEXITY = Metric(name="perplexity", function=perplexity, direction="lower", unit="")
