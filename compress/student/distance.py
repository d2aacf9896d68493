"""The distance of a candidate's answers from the original's, by what each output means.

The same distance ranks candidates in the probe and guides recovery. It is 0 only for equal answers: equal
probabilities of classes, equal values, equal directions. Each output counts in a unit of its own:
divergences in nats, squared errors relative to the spread of the original's answers, averaged over positions.

For recovery each output gets a weight, so that the distance means the same as the task's loss. With o the
original's answers, L the loss, D the distance and δ small random changes,

    weight = E[(L(o + δ) + L(o - δ)) / 2 - L(o)] / E[D(o + δ, o)]

which is the ratio of their curvatures. It is 1 for a cross-entropy, whose curvature is that of the KL
divergence; a loss that sums over pixels gets the number of pixels.

A temperature above 1 shows what a sure teacher thinks of wrong classes. One that is unsure already shows it,
and more only flattens its answers. So the temperature ends where the teacher's mean entropy reaches
ENTROPY_SHARE of the largest possible. A small language model recovered from perplexity 18 to 4.8 at
temperature 4, and to 3.7 at its limit of 1.5; a CIFAR ResNet-20, which is sure, reaches the share above 4.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import StageError
from ...tasks.outputs.kinds import OutputKind
from ...tasks.quality import as_tuple

_STEP = 0.1  # of an output's spread: the size of δ
_DRAWS = 4
_TINY = 1e-6
ENTROPY_SHARE = 0.3
_HOTTEST = 20.0
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDistance:
    """One output: its meaning, the spread of the original's answers, the highest temperature that is of use,
    its weight in recovery.
    """

    kind: OutputKind
    scale: float
    hottest: float = _HOTTEST
    weight: float = 1.0

    def per_sample(self, output: Tensor, expected: Tensor, temperature: float = 1.0) -> Tensor:
        """One distance ≥ 0 for each sample, without the weight. Divergences are multiplied by T²."""
        kind, temperature = self.kind, min(temperature, self.hottest)
        if kind.meaning == "custom":
            assert kind.function is not None
            return kind.function(output, expected)
        if kind.meaning == "classes":
            return _classes(kind, output, expected, temperature)
        if kind.meaning == "independent":
            return _independent(kind, output, expected, temperature)
        if kind.meaning == "embeddings":
            assert kind.dim is not None
            return _mean(1 - F.cosine_similarity(output, expected, dim=kind.dim))
        if kind.meaning == "boxes":
            return self._boxes(output, expected, temperature)
        return _mean(((output - expected) / self.scale).square())

    def _boxes(self, output: Tensor, expected: Tensor, temperature: float) -> Tensor:
        kind = self.kind
        assert kind.dim is not None
        sizes = [kind.coordinates, output.shape[kind.dim] - kind.coordinates]
        (ours, our_scores), (theirs, their_scores) = (
            torch.split(x, sizes, dim=kind.dim) for x in (output, expected)
        )
        there = their_scores if kind.probabilities else their_scores.sigmoid()
        there = there.amax(kind.dim) if there.shape[kind.dim] else torch.ones_like(theirs.select(kind.dim, 0))
        objects = _total(there).clamp_min(1)
        places = ((ours - theirs) / self.scale).square().mean(kind.dim) * there
        scores = _outcomes(kind, our_scores, their_scores, temperature)
        return (_total(places) + _total(scores)) / objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """The distance over all outputs of a model, in their order."""

    outputs: tuple[OutputDistance, ...]

    @classmethod
    def of(cls, kinds: Sequence[OutputKind], answers: Any) -> "Distance":
        """Distances for these meanings; scales are those of the original's answers, all weights are 1."""
        outputs = []
        in_float32 = (answer.float() for answer in as_tuple(answers))
        for kind, answer in zip(kinds, in_float32, strict=True):
            outputs.append(
                OutputDistance(kind=kind, scale=_scale(kind, answer), hottest=_hottest(kind, answer))
            )
        return cls(outputs=tuple(outputs))

    def weighted(self, loss: Loss, answers: Any, targets: Any) -> "Distance":
        """The same with weights from the curvature of the task's loss at the original's answers.

        An output that the loss does not read, or on which it is not curved, has the mean weight of the
        others.
        """
        answers = tuple(answer.detach().float() for answer in as_tuple(answers))
        weights = [
            _curvature_ratio(one, index, loss, answers, targets) for index, one in enumerate(self.outputs)
        ]
        usable = [weight for weight in weights if weight is not None]
        usual = math.fsum(usable) / len(usable) if usable else 1.0
        outputs = []
        for one, weight in zip(self.outputs, weights, strict=True):
            outputs.append(replace(one, weight=usual if weight is None else weight))
        return Distance(outputs=tuple(outputs))

    def value(self, outputs: Any, expected: Any) -> float:
        """The mean over samples, outputs added up, each in its own unit."""
        parts = zip(self.outputs, as_tuple(outputs), as_tuple(expected), strict=True)
        return math.fsum(float(one.per_sample(ours, theirs).mean()) for one, ours, theirs in parts)

    def per_sample(self, outputs: Any, expected: Any, *, temperature: float) -> Tensor:
        """The weighted distance of each sample, N values ≥ 0."""
        total: Tensor | None = None
        for one, ours, theirs in zip(self.outputs, as_tuple(outputs), as_tuple(expected), strict=True):
            distances = one.weight * one.per_sample(ours, theirs, temperature)
            total = distances if total is None else total + distances
        assert total is not None
        return total

    def loss(self, outputs: Any, expected: Any, *, temperature: float, hardness: float = 0.0) -> Tensor:
        """The weighted mean over samples for training, with a gradient.

        With `hardness` h > 0 each sample counts by its own distance to the power h (normalized to mean 1).
        """
        total = self.per_sample(outputs, expected, temperature=temperature)
        if hardness > 0:
            shares = total.detach().clamp_min(1e-12).pow(hardness)
            total = total * shares / shares.mean()
        return total.mean()


def _classes(kind: OutputKind, output: Tensor, expected: Tensor, temperature: float) -> Tensor:
    dim = kind.dim
    assert dim is not None
    if kind.probabilities:
        output, expected = (x.clamp_min(_TINY).log() for x in (output, expected))
    ours, theirs = (F.log_softmax(x / temperature, dim=dim) for x in (output, expected))
    divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim)
    return _mean(divergence) * temperature**2


def _independent(kind: OutputKind, output: Tensor, expected: Tensor, temperature: float) -> Tensor:
    return _mean(_outcomes(kind, output, expected, temperature))


def _outcomes(kind: OutputKind, output: Tensor, expected: Tensor, temperature: float) -> Tensor:
    """The divergence of each entry's yes or no, times T²."""
    if kind.probabilities:
        output, expected = (torch.logit(x, eps=_TINY) for x in (output, expected))
    ours, theirs = output / temperature, expected / temperature
    yes = theirs.sigmoid()
    divergence = yes * (F.logsigmoid(theirs) - F.logsigmoid(ours))
    divergence = divergence + (1 - yes) * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
    return divergence * temperature**2


def _mean(entries: Tensor) -> Tensor:
    """The mean of each sample; an output of one dimension has one entry a sample."""
    return entries if entries.dim() < 2 else entries.flatten(1).mean(1)


def _total(entries: Tensor) -> Tensor:
    """The sum of each sample."""
    return entries if entries.dim() < 2 else entries.flatten(1).sum(1)


def _scale(kind: OutputKind, answer: Tensor) -> float:
    """The standard deviation of the original's answers; their size where they are all equal."""
    if kind.scale is not None:
        return kind.scale
    if kind.meaning == "boxes":
        assert kind.dim is not None
        answer = answer.narrow(kind.dim, 0, kind.coordinates)
    if kind.meaning not in ("values", "boxes"):
        return 1.0
    spread, size = float(answer.std(correction=0)), float(answer.square().mean().sqrt())
    if not math.isfinite(spread) or not math.isfinite(size):
        raise StageError("the original's answers are not finite", stage="reconstruct")
    return spread if spread > _TINY * size else size or 1.0


def _hottest(kind: OutputKind, answer: Tensor) -> float:
    """The temperature from 1 on at which the mean entropy of the answers is ENTROPY_SHARE of the largest."""
    if kind.meaning not in ("classes", "independent") or answer.dim() < 1:
        return _HOTTEST
    scores, dim = _scores(kind, answer)
    largest = math.log(scores.shape[dim])
    low, high = 1.0, _HOTTEST
    while high - low > 0.01:
        middle = (low + high) / 2
        logs = F.log_softmax(scores / middle, dim=dim)
        entropy = float(-(logs.exp() * logs).sum(dim).mean())
        low, high = (middle, high) if entropy <= ENTROPY_SHARE * largest else (low, middle)
    return low


def _scores(kind: OutputKind, answer: Tensor) -> tuple[Tensor, int]:
    """The scores and their dimension; an independent entry is the choice between itself and 0."""
    if kind.meaning == "classes":
        assert kind.dim is not None
        return (answer.clamp_min(_TINY).log() if kind.probabilities else answer), kind.dim
    entries = torch.logit(answer, eps=_TINY) if kind.probabilities else answer
    return torch.stack([entries, torch.zeros_like(entries)], dim=-1), -1


def _curvature_ratio(
    one: OutputDistance, index: int, loss: Loss, answers: tuple[Tensor, ...], targets: Any
) -> float | None:
    """The weight of one output; None where the loss has no curvature there."""
    answer = answers[index]
    steps = _steps(one, answer)
    generator = torch.Generator().manual_seed(index)

    def lost(output: Tensor) -> float:
        outputs = (*answers[:index], output, *answers[index + 1 :])
        return float(loss(outputs[0] if len(outputs) == 1 else outputs, targets))

    losses, distances = [], []
    with torch.no_grad():
        before = lost(answer)
        for _ in range(_DRAWS):
            change = steps * torch.randn(answer.shape, generator=generator)
            plus, minus = (_moved(one.kind, answer, sign * change) for sign in (1, -1))
            losses.append((lost(plus) + lost(minus)) / 2 - before)
            distances.append(float(one.per_sample(plus, answer).mean()))
    moved, curved = math.fsum(distances), math.fsum(losses)
    usable = math.isfinite(curved) and moved > 0 and curved > 1e-5 * max(abs(before), 1e-3)
    return curved / moved if usable else None


def _steps(one: OutputDistance, answer: Tensor) -> Tensor | float:
    """The size of δ at each entry: coordinates of boxes and their scores have units of their own."""
    kind = one.kind
    if kind.meaning != "boxes":
        return _STEP * (float(answer.std(correction=0)) or 1.0)
    assert kind.dim is not None
    scores = _scores_of_boxes(kind, answer)
    scores = torch.logit(scores, eps=_TINY) if kind.probabilities else scores
    steps = torch.full_like(answer, _STEP * one.scale)
    _scores_of_boxes(kind, steps).fill_(_STEP * (float(scores.std(correction=0)) if scores.numel() else 1.0))
    return steps


def _moved(kind: OutputKind, answer: Tensor, change: Tensor) -> Tensor:
    """The answer with this change; probabilities stay in 0..1, those beside boxes by a change of their
    scores.
    """
    moved = answer + change
    if kind.probabilities and kind.meaning == "boxes":
        scores, changes = (_scores_of_boxes(kind, x) for x in (answer, change))
        _scores_of_boxes(kind, moved).copy_((torch.logit(scores, eps=_TINY) + changes).sigmoid())
    elif kind.probabilities:
        moved = moved.clamp(0, 1)
    return moved


def _scores_of_boxes(kind: OutputKind, answer: Tensor) -> Tensor:
    """A view of the scores behind the coordinates."""
    assert kind.dim is not None
    return answer.narrow(kind.dim, kind.coordinates, answer.shape[kind.dim] - kind.coordinates)
