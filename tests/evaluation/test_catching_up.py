"""A candidate on a list of targets: compressed once, asked once where answers are shared, missing where
measuring fails, and measured there later.
"""

import json
from dataclasses import replace

import pytest
from autocompress.compress.options import FileFormat
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError, TargetUnavailable
from autocompress.evaluation.catching_up import CatchingUp, caught_up
from autocompress.explore.finalists import Finalists
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Failure, Measured, Missing, Point
from autocompress.results.records.reading import Fields
from autocompress.results.run_directory import RunDirectory
from autocompress.tests.evaluation.fake_targets import (
    FakeCompressor,
    FakeTarget,
    evaluated,
    make_evaluator,
    stored_split,
)
from autocompress.tests.explore.fakes import CONFIG, PROFILE, FakeNetwork
from autocompress.tests.present import present
from autocompress.tests.results.records import latency

CPU = replace(PROFILE, name="cpu")
EDGE = replace(PROFILE, name="edge", memory_limit_bytes=1 << 29)
NEWER = replace(PROFILE, name="newer", opset=22)
NOISY = StageError("restless", stage="measure", kind="noisy", retryable=True)
BROKEN = StageError("no kernel", stage="measure", kind="error")
AWAY = TargetUnavailable("gone")


@pytest.fixture(autouse=True)
def no_real_latency(monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, measurement: latency(measurement.ratio)))


def evaluator(folder, *others, cpu=None, **options):
    return make_evaluator(folder, cpu or FakeTarget(CPU, 0.5), *others, **options)


def candidate(subject, original):
    return evaluated(subject, Recipe(precision={"layer0": "int8"}), trial=3, baseline=original)


def later(subject, point, original):
    return caught_up(subject, point, original=original, progress=lambda text: None)


def warnings(point, target):
    return [layer.name for layer in point.measured[target].layers if layer.differs]


def test_a_candidate_is_compressed_once_and_measured_on_every_target(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7))
    point = candidate(subject, evaluated(subject))
    assert subject.bench.compressor.builds == 2  # the original and the candidate
    assert [measured.latency.ratio for measured in point.measured.values()] == [0.5, 0.7]
    assert list(point.outcomes) == ["cpu", "edge"]
    assert Point.from_json(Fields(json.loads(json.dumps(point.to_json())), "trial 3")) == point


def test_targets_with_the_same_file_and_runtime_share_its_answers(tmp_path):
    edge = FakeTarget(EDGE, 0.7)
    subject = evaluator(tmp_path, edge)
    point = candidate(subject, evaluated(subject))
    cpu, there = point.measured["cpu"], point.measured["edge"]
    assert edge.asked == 0 and there.quality.validation == 1.0
    assert there.artifact == cpu.artifact and there.layers == cpu.layers
    assert warnings(point, "edge") == warnings(point, "cpu") == ["layer0"]


@pytest.mark.parametrize(
    "profile", [NEWER, replace(EDGE, runtime_options={"session.x": "1"})], ids=["file", "options"]
)
def test_another_file_or_other_options_are_asked_themselves(tmp_path, profile):
    target = FakeTarget(profile, 0.7)
    outcomes = evaluated(evaluator(tmp_path, target)).outcomes
    assert target.asked == 2  # the check and the validation split
    same = outcomes[profile.name].artifact.digest == outcomes["cpu"].artifact.digest
    assert same == (profile is not NEWER)


def test_the_bits_of_a_layer_are_those_in_the_file_of_each_target(tmp_path):
    target = FakeTarget(replace(NEWER, int8_weights="float32"), 0.7)
    compressor = FakeCompressor(other=FileFormat(opset=22, int8_weights="float32"))
    network = FakeNetwork(int8_weights="float32")
    subject = evaluator(tmp_path, target, compressor=compressor, network=network)
    point = candidate(subject, evaluated(subject))
    assert [point.measured[name].layers[0].bits for name in ("cpu", "newer")] == [8, 32]


@pytest.mark.parametrize("error", [NOISY, AWAY], ids=["noisy", "unavailable"])
@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
def test_what_cannot_be_measured_on_a_target_is_missing_there_and_nowhere_else(tmp_path, error, place):
    targets = [FakeTarget(CPU, 0.5), FakeTarget(EDGE, 0.7), FakeTarget(NEWER, 0.6)]
    targets[place].errors = [None, error]
    subject = make_evaluator(tmp_path, *targets)
    point = candidate(subject, evaluated(subject))
    name, *_ = point.missing
    assert list(point.missing) == [targets[place].profile.name] and len(point.measured) == 2
    assert point.measured["newer"].latency.ratio == 0.6
    assert point.missing[name].quality.validation == 1.0
    assert point.missing[name].failure.message == str(error)


def test_what_no_target_measures_fails_for_the_candidates_own_reason(tmp_path):
    cpu, edge = FakeTarget(CPU, 0.5, None, AWAY), FakeTarget(EDGE, 0.7, None, BROKEN)
    subject = evaluator(tmp_path, edge, cpu=cpu)
    failure = candidate(subject, evaluated(subject))
    assert isinstance(failure, Failure) and failure.message == "no kernel"


def test_a_target_that_is_away_is_not_asked_while_another_one_measures(tmp_path):
    cpu = FakeTarget(CPU, 0.5)
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7), cpu=cpu)
    original = evaluated(subject)
    subject.availability.gone("cpu", "no route")
    cpu.errors = [AssertionError("asked")]
    point = candidate(subject, original)
    assert point.missing["cpu"].failure.message == "no route" and point.waiting == ("cpu",)
    assert list(point.outcomes) == ["cpu", "edge"] and list(point.measured) == ["edge"]


def test_a_target_that_is_away_is_asked_when_no_other_measures(tmp_path):
    cpu, edge = FakeTarget(CPU, 0.5), FakeTarget(EDGE, 0.7)
    subject = evaluator(tmp_path, edge, cpu=cpu)
    original = evaluated(subject)
    subject.availability.gone("cpu", "no route")
    edge.errors = [AWAY]
    point = candidate(subject, original)
    assert list(point.measured) == ["cpu"] and point.waiting == ("edge",)
    assert subject.availability.reason("cpu") is None


def test_when_all_targets_are_away_the_search_cannot_go_on(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, AWAY), cpu=FakeTarget(CPU, 0.5, None, AWAY))
    original = evaluated(subject)
    with pytest.raises(TargetUnavailable, match="Target 'cpu,edge' cannot be used: gone"):
        candidate(subject, original)


def test_the_original_may_be_missing_only_on_targets_that_are_away(tmp_path):
    failure = evaluated(evaluator(tmp_path, FakeTarget(EDGE, 0.7, NOISY, NOISY)))
    assert isinstance(failure, Failure) and failure.kind == "noisy"
    assert failure.message == "on target 'edge': restless"
    original = evaluated(evaluator(tmp_path, FakeTarget(EDGE, 0.7, AWAY)))
    assert isinstance(original.outcomes["edge"], Missing) and original.waiting == ("edge",)


def test_nothing_is_compared_with_an_original_that_was_not_measured(tmp_path):
    edge = FakeTarget(EDGE, 0.7, AWAY)
    subject = evaluator(tmp_path, edge)
    original = evaluated(subject)
    subject.availability.answered("edge")
    point = candidate(subject, original)
    assert point.missing["edge"].failure.message == "The original is not measured on 'edge' yet."
    assert point.waiting == ("edge",)


def test_a_missing_candidate_is_measured_later_without_compressing_it_again(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY))
    original = evaluated(subject)
    again = later(subject, candidate(subject, original), original)
    assert not again.missing and again.measured["edge"].latency.ratio == 0.7
    assert subject.bench.compressor.builds == 2


def test_a_failure_that_will_come_again_is_not_tried_again(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, BROKEN))
    original = evaluated(subject)
    again = later(subject, candidate(subject, original), original)
    assert list(again.missing) == ["edge"]


def test_an_original_that_is_too_restless_when_it_is_caught_up_waits_and_ends_nothing(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, NOISY))
    subject.availability.gone("edge", "no route")
    original = evaluated(subject)
    subject.availability.ask_all()
    again = later(subject, original, None)
    assert list(again.missing) == ["edge"] and again.waiting == ("edge",)
    assert subject.availability.reason("edge") == "restless" and not subject.availability.may_ask("edge")
    subject.availability.ask_all()
    assert later(subject, again, None).measured["edge"].latency.ratio == 0.7


def test_a_target_that_is_away_is_caught_up_on_when_asking_is_due(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, AWAY))
    original = evaluated(subject)
    missing = candidate(subject, original)
    assert later(subject, missing, original) == missing
    subject.availability.ask_all()
    assert later(subject, missing, original).measured["edge"].latency.ratio == 0.7


def catch_up(directory, subject, points):
    CatchingUp(directory, subject).catch_up(points, progress=lambda text: None, time_left=lambda: True)


def test_a_failure_for_good_when_it_is_caught_up_is_kept_and_not_tried_by_the_next_session(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY, BROKEN))
    points = [evaluated(subject)]
    missing = candidate(subject, points[0])
    points.append(missing)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        catch_up(directory, subject, points)
        restored = CatchingUp(directory, subject).restored(missing)
    assert restored.missing["edge"].failure.message == "no kernel" and restored.waiting == ()


def test_what_was_measured_later_is_kept_in_the_run_directory(tmp_path):
    subject = evaluator(tmp_path, FakeTarget(EDGE, 0.7, None, NOISY))
    points = [evaluated(subject)]
    missing = candidate(subject, points[0])
    points.append(missing)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        catch_up(directory, subject, points)
        assert isinstance(points[1].outcomes["edge"], Measured)
        assert CatchingUp(directory, subject).restored(missing) == points[1]


def test_a_finalist_is_looked_at_on_every_target_and_its_file_is_scored_once(tmp_path):
    edge, split = FakeTarget(EDGE, 0.7), stored_split(tmp_path / "test.npz")
    subject = evaluator(tmp_path, edge)
    original = evaluated(subject)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        finalists = Finalists(directory, subject, split, batch=1)
        for expected in (True, False):
            looked = finalists.look_at(
                [original], baseline=original, progress=lambda text: None, time_left=lambda: True
            )
            assert looked is expected
    look = finalists.looks[original.measured["edge"].artifact.digest, "edge"]
    assert (present(look.latency).ratio, look.test, edge.asked) == (0.7, 1.0, 0)
