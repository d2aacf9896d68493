"""Picking a point within limits, of one target and of several."""

from dataclasses import replace

import pytest
from autocompress.errors import InputError
from autocompress.profiles.units import parse_drop
from autocompress.results.choosing.recommended import recommended
from autocompress.results.limits import Constraints, Limits
from autocompress.results.pick import NothingMeets, cost_of, limits_text, pick, resolved
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import (
    UNCHANGED,
    point,
    sample_run,
    sample_run_of_two,
    with_constraints,
    with_measured,
    with_metric,
    with_points,
)

NO_LIMITS = {"cpu": Limits(), "edge": Limits()}


def on_cpu(**limits):
    return {"cpu": Limits(**limits)}


@pytest.mark.parametrize("minimize", ["latency", "size", "drop"])
def test_the_picked_point_costs_least_among_all_measured_points_within_the_limits(minimize):
    run = sample_run()
    picked = pick(run, on_cpu(drop=0.005, size_bytes=300 * 1024), minimize=minimize)
    within = [
        p
        for p in run.points
        if p.measured["cpu"].drop <= 0.005 and p.measured["cpu"].artifact.size_bytes <= 300 * 1024
    ]
    assert cost_of(run, picked, minimize) == min(cost_of(run, p, minimize) for p in within)
    assert picked in within


def test_limits_wider_than_the_search_s_own_may_pick_a_point_that_the_search_called_infeasible():
    run = sample_run()
    picked = pick(run, on_cpu(drop=0.05))
    assert not run.feasible(picked)
    assert cost_of(run, picked, "latency") == min(cost_of(run, p, "latency") for p in run.points)


def test_percentage_points_of_a_metric_that_is_no_fraction_are_refused_with_the_remedy():
    run, limits = with_metric(sample_run(), "R²"), {"cpu": Constraints(max_drop=parse_drop("1pp"))}
    with pytest.raises(InputError, match=r"--max-drop 1pp .*'R²' is no fraction: .* 1%, .* 0\.1abs"):
        resolved(run, limits)
    assert resolved(sample_run(), limits)["cpu"].drop == 0.01


def test_a_limit_that_is_met_exactly_is_met():
    run = sample_run()
    member = run.front[0].measured["cpu"]
    limits = on_cpu(drop=member.drop, latency_s=member.latency.seconds, size_bytes=member.artifact.size_bytes)
    assert pick(run, limits) is run.front[0]


def test_nothing_within_the_limits_names_the_nearest_misses_with_what_they_exceed():
    run = sample_run()
    with pytest.raises(NothingMeets, match=r"drop ≤ 0\.10 pp and latency ≤ 0\.400 ms") as caught:
        pick(run, on_cpu(drop=0.001, latency_s=0.0004))
    misses = caught.value.misses
    assert len(misses) == 3 and f"trial {misses[0].trial}: " in str(caught.value)
    lines = str(caught.value).splitlines()[1:]
    assert all("exceeds drop by" in line or "exceeds latency by" in line for line in lines)


def test_the_nearest_miss_exceeds_least():
    run = sample_run()
    misses = run.nearest_misses(on_cpu(size_bytes=50_000), count=100)
    sizes = [miss.measured["cpu"].artifact.size_bytes for miss in misses]
    assert sizes == sorted(sizes) and len(misses) == len(run.points)


def test_the_recommended_point_is_the_fastest_within_the_search_s_limits():
    run = sample_run()
    best = recommended(run)
    assert best.point == pick(run, on_cpu(drop=0.01))
    assert best.reason == "the fastest point with drop ≤ 1.00 pp (78 % likely)"


def test_without_a_limit_on_the_drop_one_percentage_point_is_assumed():
    assert recommended(sample_run(max_drop=None)).point.measured["cpu"].drop <= 0.01


def test_when_nothing_meets_the_search_s_limits_the_nearest_miss_is_shown_as_such():
    run = with_constraints(sample_run(), Constraints(max_drop=parse_drop("1pp"), max_size_bytes=1))
    best = recommended(run)
    assert best.point == run.nearest_misses(count=1)[0]
    assert "nothing meets" in best.reason and "nearest miss" in best.reason


def test_a_lower_is_better_metric_with_an_original_of_zero_is_picked_from():
    run = with_metric(
        with_points(sample_run(max_drop=None), [point(0, UNCHANGED), point(2, UNCHANGED)]), "error"
    )
    quality = run.baseline.measured["cpu"].quality
    run = with_measured(run, 0, quality=replace(quality, validation=0.0, interval=None))
    run = with_measured(run, 2, quality=replace(quality, validation=0.5, interval=None), drop=0.5)
    assert pick(run, on_cpu(drop=0.1)).trial == 0
    with pytest.raises(NothingMeets, match=r"drop by 0\.5"):
        pick(with_measured(run, 0, drop=1.0), on_cpu(drop=0.0))


def test_of_several_targets_the_point_is_the_fastest_where_it_is_slowest():
    run = sample_run_of_two()
    picked = pick(run, NO_LIMITS)
    assert run.vector(picked)[2] == min(run.vector(p)[2] for p in run.points)


def test_limits_hold_on_every_target():
    run = sample_run_of_two()
    limits = {
        name: Limits(latency_s=0.6 * original.latency.seconds, drop=0.01)
        for name, original in run.baseline.measured.items()
    }
    measured = pick(run, limits, minimize="drop").measured
    assert all(measured[name].latency.seconds <= present(limits[name].latency_s) for name in limits)
    assert all(measured[name].drop <= 0.01 for name in limits)


def test_a_limit_on_one_target_that_nothing_meets_names_the_target():
    limits = {"cpu": Limits(), "edge": Limits(latency_s=1e-9)}
    with pytest.raises(NothingMeets, match=r"has latency ≤ 0.000 ms on edge\.") as caught:
        pick(sample_run_of_two(), limits)
    assert len(caught.value.misses) == 3 and "exceeds latency by" in str(caught.value)


def test_a_point_that_is_missing_on_a_target_is_never_picked_for_all():
    trial = pick(sample_run_of_two(), NO_LIMITS).trial
    assert pick(sample_run_of_two(missing=trial), NO_LIMITS).trial != trial


def test_picking_on_one_of_several_targets_goes_by_its_numbers_alone():
    run = sample_run_of_two().only("edge")
    limit = run.baseline.measured["edge"].latency.seconds / 2
    assert pick(run, {"edge": Limits(latency_s=limit)}).measured["edge"].latency.seconds <= limit


def test_the_recommended_point_of_several_targets_is_within_the_drop():
    best = recommended(sample_run_of_two())
    assert best.point.measured["edge"].drop <= 0.01 and "slowest target" in best.reason
    assert best.point.trial != 0


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
    assert limits_text(sample_run_of_two(), limits) == text
