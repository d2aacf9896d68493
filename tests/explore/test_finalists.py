"""Finalists: each is scored and measured longer once, on every target; what the looks said is kept."""

import json
import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.errors import StageError, TargetUnavailable
from autocompress.evaluation.answers import Scored
from autocompress.evaluation.availability import Availability, Patience
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.explore.finalists import Finalists, by_contribution
from autocompress.explore.looks import Look
from autocompress.results.records.latency import Latency
from autocompress.results.records.reading import Fields
from autocompress.results.run_directory import RunDirectory
from autocompress.targets.layer_times import LayerTimes
from autocompress.tests.explore.fakes import CONFIG, PROFILE, FakeNetwork
from autocompress.tests.results.records import TARGET, latency, on_two, point, run_of

FAST = point(1, drop=0.01, ratio=0.5, size=30_000)
WORSE = point(2, drop=0.02, ratio=0.6, size=40_000)
RESTLESS = StageError("restless", stage="measure", kind="noisy")


class FakeTarget:
    def __init__(self, name, error=None):
        self.profile = SimpleNamespace(name=name, runtime=PROFILE.runtime, runtime_options={"on": name})
        self.error = error

    def session(self):
        return nullcontext(self)

    def profile_layers(self, path, layers, *, batch):
        return LayerTimes(layers=dict.fromkeys(layers, 1e-5), other_s=2e-5)

    def measure(self, path, baseline, timing):
        if self.error:
            raise self.error
        return latency(0.45)


class FakeEvaluator:
    def __init__(self, *targets):
        self.targets = targets or (FakeTarget(TARGET),)
        self.scored = []
        self.availability, self.patience = Availability(), Patience(limit_s=0.0)
        self.bench = SimpleNamespace(
            artifact_path=lambda recipe, artifact: artifact.digest,
            examiner=SimpleNamespace(network=FakeNetwork(), scored=self.score),
        )

    def target(self, name):
        return next(target for target in self.targets if target.profile.name == name)

    def score(self, target, session, path, split, *, original):
        self.scored.append(path)
        if path == original:
            return Scored(value=0.8, interval=(0.7, 0.9))
        return Scored(value=0.79, interval=(0.7, 0.9), drop=0.01, drop_interval=(0.0, 0.02))


def digest(item, target=TARGET):
    return item.measured[target].artifact.digest


@pytest.fixture
def looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: measurement))

    def look(evaluator, points, *, time_left=math.inf):
        with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
            finalists = Finalists(directory, evaluator, cast(StoredSplit, None), batch=1)
            ticks = iter(range(100))
            finalists.look_at(
                points,
                baseline=points[0],
                progress=lambda text: None,
                time_left=lambda: next(ticks) < time_left,
            )
        return finalists

    return look


def test_finalists_are_scored_once_even_by_a_continued_search(looked_at):
    looked_at(FakeEvaluator(), [FAST])
    again = FakeEvaluator()
    looks = looked_at(again, [FAST, WORSE]).looks
    assert again.scored == [digest(WORSE)]
    look = looks[digest(FAST), TARGET]
    assert (look.test, look.latency.ratio, look.times.layers["layer3"]) == (0.8, 0.45, 1e-5)


def test_a_look_comes_back_from_json():
    times = LayerTimes(layers={"layer0": 2e-5}, other_s=7e-5)
    for look in (Look(test=0.9, test_interval=(0.8, 1.0), latency=latency(0.5), times=times), Look()):
        assert Look.from_json(Fields(json.loads(json.dumps(look.to_json())), "look")) == look


def test_a_finalist_whose_measurement_fails_keeps_its_first_one(looked_at):
    finalists = looked_at(FakeEvaluator(FakeTarget(TARGET, RESTLESS)), [FAST])
    look = finalists.looks[digest(FAST), TARGET]
    assert (look.latency, look.test) == (None, 0.8) and finalists.failures[0].kind == "noisy"


def test_finalists_end_with_the_time(looked_at):
    assert len(looked_at(FakeEvaluator(), [FAST, WORSE], time_left=1).looks) == 1


def test_a_target_that_goes_away_costs_the_finalists_only_its_own_looks(looked_at):
    edge = FakeTarget("edge", TargetUnavailable("gone"))
    evaluator = FakeEvaluator(FakeTarget("cpu"), edge)
    finalists = looked_at(evaluator, [on_two(0), on_two(1, ratio=0.5, edge=0.5)])
    assert {target for _, target in finalists.looks} == {"cpu"} and len(finalists.looks) == 2
    assert evaluator.availability.reason("edge") == "gone" and finalists.failures == []


def test_the_only_target_that_goes_away_ends_the_looks(looked_at):
    with pytest.raises(TargetUnavailable, match="gone"):
        looked_at(FakeEvaluator(FakeTarget(TARGET, TargetUnavailable("gone"))), [FAST])


def test_what_adds_most_to_the_front_is_looked_at_first():
    little = point(3, drop=0.03, ratio=0.4, size=60_000)
    run = run_of(point(0), little, FAST)
    assert by_contribution(run.front, run.vector)[0].trial == 1
