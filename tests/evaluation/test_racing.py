"""Candidates race: none that would have joined the front is stopped, by an oracle that knows all answers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from autocompress.compress.recipe import Recipe
from autocompress.evaluation.racing import Bar, Beaten, require_in_race, stages
from autocompress.evaluation.uncertainty import Scores, scores_from
from autocompress.results.front import non_dominated
from autocompress.results.records.point import Failure, Point
from autocompress.results.records.progress import Stopped
from autocompress.targets.on_device.inputs import Picked
from autocompress.tasks.metrics import f1, top_k
from autocompress.tasks.metrics.accumulate import accumulator_of
from autocompress.tasks.task import Metric
from autocompress.tests.evaluation.fake_targets import FakeTarget, make_evaluator

SAMPLES = 4000
RIGHT = Metric(name="right", update=lambda outputs, targets: outputs[:, 0])


def on_part(metric: Metric, answers: np.ndarray, targets: np.ndarray, high: int) -> Scores:
    rows = Picked(0, high).rows(0, len(answers))
    accumulator = accumulator_of(metric)
    accumulator.add((answers[rows],), torch.from_numpy(targets[rows]))
    return scores_from(accumulator)


def samples_answered(
    metric: Metric, original: np.ndarray, candidate: np.ndarray, targets: np.ndarray, bar: Bar
) -> int:
    for high in list(stages(len(original)))[:-1]:
        before, after = (on_part(metric, answers, targets, high) for answers in (original, candidate))
        try:
            require_in_race(metric, before, after, bar, of=len(original))
        except Beaten as beaten:
            return beaten.lost.samples
    return len(original)


def test_parts_double_until_they_are_the_whole() -> None:
    shares = [end / Picked.WHOLE for end in stages(5000)]
    assert shares == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert [end / Picked.WHOLE for end in stages(1000)] == [1 / 4, 1 / 2, 1] and list(stages(150)) == [
        Picked.WHOLE
    ]


def test_no_point_of_the_front_is_lost_and_much_is_saved() -> None:
    random, targets = np.random.default_rng(0), np.zeros(SAMPLES, int)
    original = (random.random((SAMPLES, 1)) < 0.9).astype(np.float32)
    points, answered, lost = dict[int, tuple[float, float, float]](), 0, set[int]()
    everything = dict[int, tuple[float, float, float]]()
    for trial in range(60):
        size, latency = random.uniform(0.2, 1, 2)
        flipped = random.random((SAMPLES, 1)) < 0.25 * random.random() * (1.2 - min(size, latency))
        candidate = np.where(flipped, 0, original).astype(np.float32)
        vector = float(original.mean() - candidate.mean()), float(size), float(latency)
        everything[trial] = vector
        bars = [Bar(drop=p[0], trial=t) for t, p in points.items() if p[1] <= size and p[2] <= latency]
        count = SAMPLES
        if bars:
            best = min(bars, key=lambda bar: bar.drop)
            count = samples_answered(RIGHT, original, candidate, targets, best)
        answered += count
        if count < SAMPLES:
            lost.add(trial)
        else:
            points[trial] = vector
    front = {trial for trial, _ in non_dominated(list(everything.items()), lambda entry: entry[1])}
    assert lost & front == set()
    assert len(lost) > 15 and answered / (60 * SAMPLES) < 0.7


@pytest.mark.parametrize("metric", [top_k(), f1()], ids=["a mean", "statistics"])
def test_a_candidate_that_is_just_as_good_is_hardly_ever_stopped(metric: Metric) -> None:
    stopped = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        targets = random.integers(0, 3, SAMPLES)
        scores = np.eye(3, dtype=np.float32)[targets] + random.normal(0, 0.5, (SAMPLES, 3)).astype(np.float32)
        other = scores + random.normal(0, 0.3, scores.shape).astype(np.float32)
        whole = [on_part(metric, answers, targets, Picked.WHOLE).value for answers in (scores, other)]
        bar = Bar(drop=whole[0] - whole[1], trial=7)  # its own drop: it may not be beaten
        stopped += samples_answered(metric, scores, other, targets, bar) < SAMPLES
    assert stopped <= 1


class Split:
    """A split whose answers are in a table by model; counts what was asked for."""

    samples, batch, inputs = SAMPLES, 250, "validation"

    def __init__(self) -> None:
        self.asked = 0

    def answered(self, session, model, *, batch, low=0, high=Picked.WHOLE):
        rows = Picked(low, high).rows(0, SAMPLES)
        self.asked += len(rows)
        yield (session.run(model, self.inputs, batch=batch)[0][rows],), torch.zeros(len(rows))


class Race:
    def bar(self, artifact, latency):
        return Bar(drop=0.01, trial=3)


@pytest.mark.parametrize(("wrong", "kind"), [(0, Point), (20, Point), (2000, Stopped)])
def test_an_evaluation_ends_when_the_race_is_lost(wrong, kind, tmp_path, monkeypatch) -> None:
    from autocompress.results.records.latency import Latency
    from autocompress.tests.results.records import latency

    monkeypatch.setattr(Latency, "of", lambda measurement: latency(measurement.ratio))
    target, split = FakeTarget(outputs=np.ones((SAMPLES, 1), np.float32)), Split()
    evaluator = make_evaluator(tmp_path, target, metric=RIGHT)
    examiner = replace(evaluator.bench.examiner, validation=split, races=True)
    object.__setattr__(evaluator.bench, "examiner", examiner)
    monkeypatch.setattr("autocompress.evaluation.answers._check", lambda *given, **named: None)
    given = SimpleNamespace(progress=lambda text: None).__dict__
    original = evaluator.evaluate(0, Recipe(), baseline=None, **given)
    assert isinstance(original, Point) and split.asked == SAMPLES
    target.outputs = np.where(np.arange(SAMPLES) % 4000 < wrong, 0, 1).astype(np.float32)[:, None]
    recipe = Recipe(precision={"layer0": "int8"})
    outcome = evaluator.raced(5, recipe, baseline=original, built=None, race=Race(), **given)
    assert isinstance(outcome, kind) and not isinstance(outcome, Failure)
    if isinstance(outcome, Stopped):
        assert (outcome.beaten_by, outcome.of) == (3, SAMPLES) and 245 < outcome.samples < 255
        assert split.asked == SAMPLES + outcome.samples and outcome.drop_interval[0] > 0.01
    else:
        assert split.asked == 2 * SAMPLES
