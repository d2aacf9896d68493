"""What an output means is read from how the loss reacts, never from its shape."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autocompress.tasks import boxes, classes, custom, embeddings, independent, values
from autocompress.tasks.outputs.derive import derived_kinds
from torch import Tensor

torch.manual_seed(0)
SCORES = 3 * torch.randn(16, 10)
LABELS = torch.randint(0, 10, (16,))
MANY = (torch.rand(16, 10) > 0.7).float()
REAL = torch.randn(16, 10)
TOKENS, NEXT = 2 * torch.randn(16, 12, 50), torch.randint(0, 50, (16, 12))
PADDED = NEXT.clone()
PADDED[:, 8:] = -100
IMAGE, MASK = 2 * torch.randn(4, 5, 9, 9), torch.randint(0, 5, (4, 9, 9))


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    loss = F.cross_entropy(outputs, targets, reduction="none")
    return ((1 - (-loss).exp()) ** 2 * loss).mean()


def dice(outputs: Tensor, targets: Tensor) -> Tensor:
    shares, wanted = outputs.softmax(1), F.one_hot(targets, 5).permute(0, 3, 1, 2).float()
    return 1 - (2 * (shares * wanted).sum((0, 2, 3)) / (shares + wanted).sum((0, 2, 3))).mean()


def of_tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


Case = tuple[Callable[[Any, Any], Tensor], Tensor, Any, Any]
WEIGHTS = torch.linspace(0.2, 3, 10)
CASES: dict[str, Case] = {
    "cross-entropy": (F.cross_entropy, SCORES, LABELS, classes()),
    "label smoothing": (lambda o, t: F.cross_entropy(o, t, label_smoothing=0.1), SCORES, LABELS, classes()),
    "weights of classes": (lambda o, t: F.cross_entropy(o, t, weight=WEIGHTS), SCORES, LABELS, classes()),
    "a model that is sure": (F.cross_entropy, 30 * F.one_hot(LABELS, 10).float(), LABELS, classes()),
    "focal loss": (focal, SCORES, LABELS, classes()),
    "log-probabilities": (F.nll_loss, SCORES.log_softmax(1), LABELS, classes()),
    "behind a softmax": (
        lambda o, t: F.nll_loss(o.clamp_min(1e-9).log(), t),
        SCORES.softmax(1),
        LABELS,
        classes(probabilities=True),
    ),
    "language model": (of_tokens, TOKENS, NEXT, classes(dim=2)),
    "padded tokens": (of_tokens, TOKENS, PADDED, classes(dim=2)),
    "segmentation": (F.cross_entropy, IMAGE, MASK, classes()),
    "segmentation by dice": (dice, IMAGE, MASK, classes()),
    "several labels": (F.binary_cross_entropy_with_logits, SCORES, MANY, independent()),
    "weights of labels": (
        lambda o, t: F.binary_cross_entropy_with_logits(o, t, pos_weight=8 * WEIGHTS),
        SCORES,
        MANY,
        independent(),
    ),
    "one label": (
        lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t),
        SCORES[:, :1],
        MANY[:, 0],
        independent(),
    ),
    "behind a sigmoid": (F.binary_cross_entropy, SCORES.sigmoid(), MANY, independent(probabilities=True)),
    "squared error": (F.mse_loss, SCORES, REAL, values()),
    "absolute error": (F.l1_loss, SCORES, REAL, values()),
    "keypoints far from zero": (F.smooth_l1_loss, SCORES + 64, SCORES + 64 + REAL, values()),
    "squared error of sigmoids": (F.mse_loss, SCORES.sigmoid(), torch.rand(16, 10), values()),
    "one column": (lambda o, t: F.mse_loss(o[:, 0], t), SCORES[:, :1], REAL[:, 0], values()),
    "no column": (F.mse_loss, SCORES[:, 0], REAL[:, 0], values()),
    "margins": (F.multi_margin_loss, SCORES, LABELS, values()),
    "cosine": (lambda o, t: 1 - F.cosine_similarity(o, t).mean(), SCORES, REAL, embeddings(dim=1)),
    "unread": (lambda o, t: 0 * o.sum() + t.sum(), SCORES, REAL, values()),
    "whole numbers": (lambda o, t: t.sum(), LABELS[:, None], REAL, values()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_tells_what_an_output_means(name: str) -> None:
    loss, outputs, targets, meaning = CASES[name]
    assert derived_kinds(loss, (outputs,), targets) == (meaning,)


def test_each_of_several_outputs_has_a_meaning_of_its_own() -> None:
    def loss(outputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[0], targets) + outputs[1].square().mean()

    outputs = (SCORES, REAL[:, :4], REAL[:, :2])
    assert derived_kinds(loss, outputs, LABELS) == (classes(), values(), values())


def test_the_callers_random_numbers_do_not_change() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    derived_kinds(F.cross_entropy, (SCORES,), LABELS)
    assert torch.equal(torch.rand(3), expected)


def test_every_meaning_has_words() -> None:
    meanings = (
        classes(2, probabilities=True),
        independent(),
        values(0.5),
        boxes(),
        embeddings(),
        custom(focal),
    )
    assert list(map(str, meanings)) == [
        "classes along dimension 2 as probabilities",
        "independent probabilities (as scores)",
        "continuous values of scale 0.5",
        "boxes of 4 coordinates and scores along dimension 1",
        "embeddings along dimension -1",
        "compared by focal",
    ]
