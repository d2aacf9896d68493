"""One candidate: what becomes of errors, retries, and the metric, with a fake compressor and a fake target."""

from collections import namedtuple
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from autocompress.compress.artifact import Artifact
from autocompress.compress.onnx_file.check import OutputCheck
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError
from autocompress.profiles import SEARCH_TIMING
from autocompress.results.evaluation import Evaluation, Failure, Latency
from autocompress.search.evaluation import evaluate as module
from autocompress.search.evaluation.evaluate import Evaluator, PacedTraining
from autocompress.search.evaluation.uncertainty import bootstrap_interval
from autocompress.tasks.task import Metric, accuracy
from autocompress.tests.search.fakes import METRIC, PROFILE, FakeNetwork, evaluation, latency

OUTPUTS = np.eye(4, dtype=np.float32)
TARGETS = torch.arange(4)
CHECK = OutputCheck(inputs=(np.zeros((4, 1)),), expected=(OUTPUTS,), tolerance=1e-3)
Split = namedtuple("Split", "inputs targets")


class FakeCompressor:
    def __init__(self, errors=()):
        self.errors = list(errors)
        self.builds = 0

    def build(self, recipe, out_dir, *, progress=None):
        self.builds += 1
        if self.errors:
            raise self.errors.pop(0)
        path = Path(out_dir) / f"{recipe.digest}.onnx"
        path.write_bytes(b"model")
        artifact = Artifact(path=path, digest=recipe.digest, size_bytes=5, macs=1, parameters=1, precision={})
        return SimpleNamespace(artifact=artifact, seconds={"build": 0.1}, check=CHECK)


class FakeTarget:
    profile = PROFILE

    def __init__(self, outputs=OUTPUTS):
        self.outputs = outputs

    @contextmanager
    def session(self):
        yield self

    def run(self, model, inputs, *, batch, exact=False):
        return (self.outputs,)

    def running_batch(self, batch, *, measured):
        return batch

    def executed_precision(self, model, layers, *, batch):
        return {"layer0": "float32"}

    def measure(self, model, baseline, timing):
        return SimpleNamespace(loop_s=0.0)


@pytest.fixture(autouse=True)
def no_real_latency(monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: latency(0.5)))


def evaluator(tmp_path, *, compressor=None, target=None, metric=None):
    return Evaluator(
        network=FakeNetwork(),
        compressor=compressor or FakeCompressor(),
        target=target or FakeTarget(),
        metric=metric or replace(METRIC, function=accuracy),
        validation=Split(tmp_path / "validation.npz", TARGETS),
        artifacts=tmp_path,
        timing=SEARCH_TIMING,
        elapsed=lambda: 12.0,
    )


def evaluated(subject, recipe=None, *, baseline=None):
    return subject.evaluate(3, recipe or Recipe(), baseline=baseline, progress=lambda text: None)


def error(*, retryable):
    return StageError("the worker died", stage="run", kind="crash", retryable=retryable)


def test_a_measured_candidate_carries_its_numbers(tmp_path):
    recipe = Recipe(precision={"layer0": "int8"})
    seen = evaluated(evaluator(tmp_path), recipe, baseline=evaluation(0))
    assert isinstance(seen, Evaluation)
    assert (seen.trial, seen.validation, seen.elapsed_s) == (3, 1.0, 12.0)
    assert seen.drop == pytest.approx(-0.1) and seen.artifact.file == f"artifacts/{recipe.digest}.onnx"
    assert {"build", "check", "validate", "inspect", "measure"} <= seen.seconds.keys()
    assert Evaluation.from_json(seen.to_json()) == seen


def test_a_layer_that_ran_in_another_precision_is_reported(tmp_path):
    seen = evaluated(evaluator(tmp_path), Recipe(precision={"layer0": "int8", "layer1": "int8"}))
    assert seen.warnings == ["asked int8, ran float32: layer0"]
    assert seen.layers[1]["precision_executed"] is None


@pytest.mark.parametrize(
    ("asked", "executed", "told"),
    [
        ("int4", "int8", []),
        ("int4", "float32", ["asked int4, ran float32: layer0"]),
        ("block4", "block4", []),
    ],
)
def test_few_stored_bits_may_run_in_int8_but_not_in_float32(asked, executed, told, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeTarget, "executed_precision", lambda *_, **__: {"layer0": executed})
    assert evaluated(evaluator(tmp_path), Recipe(precision={"layer0": asked})).warnings == told


def test_a_transient_failure_is_retried_once(tmp_path):
    compressor = FakeCompressor([error(retryable=True)])
    assert isinstance(evaluated(evaluator(tmp_path, compressor=compressor)), Evaluation)
    assert compressor.builds == 2


@pytest.mark.parametrize(("retryable", "builds"), [(True, 2), (False, 1)])
def test_a_failure_is_recorded_with_stage_and_reason(tmp_path, retryable, builds):
    compressor = FakeCompressor([error(retryable=retryable)] * 2)
    seen = evaluated(evaluator(tmp_path, compressor=compressor))
    assert seen == Failure(trial=3, stage="run", kind="crash", message="the worker died", retryable=retryable)
    assert compressor.builds == builds


def test_a_bug_in_a_stage_propagates(tmp_path):
    with pytest.raises(KeyError):
        evaluated(evaluator(tmp_path, compressor=FakeCompressor([KeyError("bug")])))


def test_answers_that_differ_from_torch_fail(tmp_path):
    seen = evaluated(evaluator(tmp_path, target=FakeTarget(OUTPUTS[::-1].copy())))
    assert isinstance(seen, Failure) and seen.kind == "wrong-output"


def test_a_metric_that_is_no_number_fails_the_candidate(tmp_path):
    metric = Metric(name="ratio", function=lambda outputs, targets: float("nan"))
    seen = evaluated(evaluator(tmp_path, metric=metric))
    assert isinstance(seen, Failure) and "'ratio' of the artifact is nan" in seen.message


def test_an_artifact_that_is_gone_is_built_again(tmp_path):
    subject = evaluator(tmp_path)
    seen = evaluated(subject)
    subject.artifact_path(seen).unlink()
    assert subject.artifact_path(seen).is_file()


def test_training_lets_others_measure_from_time_to_time(monkeypatch):
    taken = []

    @contextmanager
    def lease(*, cores=None):
        taken.append("taken")
        yield
        taken.append("let go")

    monkeypatch.setattr(module, "training", lease)
    monkeypatch.setattr(module, "PACE_S", 0.0)
    with PacedTraining(lambda text: None) as paced:
        paced("step 1")
    assert taken == ["taken", "let go", "taken", "let go"]


def test_the_bootstrap_interval_of_an_accuracy_is_that_of_a_binomial():
    targets = torch.arange(1000) % 10
    outputs = torch.nn.functional.one_hot(
        torch.where(torch.arange(1000) < 900, targets, (targets + 1) % 10), 10
    ).float()
    metric = Metric(name="accuracy", function=accuracy)
    interval = bootstrap_interval(metric, [outputs.numpy()], targets)
    assert interval == pytest.approx((0.9 - 1.96 * 0.0095, 0.9 + 1.96 * 0.0095), abs=0.006)


def test_a_bootstrap_follows_nested_targets():
    targets = ({"label": torch.arange(50)}, ["a"] * 50)
    metric = Metric(
        name="same", function=lambda outputs, t: float((outputs == t[0]["label"]).float().mean()) + len(t[1])
    )
    assert bootstrap_interval(metric, [np.arange(50)], targets) == pytest.approx((51.0, 51.0))
