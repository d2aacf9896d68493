"""A candidate on further targets: compressed once, asked once where answers are shared, missing where
measuring fails.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from autocompress.compress.artifact import Artifact
from autocompress.compress.compressor import BuildResult
from autocompress.compress.onnx_file.check import OutputCheck
from autocompress.compress.options import FileFormat
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError, TargetUnavailable
from autocompress.profiles import SEARCH_TIMING
from autocompress.results.evaluation import Evaluation, Failure, Latency
from autocompress.results.run_directory import RunDirectory
from autocompress.search.evaluation.evaluate import Evaluator
from autocompress.search.evaluation.further import caught_up, missing_again
from autocompress.search.finalists import Finalists, look_key
from autocompress.tasks.task import accuracy
from autocompress.tests.search.fakes import CONFIG, METRIC, PROFILE, FakeNetwork, latency

OUTPUTS, TARGETS = np.eye(4, dtype=np.float32), torch.arange(4)
CPU = replace(PROFILE, name="cpu")
EDGE = replace(PROFILE, name="edge", memory_limit_bytes=1 << 29)
NEWER = replace(PROFILE, name="newer", opset=22)
NOISY = StageError("restless", stage="measure", kind="noisy", retryable=True)


class FakeCompressor:
    def __init__(self):
        self.builds, self.further = 0, FileFormat(opset=22)

    def build(self, recipe, out_dir, *, progress=None):
        self.builds += 1
        further = {self.further: self._file(f"{recipe.digest}-22", out_dir)}
        return replace(self._file(recipe.digest, out_dir), further=further)

    def _file(self, digest, out_dir):
        path = Path(out_dir) / f"{digest}.onnx"
        path.write_bytes(b"model")
        artifact = Artifact(path=path, digest=digest, size_bytes=5, macs=1, parameters=1, precision={})
        check = OutputCheck(inputs=(np.zeros((4, 1)),), expected=(OUTPUTS,), tolerance=1e-3)
        return BuildResult(artifact=artifact, seconds={"build": 0.1}, check=check)


class FakeTarget:
    def __init__(self, profile, ratio, *errors):
        self.profile, self.ratio, self.errors, self.asked = profile, ratio, list(errors), 0

    @contextmanager
    def session(self):
        yield self

    def run(self, model, inputs, *, batch, exact=False):
        self.asked += 1
        return (OUTPUTS,)

    def running_batch(self, batch, *, measured):
        return batch

    def executed_precision(self, model, layers, *, batch):
        return {"layer0": "float32"}

    def profile_layers(self, model, layers, *, batch):
        return None

    def measure(self, model, baseline, timing):
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return SimpleNamespace(loop_s=0.0, ratio=self.ratio)


@pytest.fixture(autouse=True)
def no_real_latency(monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: latency(measurement.ratio)))


def evaluator(tmp_path, *further):
    split = SimpleNamespace(inputs=tmp_path / "validation.npz", targets=TARGETS)
    return Evaluator(
        network=FakeNetwork(),
        compressor=FakeCompressor(),
        target=FakeTarget(CPU, 0.5),
        metric=replace(METRIC, function=accuracy),
        validation=split,
        artifacts=tmp_path,
        timing=SEARCH_TIMING,
        elapsed=lambda: 1.0,
        further=further,
    )


def evaluated(subject, *, trial=0, recipe=None, baseline=None):
    return subject.evaluate(trial, recipe or Recipe(), baseline=baseline, progress=lambda text: None)


def candidate(subject, baseline):
    return evaluated(subject, trial=3, recipe=Recipe(precision={"layer0": "int8"}), baseline=baseline)


def test_a_candidate_is_compressed_once_and_measured_on_every_target(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7))
    seen = candidate(subject, evaluated(subject))
    assert subject.compressor.builds == 2  # the original and the candidate
    assert (seen.latency.ratio, seen.on("edge").latency.ratio) == (0.5, 0.7)
    assert Evaluation.from_json(seen.to_json()) == seen


def test_targets_with_the_same_file_and_runtime_share_its_answers(tmp_path):
    edge = FakeTarget(EDGE, 0.7)
    seen = evaluated(evaluator(tmp_path, edge))
    assert edge.asked == 0 and seen.on("edge").validation == 1.0
    assert seen.on("edge").artifact == seen.artifact and seen.on("edge").warnings == seen.warnings


@pytest.mark.parametrize(
    "profile", [NEWER, replace(EDGE, runtime_options={"session.x": "1"})], ids=["file", "options"]
)
def test_another_file_or_other_options_are_asked_themselves(tmp_path, profile):
    target = FakeTarget(profile, 0.7)
    seen = evaluated(evaluator(tmp_path, target))
    assert target.asked == 2  # the check and the validation split
    assert (seen.on(profile.name).artifact.digest == seen.artifact.digest) == (profile is not NEWER)


def test_the_bits_of_a_layer_are_those_in_the_file_of_each_target(tmp_path):
    eight = replace(NEWER, int8_weights="float32")
    subject = replace(
        evaluator(tmp_path, FakeTarget(eight, 0.7)), network=FakeNetwork(int8_weights="float32")
    )
    subject.compressor.further = FileFormat(opset=22, int8_weights="float32")
    seen = candidate(subject, evaluated(subject))
    assert [entry.layers[0]["bits"] for entry in (seen, seen.on("newer"))] == [8, 32]


@pytest.mark.parametrize("error", [NOISY, TargetUnavailable("gone")], ids=["noisy", "unavailable"])
def test_what_cannot_be_measured_on_a_further_target_is_missing_there_and_nowhere_else(tmp_path, error):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, error), FakeTarget(NEWER, 0.6))
    seen = candidate(subject, evaluated(subject))
    assert seen.missing == ["edge"] and seen.on("edge") is None and seen.on("newer").latency.ratio == 0.6
    assert seen.further["edge"].validation == 1.0 and seen.further["edge"].failure.message == str(error)


def test_the_original_must_be_measured_on_every_target(tmp_path):
    seen = evaluated(evaluator(tmp_path, FakeTarget(EDGE, 0.7, NOISY, NOISY)))
    assert isinstance(seen, Failure) and seen.kind == "noisy" and seen.message == "on target 'edge': restless"


def test_a_missing_candidate_is_measured_later_without_compressing_it_again(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY))
    baseline = evaluated(subject)
    again = caught_up(subject, candidate(subject, baseline), baseline=baseline, progress=lambda text: None)
    assert again.missing == [] and again.on("edge").latency.ratio == 0.7 and subject.compressor.builds == 2


def test_a_failure_that_will_come_again_is_not_tried_again(tmp_path):
    broken = StageError("no kernel", stage="measure", kind="error")
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, broken))
    baseline = evaluated(subject)
    again = caught_up(subject, candidate(subject, baseline), baseline=baseline, progress=lambda text: None)
    assert again.missing == ["edge"]


def test_an_original_that_is_too_restless_when_it_is_caught_up_waits_and_ends_nothing(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, NOISY))
    subject.availability.gone("edge", "no route")
    original = evaluated(subject)
    subject.availability.ask_all()
    again = caught_up(subject, original, baseline=None, progress=lambda text: None)
    assert again.missing == ["edge"] and missing_again(again) == ["edge"]
    assert subject.availability.reason("edge") == "restless" and not subject.availability.may_ask("edge")
    subject.availability.ask_all()
    assert (
        caught_up(subject, again, baseline=None, progress=lambda text: None).on("edge").latency.ratio == 0.7
    )


def test_a_failure_for_good_when_it_is_caught_up_is_kept_and_not_tried_by_the_next_session(tmp_path):
    broken = StageError("no kernel", stage="measure", kind="error")
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY, broken))
    evaluations = [evaluated(subject)]
    missing = candidate(subject, evaluations[0])
    evaluations.append(missing)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        Finalists(directory, subject, None, batch=1).catch_up(
            evaluations, progress=lambda text: None, time_left=lambda: True
        )
        restored = Finalists(directory, subject, None, batch=1).restored(missing)
    assert restored.further["edge"].failure.message == "no kernel" and missing_again(restored) == []


def test_what_was_measured_later_is_kept_in_the_run_directory(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY))
    evaluations = [evaluated(subject)]
    missing = candidate(subject, evaluations[0])
    evaluations.append(missing)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        Finalists(directory, subject, None, batch=1).catch_up(
            evaluations, progress=lambda text: None, time_left=lambda: True
        )
        assert evaluations[1].missing == []
        assert Finalists(directory, subject, None, batch=1).restored(missing) == evaluations[1]


def test_a_finalist_is_looked_at_on_every_target_and_its_file_is_scored_once(tmp_path):
    edge, split = FakeTarget(EDGE, 0.7), SimpleNamespace(inputs=tmp_path / "test.npz", targets=TARGETS)
    subject = evaluator(tmp_path, edge)
    baseline = evaluated(subject)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        finalists = Finalists(directory, subject, split, batch=1)
        for expected in (True, False):
            looked = finalists.look_at(
                [baseline], baseline=baseline, progress=lambda text: None, time_left=lambda: True
            )
            assert looked is expected
    look = finalists.known[look_key(baseline.artifact.digest, "edge")]
    assert (look.latency.ratio, look.test, edge.asked) == (0.7, 1.0, 0)
