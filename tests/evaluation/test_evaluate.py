"""One candidate: what becomes of errors, retries, and the metric, with a fake compressor and a fake target."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError
from autocompress.evaluation import paced_training
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Failure, Point
from autocompress.results.records.reading import Fields
from autocompress.results.records.run import Run
from autocompress.results.view import RunOn
from autocompress.tasks.task import Metric
from autocompress.tests.evaluation.fake_targets import (
    OUTPUTS,
    FakeCompressor,
    FakeTarget,
    evaluated,
    make_evaluator,
)
from autocompress.tests.results.records import latency, run_facts


@pytest.fixture(autouse=True)
def no_real_latency(monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: latency(measurement.ratio)))


def error(*, retryable):
    return StageError("the worker died", stage="run", kind="crash", retryable=retryable)


def warnings(original):
    """What a run tells of its only point."""
    return RunOn.of(Run(facts=run_facts(), points=(original,)), "fake").baseline.warnings


def test_a_measured_candidate_carries_its_numbers(tmp_path):
    recipe = Recipe(precision={"layer0": "int8"})
    subject = make_evaluator(tmp_path)
    original = evaluated(subject)
    answered = original.measured["fake"]
    answered = replace(answered, quality=replace(answered.quality, validation=0.9))
    made = evaluated(subject, recipe, trial=3, baseline=replace(original, outcomes={"fake": answered}))
    measured = made.measured["fake"]
    assert (made.trial, measured.quality.validation, made.elapsed_s) == (3, 1.0, 12.0)
    assert measured.drop == pytest.approx(-0.1)
    assert measured.artifact.file == f"artifacts/{measured.artifact.digest}.onnx"
    assert {"build", "check", "validate", "inspect", "measure"} <= made.seconds.keys()
    assert Point.from_json(Fields(json.loads(json.dumps(made.to_json())), "trial 3")) == made


def test_a_layer_that_ran_in_another_precision_is_reported(tmp_path):
    made = evaluated(make_evaluator(tmp_path), Recipe(precision={"layer0": "int8", "layer1": "int8"}))
    assert warnings(made) == ["asked int8, ran float32: layer0"]
    assert made.measured["fake"].layers[1].precision_executed is None


@pytest.mark.parametrize(
    ("asked", "executed", "told"),
    [
        ("int4", "int8", []),
        ("int4", "float32", ["asked int4, ran float32: layer0"]),
        ("block4", "block4", []),
    ],
)
def test_few_stored_bits_may_run_in_int8_but_not_in_float32(asked, executed, told, tmp_path):
    subject = make_evaluator(tmp_path, FakeTarget(executed=executed))
    assert warnings(evaluated(subject, Recipe(precision={"layer0": asked}))) == told


def test_a_transient_failure_is_retried_once(tmp_path):
    compressor = FakeCompressor(error(retryable=True))
    assert isinstance(evaluated(make_evaluator(tmp_path, compressor=compressor)), Point)
    assert compressor.builds == 2


@pytest.mark.parametrize(("retryable", "builds"), [(True, 2), (False, 1)])
def test_a_failure_is_recorded_with_stage_and_reason(tmp_path, retryable, builds):
    compressor = FakeCompressor(*[error(retryable=retryable)] * 2)
    failure = evaluated(make_evaluator(tmp_path, compressor=compressor), trial=3)
    assert failure == Failure(
        trial=3, stage="run", kind="crash", message="the worker died", retryable=retryable
    )
    assert compressor.builds == builds


def test_a_bug_in_a_stage_propagates(tmp_path):
    with pytest.raises(KeyError):
        evaluated(make_evaluator(tmp_path, compressor=FakeCompressor(KeyError("bug"))))


def test_answers_that_differ_from_torch_fail(tmp_path):
    failure = evaluated(make_evaluator(tmp_path, FakeTarget(outputs=OUTPUTS[::-1].copy())))
    assert isinstance(failure, Failure) and failure.kind == "wrong-output"


def test_a_metric_that_is_no_number_fails_the_candidate(tmp_path):
    metric = Metric(name="ratio", function=lambda outputs, targets: float("nan"))
    failure = evaluated(make_evaluator(tmp_path, metric=metric))
    assert isinstance(failure, Failure) and "'ratio' of the artifact is nan" in failure.message


def test_an_artifact_that_is_gone_is_built_again(tmp_path):
    subject = make_evaluator(tmp_path)
    made = evaluated(subject)
    artifact = made.measured["fake"].artifact
    subject.bench.artifact_path(made.recipe, artifact).unlink()
    assert subject.bench.artifact_path(made.recipe, artifact).is_file()


def test_an_artifact_that_is_damaged_is_built_again(tmp_path):
    subject = make_evaluator(tmp_path)
    made = evaluated(subject)
    artifact = made.measured["fake"].artifact
    whole = subject.bench.artifact_path(made.recipe, artifact).read_bytes()
    subject.bench.artifact_path(made.recipe, artifact).write_bytes(whole[:-1])
    assert subject.bench.artifact_path(made.recipe, artifact).read_bytes() == whole


def test_an_artifact_that_is_built_as_another_file_is_not_taken_for_it(tmp_path):
    subject = make_evaluator(tmp_path)
    made = evaluated(subject)
    artifact = made.measured["fake"].artifact
    subject.bench.artifact_path(made.recipe, artifact).unlink()
    subject.bench.compressor.ending = "-2.onnx"
    with pytest.raises(StageError, match=r"is gone, and what is built now is another file: use --fresh"):
        subject.bench.artifact_path(made.recipe, artifact)


def test_training_lets_others_measure_from_time_to_time(monkeypatch):
    taken = []

    @contextmanager
    def lease(*, cores=None):
        taken.append("taken")
        yield
        taken.append("let go")

    monkeypatch.setattr(paced_training, "training", lease)
    monkeypatch.setattr(paced_training, "PACE_S", 0.0)
    with paced_training.PacedTraining(lambda text: None) as paced:
        paced("step 1")
    assert taken == ["taken", "let go", "taken", "let go"]


FAULTY = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]]


class AnswersByFile(FakeTarget):
    """Answers wrongly on one sample, but for the original."""

    def run(self, model, inputs, *, batch, exact=False):
        answer = super().run(model, inputs, batch=batch)
        return answer if exact or model.read_text() == Recipe().digest else (FAULTY,)


def test_a_drop_has_an_interval_of_its_own(tmp_path):
    target = AnswersByFile()
    subject = make_evaluator(tmp_path, target)
    original = evaluated(subject)
    made = evaluated(subject, Recipe(precision={"layer0": "int8"}), trial=1, baseline=original)
    there, before = made.measured["fake"], original.measured["fake"]
    assert before.drop_interval is None and there.drop == 0.25
    assert there.drop_interval is not None and there.drop_interval[0] < 0.25 < there.drop_interval[1]


def test_the_original_answers_once_in_a_session(tmp_path):
    first = make_evaluator(tmp_path, AnswersByFile())
    original = evaluated(first)
    target = AnswersByFile()
    later = make_evaluator(tmp_path, target)  # a continued session has the original's record alone
    recipes = [Recipe(precision={f"layer{index}": "int8"}) for index in range(2)]
    made = [evaluated(later, recipe, trial=1, baseline=original).measured["fake"] for recipe in recipes]
    assert target.asked == 2 * 2 + 1  # a check and a validation each
    assert made[0].drop_interval == made[1].drop_interval != None  # noqa: E711
