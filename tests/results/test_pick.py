"""Picking a point within limits."""

import pytest
from autocompress.results.limits import Limits
from autocompress.results.pick import (
    NothingMeets,
    costs_of,
    measured_points,
    nearest_misses,
    pick,
    recommended,
)
from autocompress.tests.results.sample_run import point, sample_run

UNCHANGED = {"keep": {}, "precision": {}, "recovery": None}


@pytest.mark.parametrize("minimize", ["latency", "size", "drop"])
def test_the_picked_point_costs_least_among_all_measured_points_within_the_limits(minimize):
    run = sample_run()
    picked = pick(run, max_drop=0.005, max_size=300 * 1024, minimize=minimize)
    within = [
        p for p in measured_points(run) if p["drop"] <= 0.005 and p["artifact"]["size_bytes"] <= 300 * 1024
    ]
    assert costs_of(picked)[minimize] == min(costs_of(p)[minimize] for p in within)
    assert picked in within


def test_limits_wider_than_the_search_s_own_may_pick_a_point_that_the_search_called_infeasible():
    run = sample_run()
    picked = pick(run, max_drop=0.05, minimize="latency")
    assert not picked["feasible"]
    assert picked["latency"]["latency_s"] == min(p["latency"]["latency_s"] for p in measured_points(run))


def test_a_limit_that_is_met_exactly_is_met():
    run = sample_run()
    member = run["front"][0]
    limits = {"max_latency": member["latency"]["latency_s"], "max_size": member["artifact"]["size_bytes"]}
    assert pick(run, max_drop=member["drop"], **limits) == member


def test_nothing_within_the_limits_names_the_nearest_misses_with_what_they_exceed():
    with pytest.raises(NothingMeets, match=r"drop ≤ 0\.10 pp and latency ≤ 0\.400 ms") as caught:
        pick(sample_run(), max_drop=0.001, max_latency=0.0004)
    assert len(caught.value.misses) == 3
    assert all(miss.excess and set(miss.excess) <= {"drop", "latency"} for miss in caught.value.misses)
    assert f"trial {caught.value.misses[0].point['trial']}: " in str(caught.value)


def test_the_nearest_miss_exceeds_least_in_the_units_of_the_objective_space():
    run = sample_run()
    misses = nearest_misses(run, Limits(size_bytes=50_000), count=100)
    sizes = [miss.point["artifact"]["size_bytes"] for miss in misses]
    assert sizes == sorted(sizes)
    assert len(misses) == len(measured_points(run))


def test_every_measured_point_is_listed_once_and_the_front_first():
    run = sample_run()
    trials = [p["trial"] for p in measured_points(run)]
    assert sorted(trials) == sorted({p["trial"] for p in (*run["front"], *run["dominated"])})
    assert trials[: len(run["front"])] == [p["trial"] for p in run["front"]]


def test_the_recommended_point_is_the_fastest_within_the_search_s_limits():
    run = sample_run()
    chosen, reason = recommended(run)
    assert chosen == pick(run, max_drop=0.01)
    assert reason == "the fastest point with drop ≤ 1.00 pp"


def test_without_a_limit_on_the_drop_one_percentage_point_is_assumed():
    assert recommended(sample_run(max_drop=None))[0]["drop"] <= 0.01


def test_when_nothing_is_faster_than_the_original_the_smallest_is_shown():
    run = sample_run()
    run["baseline"]["latency"]["latency_s"] = 1e-6
    chosen, reason = recommended(run)
    assert chosen == pick(run, max_drop=0.01, minimize="size")
    assert "none is faster than the original" in reason


def test_when_nothing_meets_the_search_s_limits_the_nearest_miss_is_shown_as_such():
    run = sample_run()
    run["constraints"] |= {"max_size_bytes": 1}
    chosen, reason = recommended(run)
    assert chosen == nearest_misses(run, Limits(drop=0.01, size_bytes=1))[0].point
    assert "nothing meets" in reason and "nearest miss" in reason


def test_a_lower_is_better_metric_with_an_original_of_zero_is_picked_from():
    run = sample_run()
    original, worse = point(0, UNCHANGED), point(2, UNCHANGED)
    run["task"]["metric"] = {"name": "error", "direction": "lower", "unit": ""}
    original["quality"] |= {"validation": 0.0, "interval": None}
    worse["quality"] |= {"validation": 0.5, "interval": None}
    worse["drop"] = 0.5
    run |= {"baseline": original, "uniform_int8": None, "front": [original], "dominated": [worse]}
    assert pick(run, max_drop=0.1)["trial"] == 0
    with pytest.raises(NothingMeets, match=r"drop by 0\.5"):
        pick({**run, "front": [], "baseline": worse}, max_drop=0.0)
