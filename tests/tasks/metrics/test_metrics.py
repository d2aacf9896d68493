"""Metrics over a stream: what is added up part after part is the metric of the whole, by torchmetrics' word."""

from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from autocompress.errors import TaskError
from autocompress.evaluation.uncertainty import drop_interval, scores_from, scores_of
from autocompress.tasks import Metric
from autocompress.tasks.metrics import (
    accumulate,
    character_error,
    f1,
    mean_absolute_error,
    mean_iou,
    perplexity,
    precision,
    recall,
    top_k,
)
from autocompress.tasks.metrics.accumulate import Totals, accumulator_of
from autocompress.tasks.metrics.from_torchmetrics import stated_by
from autocompress.tasks.metrics.numbers import edit_distance
from autocompress.tests.present import present
from torch import Tensor
from torchmetrics import classification
from torchmetrics.text import CharErrorRate, Perplexity

CLASSES = 5


def labelled(samples: int, *positions: int, seed: int = 0, wrong: float = 0.6) -> tuple[Tensor, Tensor]:
    """Scores of classes, and targets that they hit now and then."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(CLASSES, (samples, *positions), generator=generator)
    scores = torch.nn.functional.one_hot(targets, CLASSES).float().movedim(-1, 1)
    return scores + wrong * torch.randn(scores.shape, generator=generator), targets


def streamed(metric: Metric, outputs: Any, targets: Any, *, part: int = 37) -> Any:
    accumulator = accumulator_of(metric)
    for start in range(0, len(targets), part):
        accumulator.add((outputs[start : start + part],), targets[start : start + part])
    return accumulator


BY_CLASS = {
    "top-1": (top_k(), classification.MulticlassAccuracy(CLASSES, average="micro")),
    "top-3": (top_k(3), classification.MulticlassAccuracy(CLASSES, top_k=3, average="micro")),
    "F1": (f1(), classification.MulticlassF1Score(CLASSES)),
    "precision": (precision(), classification.MulticlassPrecision(CLASSES)),
    "recall": (recall(), classification.MulticlassRecall(CLASSES)),
    "F1 of all": (f1("micro"), classification.MulticlassF1Score(CLASSES, average="micro")),
}


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_built_in_metric_is_what_torchmetrics_says(name: str) -> None:
    mine, theirs = BY_CLASS[name]
    outputs, targets = labelled(400)
    assert streamed(mine, outputs, targets).value() == pytest.approx(
        float(theirs(outputs, targets)), abs=1e-6
    )


def test_recall_of_one_class_is_the_share_of_it_that_was_found() -> None:
    outputs, targets = labelled(400)
    of_class = targets == 2
    expected = float((outputs.argmax(1) == 2)[of_class].float().mean())
    assert streamed(recall(2), outputs, targets).value() == pytest.approx(expected)


def test_mean_iou_is_what_torchmetrics_says() -> None:
    outputs, targets = labelled(20, 8, 9)
    theirs = classification.MulticlassJaccardIndex(CLASSES)
    assert streamed(mean_iou(), outputs, targets, part=7).value() == pytest.approx(
        float(theirs(outputs, targets))
    )


def test_perplexity_leaves_out_tokens_that_do_not_count() -> None:
    outputs, targets = labelled(30, 12)
    targets[:, 7:] = -100
    theirs = Perplexity(ignore_index=-100)
    expected = float(theirs(outputs.movedim(1, -1), targets))
    assert streamed(perplexity(), outputs.movedim(1, -1), targets).value() == pytest.approx(expected)


def test_absolute_and_character_errors_are_what_torchmetrics_says() -> None:
    said, true = torch.randn(50, 3), torch.randn(50, 3)
    expected = float(torchmetrics.MeanAbsoluteError()(said, true))
    assert streamed(mean_absolute_error(), said, true).value() == pytest.approx(expected)
    texts, right = ["kitten", "", "flaw", "same"], ["sitting", "abc", "lawn", "same"]
    metric = character_error(lambda outputs: [texts[int(at)] for at in outputs])
    theirs = CharErrorRate()
    value = streamed(metric, torch.arange(4), right, part=3).value()
    assert value == pytest.approx(float(theirs(texts, right))) and edit_distance("kitten", "sitting") == 3


def test_samples_of_several_shapes_are_told_one_after_the_other() -> None:
    outputs, targets = (
        [torch.randn(4, 5), torch.randn(2, 5)],
        [torch.tensor([1, 2, 3, 0]), torch.tensor([4, 4])],
    )
    accumulator = accumulator_of(perplexity())
    accumulator.add((outputs,), targets)
    losses = torch.nn.functional.cross_entropy(torch.cat(outputs), torch.cat(targets))
    assert accumulator.value() == pytest.approx(float(losses.exp()), rel=1e-6)


def test_statistics_without_an_entry_for_each_sample_are_refused() -> None:
    metric = Metric(name="sum", update=lambda outputs, targets: outputs.sum())
    with pytest.raises(TaskError, match="a single number for 3 samples, not an entry for each"):
        accumulator_of(metric).add((torch.ones(3, 2),), torch.ones(3))


# --- how sure


def test_a_metric_of_statistics_has_the_interval_of_the_same_function() -> None:
    outputs, targets = labelled(500)
    theirs = classification.MulticlassF1Score(CLASSES)
    function = Metric(name="F1", function=lambda outputs, targets: float(theirs(outputs, targets)))
    low, high = present(scores_from(streamed(f1(), outputs, targets)).interval(f1()))
    other = present(scores_of(function, [outputs.numpy()], targets).interval(function))
    assert (low, high) == pytest.approx(other, abs=0.006)


def test_sums_over_groups_of_samples_are_about_as_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets = labelled(3000)
    by_sample = present(scores_from(streamed(f1(), outputs, targets)).interval(f1()))
    monkeypatch.setattr(accumulate, "KEPT_BYTES", 8 * 15 * 200)
    grouped = streamed(f1(), outputs, targets)
    assert isinstance(grouped, Totals) and grouped.grouped and len(grouped.rows) == 200
    interval = present(scores_from(grouped).interval(f1()))
    assert np.diff(interval) == pytest.approx(np.diff(by_sample), rel=0.25)


def test_a_torchmetric_has_about_the_interval_of_the_bootstrap() -> None:
    metric = Metric(**stated_by(classification.MulticlassF1Score(CLASSES)))
    widths = []
    for seed in range(8):
        outputs, targets = labelled(2000, seed=seed)
        pair = [scores_from(streamed(one, outputs, targets)).interval(one) for one in (metric, f1())]
        widths.append([np.diff(present(interval)).item() for interval in pair])
    jackknife, bootstrap = np.mean(widths, axis=0)
    assert jackknife == pytest.approx(bootstrap, rel=0.25)


def test_drops_are_paired_for_metrics_of_every_kind() -> None:
    outputs, targets = labelled(2000)
    worse = outputs + 0.2 * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    for metric in (top_k(), f1(), Metric(**stated_by(classification.MulticlassF1Score(CLASSES)))):
        before = scores_from(streamed(metric, outputs, targets))
        after = scores_from(streamed(metric, worse, targets), like=before)
        low, high = present(drop_interval(metric, before, after))
        alone = np.diff(present(before.interval(metric)))
        assert low <= before.value - after.value <= high and high - low < 0.9 * alone


def test_a_torchmetric_whose_states_cannot_be_merged_has_a_value_and_no_interval() -> None:
    metric = Metric(name="r", torchmetric=torchmetrics.PearsonCorrCoef(), unit="")
    said, true = torch.randn(300), torch.randn(300)
    scores = scores_from(streamed(metric, said, true))
    assert scores.value == pytest.approx(np.corrcoef(said, true)[0, 1], abs=1e-5)
    assert scores.interval(metric) is None


# --- what a torchmetric says of itself


def test_a_torchmetric_says_its_name_direction_and_unit() -> None:
    assert {**stated_by(classification.MulticlassF1Score(3)), "torchmetric": 0} == {
        "name": "MulticlassF1Score", "direction": "higher", "unit": "fraction", "torchmetric": 0
    }  # fmt: skip
    assert stated_by(torchmetrics.MeanAbsoluteError())["direction"] == "lower"
    with pytest.raises(TaskError, match="does not say whether higher is better: give"):
        stated_by(torchmetrics.PearsonCorrCoef())


def test_arguments_and_compute_choose_what_a_torchmetric_gets_and_gives() -> None:
    outputs, targets = labelled(100)
    metric = Metric(
        name="recall of class 1",
        torchmetric=classification.MulticlassRecall(CLASSES, average=None),
        arguments=lambda outputs, targets: (outputs[0], targets),
        compute=lambda result: result[1],
    )
    accumulator = accumulator_of(metric)
    accumulator.add((outputs, outputs), targets)
    assert accumulator.value() == pytest.approx(streamed(recall(1), outputs, targets).value())


def test_a_torchmetric_of_several_numbers_says_what_to_do() -> None:
    several = Metric(name="recall", torchmetric=classification.MulticlassRecall(CLASSES, average=None))
    with pytest.raises(TaskError, match=r"choose an average, or give compute"):
        streamed(several, *labelled(50)).value()
