"""What a search has measured, as a Run, and what its study is told of it."""

from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.explore.looks import Look, LookKey
from autocompress.explore.rungs.tables import corner_of
from autocompress.explore.state import Objectives, SearchState, affordable, clearly_loses
from autocompress.profiles import parse_drop
from autocompress.results.limits import Constraints
from autocompress.results.records.point import Failure, LayerRow
from autocompress.results.records.progress import SearchFacts
from autocompress.results.records.run import Run
from autocompress.targets.layer_times import LayerTimes
from autocompress.tests.profiles.records import ENVIRONMENT
from autocompress.tests.results.records import TARGET, latency, on_two, point, run_facts, run_of

FAST = point(1, drop=0.01, ratio=0.5, size=30_000)
FOR_CPU = on_two(1, drop=0.01, ratio=0.4, edge=0.9)
FOR_EDGE = on_two(2, drop=0.01, ratio=0.8, edge=0.5)


def state(*points, looks=None, uniform_digest="none"):
    targets = {name: Constraints() for name in points[0].outcomes}
    made = SearchState(
        facts=run_facts(targets), uniform_digest=uniform_digest, looks={} if looks is None else looks
    )
    for item in points:
        made.add(item)
    return made


def joint(*points, cpu=None, edge=None) -> Run:
    return run_of(
        on_two(0), *points, constraints={"cpu": cpu or Constraints(), "edge": edge or Constraints()}
    )


# --- the run


def test_the_run_follows_what_is_measured_and_told():
    subject = state(point(0), uniform_digest=FAST.recipe.digest)
    assert subject.run.uniform_int8 is None
    subject.add(FAST)
    failure = Failure(trial=2, stage="run", kind="crash", message="m", retryable=True)
    subject.fail(failure)
    subject.tell(SearchFacts(time={"r0": 1.0}))
    run = subject.run
    assert (run.uniform_int8, run.failures, run.search.time) == (FAST, (failure,), {"r0": 1.0})
    assert subject.run is run, "it is made once"


def test_a_finalists_longer_measurement_replaces_the_first_one():
    looks: dict[LookKey, Look] = {}
    subject = state(point(0), FAST, looks=looks)
    assert not subject.run.point(1).measured[TARGET].finalist
    looks[FAST.measured[TARGET].artifact.digest, TARGET] = Look(test=0.88, latency=latency(0.55))
    subject.changed()
    measured = subject.run.point(1).measured[TARGET]
    assert (measured.latency.ratio, measured.quality.test, measured.finalist) == (0.55, 0.88, True)
    assert subject.points[1] == FAST, "what was measured first stays"


def test_a_finalists_longer_measurement_counts_on_the_target_where_it_was_taken():
    look = Look(test=0.88, latency=latency(0.55))
    digest = FOR_EDGE.measured["edge"].artifact.digest
    measured = state(on_two(0), FOR_EDGE, looks={(digest, "edge"): look}).run.point(2).measured
    assert measured["edge"].latency.ratio == 0.55 and measured["edge"].finalist
    assert measured["cpu"].latency.ratio == 0.8 and not measured["cpu"].finalist


def test_a_look_without_a_latency_keeps_the_first_one():
    look = Look(test=0.88)
    digest = FAST.measured[TARGET].artifact.digest
    measured = state(point(0), FAST, looks={(digest, TARGET): look}).run.point(1).measured[TARGET]
    assert (measured.latency.ratio, measured.quality.test) == (0.5, 0.88)


def row(name: str) -> LayerRow:
    return LayerRow(
        name=name,
        kind="conv",
        channels_in=8,
        channels_out=8,
        channels_in_original=8,
        channels_out_original=8,
        precision_asked="float32",
        precision_executed=None,
        bits=32,
        macs=1,
        parameters=1,
        bytes=4,
    )


def test_the_layers_of_finalists_have_the_profilers_times_before_and_after():
    there = replace(FAST.measured[TARGET], layers=(row("layer0"), row("layer1")))
    fast, original = replace(FAST, outcomes={TARGET: there}), point(0)
    before = LayerTimes(layers={"layer0": 5e-5, "layer1": 4e-5}, other_s=9e-5)
    looks = {
        (there.artifact.digest, TARGET): Look(times=LayerTimes(layers={"layer0": 2e-5}, other_s=7e-5)),
        (original.measured[TARGET].artifact.digest, TARGET): Look(times=before),
    }
    measured = state(original, fast, looks=looks).run.point(1).measured[TARGET]
    times = [(layer.time_s, layer.time_original_s) for layer in measured.layers]
    assert times == [(2e-5, 5e-5), (None, 4e-5)] and measured.other_time_s == 7e-5


def test_the_environments_of_targets_that_are_away_are_those_of_the_last_session():
    subject = state(on_two(0))
    subject.learn_environments({"cpu": ENVIRONMENT, "edge": ENVIRONMENT})
    before = subject.run
    again, now = state(on_two(0)), replace(ENVIRONMENT, load_1m=0.5)
    again.learn_environments({"cpu": now})
    again.take_over(before)
    assert [target.environment for target in again.run.targets] == [now, ENVIRONMENT]


# --- what the study is told


def test_samplers_are_told_that_a_useless_model_is_infeasible():
    useless = point(3, drop=0.3, ratio=0.01, size=10)
    run = run_of(point(0), FAST, useless)
    assert Objectives.of(run, useless).constraints["worth"] > 0
    assert Objectives.of(run, FAST).constraints["worth"] < 0


def test_a_model_within_a_wide_limit_on_the_drop_is_not_useless():
    far = point(3, drop=0.3, ratio=0.01, size=10)
    limits = {TARGET: Constraints(max_drop=parse_drop("40pp"))}
    assert Objectives.of(run_of(point(0), far, constraints=limits), far).constraints["worth"] < 0


def test_the_study_is_told_the_worst_numbers_and_the_worst_excess_of_all_targets():
    objectives = Objectives.of(joint(FOR_CPU, edge=Constraints(max_latency_s=0.6e-3)), FOR_CPU)
    assert objectives.values == pytest.approx((0.2, 1.0, 0.9))
    assert objectives.constraints["latency"] == pytest.approx(0.5)


def test_only_training_mends_a_drop():
    limits = {TARGET: Constraints(max_drop=parse_drop("0.5pp"), max_size_bytes=50_000)}
    large = point(2, drop=0.0, ratio=0.5, size=60_000)
    run = run_of(point(0), FAST, large, constraints=limits)
    assert affordable(run, FAST) and not affordable(run, large)


def test_a_drop_is_clear_when_its_interval_is_above_none_or_nobody_knows_it():
    clear, unclear = (
        point(trial, drop=0.004, drop_interval=(low, 0.008)) for trial, low in [(2, 0.001), (3, -0.001)]
    )
    run = run_of(point(0), FAST, clear, unclear)
    assert [clearly_loses(run, one) for one in (FAST, clear, unclear)] == [True, True, False]


def test_the_sampler_aims_at_the_tightest_limits_of_all_targets():
    edge = Constraints(max_latency_s=0.5e-3, max_size_bytes=40_000)
    run = joint(cpu=Constraints(max_latency_s=0.8e-3), edge=edge)
    assert corner_of(run) == pytest.approx((1.0, 0.4, 0.5))


def test_a_run_cannot_be_made_before_the_original_is_measured():
    with pytest.raises((ValueError, IndexError)):
        _ = SearchState(facts=run_facts(), uniform_digest=Recipe().digest).run
