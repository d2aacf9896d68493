"""Losses and metrics of outputs called `logits`: classes of a sample, or of each of its tokens."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...metrics.numbers import perplexity, token_losses
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


def token_hits(outputs: Outputs, targets: Tensor) -> Tensor:
    """Of each sample, how many tokens that count have their largest score right, and how many count."""
    counted = targets != IGNORED
    right = (outputs["logits"].argmax(2) == targets) & counted
    return torch.stack([right.sum(1), counted.sum(1)], 1)


def token_share(total: Tensor) -> float:
    """The share of tokens that count, given the sum of `token_hits`."""
    return float(total[0] / total[1])


def losses_of_tokens(outputs: Outputs, targets: Tensor) -> Tensor:
    """Of each sample the loss of its tokens, and how many count."""
    return token_losses(outputs["logits"], targets)


def tag_f1(outside: int) -> Metric:
    """F1 of the tokens that have a tag; `outside` is the class of those that have none."""

    def counts(outputs: Outputs, targets: Tensor) -> Tensor:
        counted = targets != IGNORED
        given = outputs["logits"].argmax(2)
        hits = counted & (given == targets) & (targets != outside)
        tags = (counted & (given != outside)).sum(1) + (counted & (targets != outside)).sum(1)
        return torch.stack([hits.sum(1), tags], 1)

    def f1(total: Tensor) -> float:
        return float(2 * total[0] / total[1]) if total[1] else 0.0

    return Metric(name="token F1", update=counts, compute=f1)


CLASS_ACCURACY = Metric(name="top-1 accuracy", function=class_accuracy)
TAG_ACCURACY = Metric(name="token accuracy", update=token_hits, compute=token_share)
NEXT_TOKEN_ACCURACY = Metric(name="next-token accuracy", update=token_hits, compute=token_share)
PERPLEXITY = replace(perplexity(), update=losses_of_tokens)
