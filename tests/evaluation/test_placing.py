"""Candidates on runtimes of one device: built for those that are left in, and never waited for elsewhere."""

from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Failure, Point
from autocompress.tests.evaluation.fake_targets import FakeTarget, evaluated, make_evaluator
from autocompress.tests.explore.fakes import PROFILE
from autocompress.tests.results.records import latency

LITE = replace(PROFILE, name="lite")
INT8 = Recipe(precision={"layer0": "int8"})


@pytest.fixture(autouse=True)
def no_real_latency(monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: latency(measurement.ratio)))


class Leaving:
    """Leaves these targets out of every recipe but the original."""

    def __init__(self, **reasons: str):
        self.reasons = reasons

    def left_out(self, recipe):
        return self.reasons if recipe.changes_layers or recipe.precision else {}


def on_device(folder, *errors: StageError, **reasons: str):
    lite = FakeTarget(LITE, 0.4, *errors)
    return replace(make_evaluator(folder, FakeTarget(), lite), placing=Leaving(**reasons)), lite


def test_a_candidate_is_not_tried_where_it_is_left_out(tmp_path):
    subject, lite = on_device(tmp_path, lite="predicted 0.97 ×")
    original = evaluated(subject)
    asked = lite.asked
    made = evaluated(subject, INT8, trial=3, baseline=original)
    assert isinstance(made, Point) and made.measured.keys() == {"fake"}
    assert made.left_out == {"lite": "predicted 0.97 ×"} and made.waiting == ()
    assert lite.asked == asked


def test_a_runtime_that_cannot_run_the_original_is_left_out_of_everything(tmp_path):
    subject, _ = on_device(tmp_path, StageError("no such operator", stage="measure", retryable=False))
    original = evaluated(subject)
    assert original.measured.keys() == {"fake"}
    assert original.left_out["lite"].endswith("cannot run the original model: no such operator")
    made = evaluated(subject, INT8, trial=3, baseline=original)
    assert made.measured.keys() == {"fake"} and made.left_out == original.left_out


def test_a_runtime_that_was_too_noisy_for_the_original_is_asked_again(tmp_path):
    restless = StageError("restless", stage="measure", kind="noisy", retryable=True)
    subject, _ = on_device(tmp_path, restless)
    original = evaluated(subject)
    assert original.waiting == ("lite",) and original.left_out == {}


def test_what_every_runtime_is_left_out_of_fails(tmp_path):
    subject, _ = on_device(tmp_path, lite="no w4 there", fake="no w2 there")
    failure = evaluated(subject, INT8, trial=3, baseline=evaluated(subject))
    assert isinstance(failure, Failure) and "no w4 there; no w2 there" in failure.message
