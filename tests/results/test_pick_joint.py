"""One point for all targets of a run."""

import pytest
from autocompress.results.limits import Limits
from autocompress.results.pick import NothingMeets
from autocompress.results.pick_joint import (
    complete_points,
    joint_limits_text,
    pick_jointly,
    recommended_jointly,
    worst_cost,
)
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two

NO_LIMITS = {"cpu": Limits(), "edge": Limits()}


def latency_on(point, target):
    return point["targets"][target]["latency"]["latency_s"]


def test_the_point_is_the_fastest_where_it_is_slowest():
    run = sample_run_of_two()
    picked = pick_jointly(run, NO_LIMITS)
    assert worst_cost(picked, run, "latency") == min(
        worst_cost(point, run, "latency") for point in complete_points(run)
    )


def test_limits_hold_on_every_target():
    run = sample_run_of_two()
    original = run["baseline"]["targets"]
    limits = {
        name: Limits(latency_s=0.6 * seen["latency"]["latency_s"], drop=0.01)
        for name, seen in original.items()
    }
    picked = pick_jointly(run, limits, minimize="drop")
    assert (
        all(latency_on(picked, name) <= limits[name].latency_s for name in limits) and picked["drop"] <= 0.01
    )


def test_a_limit_on_one_target_that_nothing_meets_names_the_targets():
    limits = {"cpu": Limits(), "edge": Limits(latency_s=1e-9)}
    with pytest.raises(NothingMeets, match=r"has latency ≤ 0.000 ms on edge\.") as told:
        pick_jointly(sample_run_of_two(), limits)
    assert len(told.value.misses) == 3 and told.value.misses[0].excess.keys() == {"latency"}


def test_a_point_that_is_missing_on_a_target_is_never_picked_for_all():
    trial = pick_jointly(sample_run_of_two(), NO_LIMITS)["trial"]
    assert pick_jointly(sample_run_of_two(missing=trial), NO_LIMITS)["trial"] != trial


def test_the_recommended_point_is_on_the_joint_front_within_the_drop():
    run = sample_run_of_two()
    point, reason = recommended_jointly(run)
    assert point["drop"] <= 0.01 and "slowest target" in reason
    assert sample_run()["baseline"]["trial"] != point["trial"]


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (NO_LIMITS, "no limit"),
        (
            dict.fromkeys(("cpu", "edge"), Limits(drop=0.01, latency_s=2e-3)),
            "drop ≤ 1.00 pp, latency ≤ 2.000 ms",
        ),
        (
            {"cpu": Limits(drop=0.01, latency_s=2e-3), "edge": Limits(drop=0.01, latency_s=9e-3)},
            "drop ≤ 1.00 pp, latency ≤ 2.000 ms on cpu, latency ≤ 9.000 ms on edge",
        ),
    ],
)
def test_a_limit_is_named_once_where_it_is_the_same_on_all_targets(limits, text):
    assert joint_limits_text(limits, sample_run_of_two()) == text
