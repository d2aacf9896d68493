"""Early stopping looks at samples that training does not see."""

from dataclasses import replace

import pytest
import torch
from autocompress.compress.graph.graph import clone
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.options import CompressorOptions
from autocompress.compress.student.distance import Distance, OutputDistance
from autocompress.compress.student.samples import MOST_HELD_BACK, Samples
from autocompress.compress.student.training.judging import Judge
from autocompress.tasks import classes
from autocompress.tests.compress.tasks import tiny_task
from torch.utils.data import DataLoader, TensorDataset


def samples_of(count, *, loader=False):
    numbers = torch.arange(count, dtype=torch.float32)[:, None]
    split = TensorDataset(numbers, torch.zeros(count, dtype=torch.int64))
    train = DataLoader(split, batch_size=8) if loader else split
    return Samples(replace(tiny_task("mlp"), train=train, augment=None), CompressorOptions(batch_size=8))


def seen_in_recovery(samples, batches):
    source = samples.recovery(8, seed=0)
    return {float(x) for _ in range(batches) for x in next(source)[0][0].flatten()}


def held_back(samples):
    return [float(x) for (inputs,), _ in samples.held_back() for x in inputs.flatten()]


@pytest.mark.parametrize(("count", "expected"), [(200, 20), (20, 2), (10_000, MOST_HELD_BACK)])
def test_a_tenth_is_held_back_at_most_512(count, expected):
    judged_by = held_back(samples_of(count))
    assert len(judged_by) == len(set(judged_by)) == expected


def test_recovery_sees_all_but_what_is_held_back():
    samples = samples_of(200)
    assert seen_in_recovery(samples, 400) == set(map(float, range(200))) - set(held_back(samples))


@pytest.mark.parametrize("samples", [samples_of(12), samples_of(64, loader=True)], ids=["few", "a loader"])
def test_few_samples_and_those_of_a_loader_serve_both(samples):
    assert set(held_back(samples)) <= seen_in_recovery(samples, 60)


def test_a_student_scores_less_the_more_it_differs_and_the_original_best():
    task = tiny_task("mlp")
    original = trace(task.model, task.example_inputs)
    distance = Distance(outputs=(OutputDistance(kind=classes(), scale=1.0),))
    judge = Judge(original, Samples(task, CompressorOptions()).held_back(), distance, temperature=2.0)
    scores = []
    for noise in (0.0, 0.1, 1.0):
        student = clone(original)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(
                    noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
                )
        assert judge(student).shape == (25,)
        scores.append(float(judge(student).mean()))
    assert scores[0] == pytest.approx(0, abs=1e-6)
    assert scores == sorted(scores, reverse=True) and scores[1] > scores[2]
