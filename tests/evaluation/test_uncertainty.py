"""How sure a metric and a drop are, against hand-computed intervals and simulated samples."""

import math

import numpy as np
import pytest
import torch
from autocompress.errors import TaskError
from autocompress.evaluation import uncertainty
from autocompress.evaluation.uncertainty import drop_interval, scores_of
from autocompress.tasks.task import Metric, accuracy
from autocompress.tests.present import present
from torch import Tensor

TOP1 = Metric(name="accuracy", function=accuracy)
CLASSES = 10


def correlation(outputs: Tensor, targets: Tensor) -> float:
    """No mean over samples."""
    return float(torch.corrcoef(torch.stack([outputs.flatten(), targets.float()]))[0, 1])


def f1(outputs: Tensor, targets: Tensor) -> float:
    """No mean over samples, but 1 on each of them where all is right; raises without a positive sample."""
    said, true = outputs.flatten() > 0, targets > 0
    if not bool(true.any() | said.any()):
        raise ValueError("no positive sample")
    return float(2 * (said & true).sum() / (said.sum() + true.sum()))


CORRELATION = Metric(name="correlation", function=correlation, unit="")
F1 = Metric(name="f1", function=f1)


def answers(right: Tensor) -> tuple[list[np.ndarray], Tensor]:
    """Outputs that are right where they should be, and the targets."""
    targets = torch.arange(len(right)) % CLASSES
    said = torch.where(right, targets, (targets + 1) % CLASSES)
    return [torch.nn.functional.one_hot(said, CLASSES).float().numpy()], targets


def right_on(samples: int, count: int, *, start: int = 0) -> Tensor:
    """Right on all but `count` samples from `start` on."""
    right = torch.ones(samples, dtype=torch.bool)
    right[start : start + count] = False
    return right


def half(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return (interval[1] - interval[0]) / 2


def test_the_interval_of_an_accuracy_is_that_of_a_binomial():
    interval = scores_of(TOP1, *answers(right_on(1000, 100))).interval(TOP1)
    assert interval == pytest.approx((0.9 - 1.96 * 0.0095, 0.9 + 1.96 * 0.0095), abs=0.002)


def test_the_drop_of_an_accuracy_is_as_sure_as_the_samples_that_changed_are_few():
    original, candidate = right_on(5000, 400), right_on(5000, 400, start=25)  # 25 lost, 25 won
    candidate[1000:1025] = False
    before, after = (scores_of(TOP1, *answers(right)) for right in (original, candidate))
    interval = drop_interval(TOP1, before, after)
    assert interval is not None and interval[0] < 0.005 < interval[1]
    assert half(interval) == pytest.approx(1.96 * math.sqrt(75 / 5000**2 - 0.005**2 / 5000), rel=0.02)
    assert half(interval) < 0.0035 and half(before.interval(TOP1)) > 0.0074


def test_answers_that_agree_on_every_sample_leave_little_doubt_but_some():
    scores = scores_of(TOP1, *answers(right_on(5000, 400)))
    low, high = drop_interval(TOP1, scores, scores) or (1.0, 1.0)
    assert low == -high and 0 < high < 0.0005


@pytest.mark.parametrize("wrong", [0, 1, 50])
def test_the_interval_of_a_fraction_stays_inside_0_and_1(wrong):
    scores = scores_of(TOP1, *answers(right_on(50, wrong)))
    low, high = scores.interval(TOP1) or (2.0, 2.0)
    assert 0 <= low <= scores.value <= high <= 1 and low < high


def test_a_fraction_that_is_no_share_of_samples_stays_inside_0_and_1():
    outputs, targets = torch.ones(400, 1), torch.ones(400)
    outputs[:2] = -1
    interval = scores_of(F1, [outputs.numpy()], targets).interval(F1)
    assert interval is not None and 0.98 < interval[0] < 0.9975 < interval[1] <= 1


def noisy(samples: int, *noises: float, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """Targets, and for each noise what a model answers; models share their first error."""
    generator = torch.Generator().manual_seed(seed)
    truth, shared = torch.randn(samples, generator=generator), torch.randn(samples, generator=generator)
    return truth, [
        truth + 0.5 * shared + noise * torch.randn(samples, generator=generator) for noise in noises
    ]


def test_a_metric_that_is_no_mean_over_samples_is_resampled_for_both_alike():
    targets, (first, second) = noisy(500, 0.0, 0.1)
    before, after = (scores_of(CORRELATION, [said.numpy()], targets) for said in (first, second))
    assert before.parts is None and before.resampled is not None
    alone = math.hypot(half(before.interval(CORRELATION)), half(after.interval(CORRELATION)))
    assert half(drop_interval(CORRELATION, before, after)) < alone / 2


def test_a_lower_metric_drops_when_it_rises_and_its_mean_needs_no_resampling():
    error = Metric(
        name="mse",
        function=lambda outputs, targets: float((outputs - targets).square().mean()),
        direction="lower",
        unit="",
    )
    targets, (first, second) = noisy(2000, 0.0, 0.3)
    before, after = (scores_of(error, [said.numpy()], targets) for said in (first, second))
    differences = (second - targets).square() - (first - targets).square()
    interval = drop_interval(error, before, after)
    assert interval is not None and sum(interval) / 2 == pytest.approx(float(differences.mean()), rel=1e-4)
    assert half(interval) == pytest.approx(1.96 * float(differences.std()) / math.sqrt(2000), rel=1e-3)


def test_a_metric_of_many_samples_is_taken_apart_into_parts_of_several(monkeypatch):
    right = torch.rand(5000, generator=torch.Generator().manual_seed(0)) < 0.9
    alone = scores_of(TOP1, *answers(right)).interval(TOP1)
    monkeypatch.setattr(uncertainty, "PARTS", (700,))
    scores = scores_of(TOP1, *answers(right))
    assert scores.parts is not None and len(scores.parts) == 700
    assert half(scores.interval(TOP1)) == pytest.approx(half(alone), rel=0.1)


def test_an_interval_holds_the_true_drop_about_as_often_as_it_says():
    generator, held = torch.Generator().manual_seed(0), 0
    for _ in range(60):
        chance = torch.rand(300, generator=generator)
        original, candidate = chance < 0.9, (chance > 0.02) & (chance < 0.88)
        before, after = (scores_of(TOP1, *answers(right)) for right in (original, candidate))
        low, high = drop_interval(TOP1, before, after) or (1.0, 1.0)
        held += low <= 0.04 <= high
    assert 53 <= held <= 60


def test_a_slower_metric_is_resampled_less_often_and_at_last_not_at_all(monkeypatch):
    targets, (said,) = noisy(100, 0.1)

    def resamples() -> int:
        resampled = scores_of(CORRELATION, [said.numpy()], targets).resampled
        return 0 if resampled is None else len(resampled)

    monkeypatch.setattr(uncertainty, "_timed", lambda call: (call(), 0.1))
    assert resamples() == 40
    monkeypatch.setattr(uncertainty, "_timed", lambda call: (call(), 0.5))
    assert resamples() == 0


def test_the_original_decides_how_often_its_candidates_are_resampled(monkeypatch):
    targets, (first, second) = noisy(100, 0.0, 0.1)
    before = scores_of(CORRELATION, [first.numpy()], targets)
    monkeypatch.setattr(uncertainty, "_timed", lambda call: (call(), 0.1))
    after = scores_of(CORRELATION, [second.numpy()], targets, like=before)
    assert drop_interval(CORRELATION, before, after) is not None


def test_an_original_without_a_fault_is_compared_with_a_candidate_that_has_some():
    targets = torch.ones(200)
    perfect, faulty = torch.ones(200, 1), torch.ones(200, 1)
    faulty[:10] = -1
    before = scores_of(F1, [perfect.numpy()], targets)
    after = scores_of(F1, [faulty.numpy()], targets, like=before)
    assert before.parts is not None and after.parts is None
    low, high = drop_interval(F1, before, after) or (1.0, 1.0)
    assert 0 < low < before.value - after.value < high


def test_a_metric_that_some_samples_have_not_is_resampled():
    targets = torch.arange(100) % 2
    scores = scores_of(F1, [np.ones((100, 1))], targets)
    assert scores.parts is None and scores.interval(F1) is not None


def test_a_resample_follows_nested_targets():
    targets = ({"label": torch.arange(50)}, ["a"] * 50)
    metric = Metric(
        name="same", function=lambda outputs, t: float((outputs == t[0]["label"]).float().sum()) + len(t[1])
    )
    scores = scores_of(metric, [np.arange(50)], targets)
    assert scores.resampled is not None and set(scores.resampled) == {100.0}


def test_a_call_that_is_held_up_does_not_cost_the_samples_of_the_interval(monkeypatch):
    seconds = iter([0.0, 9.0, *[1e-4] * 8])  # of the whole split, then of a sample
    monkeypatch.setattr(uncertainty, "_timed", lambda call: (call(), next(seconds)))
    scores = scores_of(TOP1, *answers(right_on(500, 40)))
    assert scores.parts is not None and len(scores.parts) == 500
    targets, (said,) = noisy(100, 0.1)
    seconds = iter([9.0, 1e-3, 9.0])
    assert len(present(scores_of(CORRELATION, [said.numpy()], targets).resampled)) == 200


def test_what_a_metric_prepares_is_prepared_once_and_resampled():
    calls = []

    def said_and_true(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(outputs))
        return torch.stack([outputs.flatten() > 0, targets > 0], dim=1)

    def of_pairs(pairs: Tensor, targets: Tensor) -> float:
        return f1(pairs[:, 0].float() - 0.5, targets)

    targets = torch.tensor([1, 0, 0, 1] * 50)
    outputs = [torch.randn(200, 1, generator=torch.Generator().manual_seed(0)).numpy()]
    prepared = Metric(name="f1", function=of_pairs, prepare=said_and_true)
    fast, plain = scores_of(prepared, outputs, targets), scores_of(F1, outputs, targets)
    assert calls == [200] and fast.value == plain.value
    assert fast.resampled is not None and np.array_equal(fast.resampled, present(plain.resampled))


def test_a_metric_that_prepares_too_few_entries_is_refused():
    short = Metric(
        name="short", function=lambda outputs, targets: 0.0, prepare=lambda outputs, targets: outputs[1:]
    )
    with pytest.raises(TaskError, match="prepare made 3 entries of 4 samples"):
        scores_of(short, [np.zeros((4, 1))], torch.zeros(4))
