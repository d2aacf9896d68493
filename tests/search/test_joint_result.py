"""The front of several targets: worst numbers, limits on each, what is missing, and front.json."""

from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.profiles import parse_drop
from autocompress.results.evaluation import Failure, OnTarget
from autocompress.results.limits import Constraints
from autocompress.search.finalists import Finalist, look_key
from autocompress.search.result import Result
from autocompress.search.rungs.guide import limits_of
from autocompress.search.screen import Screen
from autocompress.tests.search.fakes import (
    METRIC,
    FakeEvaluator,
    FakeNetwork,
    evaluation,
    latency,
    run_search,
)

FAILURE = Failure(trial=1, stage="measure", kind="noisy", message="restless", retryable=True)


def two(trial=0, *, edge=1.0, size=None, **numbers):
    """A candidate with these numbers on `cpu`, and a latency ratio (None: missing) on `edge`."""
    seen = evaluation(trial, **numbers)
    artifact = (
        seen.artifact
        if size is None
        else replace(seen.artifact, size_bytes=size, digest=f"{seen.artifact.digest}-edge")
    )
    on_edge = OnTarget(
        artifact=artifact,
        validation=seen.validation,
        drop=seen.drop,
        latency=None if edge is None else latency(edge),
        failure=FAILURE if edge is None else None,
    )
    return replace(seen, further={"edge": on_edge})


def result(*evaluations, cpu=None, edge=None, known=None):
    return Result(
        metric=METRIC,
        constraints=cpu or Constraints(),
        uniform_digest="none",
        evaluations=[two(0), *evaluations],
        known=known or {},
        target="cpu",
        further={"edge": edge or Constraints()},
    )


FOR_CPU = two(1, drop=0.01, ratio=0.4, edge=0.9)
FOR_EDGE = two(2, drop=0.01, ratio=0.8, edge=0.5)
FOR_NONE = two(3, drop=0.01, ratio=0.9, edge=0.9)


def test_a_candidate_counts_with_its_worst_numbers():
    assert result(FOR_CPU).vector(FOR_CPU) == pytest.approx((0.2, 1.0, 0.9))
    assert (
        result(two(1, ratio=0.4, edge=0.3, size=150_000)).vector(two(1, ratio=0.4, edge=0.3, size=150_000))[1]
        == 1.5
    )


def test_each_target_has_its_own_front_beside_the_joint_one():
    found = result(FOR_CPU, FOR_EDGE, FOR_NONE)
    assert [item.trial for item in found.front()] == [2, 0]
    assert {name: [item.trial for item in front] for name, front in found.fronts().items()} == {
        "cpu": [1, 0],
        "edge": [2, 0],
    }
    assert [item.trial for item in found.of_one_target()] == [1]


def test_one_target_has_no_fronts_beside_the_front():
    alone = Result(
        metric=METRIC,
        constraints=Constraints(),
        uniform_digest="none",
        evaluations=[evaluation(0), evaluation(1)],
    )
    assert (
        alone.fronts() == {}
        and "fronts" not in alone.points()
        and "targets" not in alone.points()["baseline"]
    )


def test_a_limit_holds_on_the_target_that_it_was_given_for():
    limited = result(FOR_CPU, FOR_EDGE, edge=Constraints(max_latency_s=0.6e-3))
    assert [item.trial for item in limited.front()] == [2]
    assert limited.excesses(FOR_CPU) == {"latency": pytest.approx(0.3e-3)}
    assert limited.sampler_constraints(FOR_CPU)["latency"] == pytest.approx(0.5)
    points = {point["trial"]: point for point in [*limited.points()["front"], *limited.points()["dominated"]]}
    assert points[1]["violations"].keys() == {"latency"} and points[1]["targets"]["cpu"]["feasible"]
    assert not points[1]["targets"]["edge"]["feasible"]


def test_the_worst_of_two_latency_limits_is_the_worst_for_its_limit():
    limited = result(FOR_CPU, cpu=Constraints(max_latency_s=0.1e-3), edge=Constraints(max_latency_s=0.5e-3))
    assert limited.relative_excesses(FOR_CPU) == {
        "latency": pytest.approx(3.0)
    }  # 0.4 ms of 0.1 ms, not 0.9 ms of 0.5 ms
    assert limited.excesses(FOR_CPU) == {"latency": pytest.approx(0.3e-3)}


def test_a_candidate_that_is_missing_on_a_target_is_on_no_joint_front_but_on_those_of_the_others():
    found = result(two(1, drop=0.01, ratio=0.4, edge=None))
    points = found.points()
    assert [point["trial"] for point in points["front"]] == [0] and points["fronts"] == {
        "cpu": [1, 0],
        "edge": [0],
    }
    entry = points["dominated"][0]["targets"]["edge"]
    assert (entry["latency"], entry["missing"], points["dominated"][0]["feasible"]) == (
        None,
        "restless",
        False,
    )
    assert found.hypervolume() == result().hypervolume()


def test_points_are_indistinguishable_by_the_intervals_of_each_target():
    found = result(two(1, drop=0.01, ratio=0.5, edge=0.5), two(2, drop=0.02, ratio=0.502, edge=0.8))
    by_trial = {point["trial"]: point for name in ("front", "dominated") for point in found.points()[name]}
    assert by_trial[1]["targets"]["cpu"]["indistinguishable_from"] == [2]
    assert (
        by_trial[1]["targets"]["edge"]["indistinguishable_from"]
        == []
        == by_trial[1]["indistinguishable_from"]
    )


def test_a_finalists_longer_measurement_counts_on_the_target_where_it_was_taken():
    look = Finalist(test=0.88, test_interval=None, latency=latency(0.55))
    found = result(FOR_EDGE, known={look_key(FOR_EDGE.artifact.digest, "edge"): look})
    point = next(point for point in found.points()["front"] if point["trial"] == 2)
    assert point["targets"]["edge"]["latency"]["ratio"] == 0.55 and point["targets"]["edge"]["finalist"]
    assert point["latency"]["ratio"] == 0.8 and not point["finalist"]


def test_the_drop_may_be_limited_on_all_targets_at_once():
    limits = Constraints(max_drop=parse_drop("0.5pp"))
    assert [item.trial for item in result(FOR_CPU, FOR_EDGE, cpu=limits, edge=limits).front()] == [0]


class OnTwo(FakeEvaluator):
    """Evaluates on `edge`, too, where nothing gets faster by int8."""

    def evaluate(self, trial, recipe, *, baseline, progress, built=None):
        seen = super().evaluate(trial, recipe, baseline=baseline, progress=progress, built=built)
        ratio = self.network.cost(recipe).macs / self.network.cost(Recipe()).macs
        further = OnTarget(
            artifact=seen.artifact, validation=seen.validation, drop=seen.drop, latency=latency(ratio)
        )
        return replace(seen, further={"edge": further})


def test_a_search_on_two_targets_tells_the_study_the_worst_and_resumes(tmp_path):
    done = run_search(tmp_path / "run", OnTwo(FakeNetwork()), trials=6, further={"edge": Constraints()})
    assert done.run["fronts"].keys() == {"fake", "edge"} and done.run["trials"]["finished"] == 6
    uniform = done.search.study.trials[1]
    assert uniform.values[2] == pytest.approx(1.0)  # int8 alone is no gain on `edge`
    again = run_search(tmp_path / "run", OnTwo(FakeNetwork()), trials=8, further={"edge": Constraints()})
    assert again.run["trials"]["finished"] == 8 and again.run["front"][0]["targets"].keys() == {
        "fake",
        "edge",
    }


def test_what_is_too_slow_on_one_target_is_not_built_larger():
    screen = Screen(network=FakeNetwork(), further={"edge": 0.5e-3})
    screen.learn(two(1, recipe=Recipe(keep={"layer0": 8}), ratio=0.1, edge=0.9))
    judged = screen.judge(Recipe())
    assert (
        judged.reason == "latency"
        and "the limit is 500.0 µs" in judged.message
        and judged.excess == pytest.approx(0.8)
    )
    assert screen.judge(Recipe(keep={"layer1": 8})) is None


def test_the_sampler_aims_at_the_tightest_limits_of_all_targets():
    found = result(
        cpu=Constraints(max_latency_s=0.8e-3), edge=Constraints(max_latency_s=0.5e-3, max_size_bytes=40_000)
    )
    assert limits_of(found) == pytest.approx((1.0, 0.4, 0.5))
