"""Which point is taken: the star, the named points, and what the command line prints of them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from autocompress.errors import InputError
from autocompress.profiles import PredictedLatency
from autocompress.profiles.units import parse_drop
from autocompress.results.choosing.choose import choose, limits_for
from autocompress.results.choosing.recommended import named_points, recommended
from autocompress.results.choosing.slower import not_slower, slowdown
from autocompress.results.choosing.words import next_command, pick_command, recommendation_lines
from autocompress.results.limits import Constraints, Limits
from autocompress.results.pick import NothingMeets, pick, trial_to_take
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.latency import Latency, Predicted
from autocompress.results.records.point import Measured, Point
from autocompress.results.records.run import Run
from autocompress.results.table import notes_below
from autocompress.tests.profiles.records import ENVIRONMENT
from autocompress.tests.results.records import TARGET, latency, on_two, point, run_of
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two

R2 = MetricFacts(name="R²", direction="higher", unit="")


def with_half_width(one: Point, half_width: float) -> Point:
    """The point with a wider or narrower interval of its ratio."""
    there = one.measured[TARGET]
    assert isinstance(there.latency, Latency)
    return replace(
        one,
        outcomes={TARGET: replace(there, latency=latency(there.latency.ratio, half_width=half_width))},
    )


def star(run: Run) -> int:
    return recommended(run).point.trial


def front(seed: int, count: int = 200) -> Run:
    """A front on which faster points lose more, with noise in everything."""
    draw = random.Random(seed)
    points = [point()]
    for trial in range(1, count):
        ratio = draw.uniform(0.1, 1.1)
        drop = max(-0.002, 0.012 * (1 - ratio) ** 2 + draw.gauss(0.0, 0.003))
        size = draw.randrange(10_000, 100_000)
        one = point(trial, ratio=ratio, drop=drop, size=size)
        points.append(with_half_width(one, draw.choice([0.003, 0.01, 0.03, 0.1])))
    return run_of(*points)


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Those that no other is shown to be faster than, one pair after the other."""
    ranges = {one.trial: measured_range(one) for one in points}
    return [
        one for one in points if not any(ranges[other.trial][1] < ranges[one.trial][0] for other in points)
    ]


def measured_range(one: Point) -> tuple[float, float]:
    there = one.measured[TARGET].latency
    assert isinstance(there, Latency)
    return there.ratio_interval


def test_of_points_that_latency_does_not_tell_apart_the_most_accurate_is_the_star():
    fast, accurate = point(1, ratio=0.1031, drop=0.0107), point(2, ratio=0.1047, drop=0.0001)
    points = [point(), *(with_half_width(one, 0.02) for one in (fast, accurate))]
    run = run_of(*points, constraints={TARGET: Constraints(max_drop=parse_drop("0.02abs"))}, metric=R2)
    assert star(run) == 2
    assert "latency does not tell 2 points apart, and it is the most accurate" in recommended(run).reason


def test_of_equally_accurate_points_the_smaller_file_is_the_star():
    points = [point(1, ratio=0.300, size=90_000), point(2, ratio=0.301, size=40_000)]
    assert star(run_of(point(), *points)) == 2


def test_a_point_that_is_shown_to_be_slower_is_not_the_star_however_accurate():
    fast, slow = point(1, ratio=0.30, drop=0.009), point(2, ratio=0.32)
    run = run_of(point(), fast, slow)
    assert star(run) == 1 and recommended(run).reason.endswith("the fastest point with drop ≤ 1.00 pp")


def test_a_wide_interval_of_the_fastest_point_does_not_let_in_what_another_is_shown_to_be_faster_than():
    noisy, clear, slow = (
        point(1, ratio=0.30, drop=0.009),
        point(2, ratio=0.31, drop=0.005),
        point(3, ratio=0.5),
    )
    run = run_of(point(), with_half_width(noisy, 0.9), clear, slow)
    assert star(run) == 2


@pytest.mark.parametrize("run", [*map(front, range(3)), sample_run()], ids=["0", "1", "2", "sample"])
def test_the_star_is_the_best_of_those_that_cannot_be_told_apart_from_each_other(run):
    name = run.target_names[0]
    inside = [
        one for one in run.points[1:] if not run.violations(one, limits_for(run)) and not_slower(run, one)
    ]
    if name == TARGET:
        equal = unbeaten(inside)
        alike = {one.trial: {one.trial, *run.indistinguishable[one.trial]} for one in equal}
        assert all(alike[one.trial] >= alike.keys() for one in equal)
        assert recommended(run).point.measured[name].drop == min(one.measured[name].drop for one in equal)
        assert len(equal) > 1
    chosen = {each: names.point for names in named_points(run) for each in names.names}
    assert chosen["fastest"] is recommended(run).point
    assert run.vector(chosen["smallest"])[1] == min(run.vector(one)[1] for one in inside)
    assert run.vector(chosen["most accurate"])[0] == min(run.vector(one)[0] for one in inside)


def test_a_drop_of_exactly_the_limit_is_within_it_whatever_the_rounding():
    run = run_of(point(), point(1, ratio=0.5, drop=0.90 - 0.89))
    assert star(run) == 1


def test_the_balanced_point_is_neither_end_of_the_front():
    ends = [point(1, ratio=0.1, drop=0.0099, size=90_000), point(2, ratio=0.9, drop=0.009, size=5_000)]
    run = run_of(point(), *ends, point(3, ratio=0.2, drop=0.004, size=20_000), point(4, ratio=0.95))
    names = {each: names.point.trial for names in named_points(run) for each in names.names}
    assert names == {"fastest": 1, "smallest": 2, "balanced": 3, "most accurate": 4}


def test_a_point_with_several_names_is_one_entry_and_the_star_is_the_first():
    run = run_of(point(), point(1, ratio=0.5, size=50_000), point(2, ratio=0.6, size=60_000))
    (only,) = named_points(run)
    assert only.point.trial == 1 and only.names == ("fastest", "smallest", "most accurate", "balanced")
    assert recommendation_lines(run)[0].startswith("★ fastest, smallest, most accurate, balanced: trial 1, ")


def test_nothing_is_taken_that_is_not_shown_to_be_as_fast_as_the_original():
    slower = point(1, ratio=0.998, size=10)
    run = run_of(point(), slower)
    assert star(run) == 0 and named_points(run) == ()
    assert recommended(run).reason == (
        "no compressed point with drop ≤ 1.00 pp is shown to be no slower; the smallest is trial 1 "
        "(--allow-slower)"
    )
    assert pick(run, limits_for(run)).trial == 0 and "--trial 0" in str(next_command(run, "runs/x"))
    alone = run_of(point())
    assert next_command(alone, "runs/x") is None
    assert recommended(alone).reason == "nothing but the original was measured"
    assert pick(run, limits_for(run), minimize="size", allow_slower=True).trial == 1


def test_where_only_slower_points_meet_the_limits_pick_names_them_and_the_option():
    run = run_of(point(), point(1, ratio=1.2, size=10))
    limits = {TARGET: Limits(size_bytes=1000)}
    with pytest.raises(
        NothingMeets, match=r"is shown to be no slower than the original\. --allow-slower"
    ) as seen:
        pick(run, limits)
    assert [one.trial for one in seen.value.misses] == [1]
    run = run_of(*run.points, constraints={TARGET: Constraints(max_size_bytes=1000)})
    assert star(run) == 1 and not recommended(run).meets and next_command(run, "runs/x") is None


def test_on_several_targets_a_point_that_is_slower_on_one_is_not_taken():
    run = run_of(on_two(), on_two(1, ratio=0.3, edge=1.1), on_two(2, ratio=0.8, edge=0.9), constraints=TWO)
    assert star(run) == 2 and star(run.only("cpu")) == 1


TWO = {"cpu": Constraints(), "edge": Constraints()}


def test_a_prediction_counts_with_its_error():
    def predicted(error: float | None) -> Run:
        one = point(1, ratio=0.95)
        guess = Predicted(latency=PredictedLatency(seconds=1e-3, source="a table"), ratio=0.95, error=error)
        there = replace(one.measured[TARGET], latency=guess)
        return run_of(point(), replace(one, outcomes={TARGET: there}))

    assert [star(predicted(error)) for error in (None, 0.04, 0.1)] == [1, 1, 0]


def test_a_named_trial_is_taken_unless_it_may_be_slower_or_was_not_measured():
    run = run_of(point(), point(1, ratio=0.5), point(2, ratio=1.0))
    assert trial_to_take(run, 1).trial == 1 and trial_to_take(run, 0).trial == 0
    assert trial_to_take(run, 2, allow_slower=True).trial == 2
    with pytest.raises(
        InputError, match=r"not shown to be no slower than the original \(1\.00× ±0\.5 %.*--allow"
    ):
        trial_to_take(run, 2)
    with pytest.raises(InputError, match="no measured trial 9"):
        trial_to_take(run, 9)
    with pytest.raises(InputError, match="no latency on edge"):
        trial_to_take(run_of(on_two(), on_two(1, edge=None), constraints=TWO), 1)


def test_limits_that_are_not_given_are_the_search_s_then_a_point_of_the_drop():
    searched = {TARGET: Constraints(max_drop=parse_drop("2pp"), max_size_bytes=500)}
    run = run_of(point(), constraints=searched)
    assert limits_for(run)[TARGET] == Limits(drop=0.02, size_bytes=500)
    given = {TARGET: Limits(latency_s=1.0, size_bytes=900)}
    assert limits_for(run, given)[TARGET] == Limits(drop=0.02, latency_s=1.0, size_bytes=900)
    assert limits_for(run_of(point()))[TARGET] == Limits(drop=0.01)


def test_the_command_names_the_trial_and_what_it_needs():
    run = run_of(point(), point(1, ratio=0.5), point(2, ratio=1.1))
    assert next_command(run, "runs/my run") == "autocompress pick 'runs/my run' --trial 1 --out bundle"
    slower = pick_command(run, run.points[2], "runs/x")
    assert slower == "autocompress pick runs/x --trial 2 --allow-slower --out bundle"
    edge = sample_run_of_two().only("edge")
    assert "pick runs/x --target edge --trial" in str(next_command(edge, "runs/x", of_several=True))


def test_what_the_command_takes_is_the_star_of_every_aim_and_target():
    run = sample_run_of_two()
    for part in (run, run.only("cpu"), run.only("edge")):
        choice = choose(part, limits_for(part), "latency")
        assert choice is not None and choice.point == recommended(part).point
        assert pick(part, limits_for(part)) == recommended(part).point
        assert len(recommendation_lines(part)) == len(named_points(part)) > 1


def two_runtimes(*points: Point, device: dict[str, Any] | None = None, **openvino: Any) -> Run:
    """A run whose targets `cpu` and `edge` are runtimes of one device; `device` changes that of `edge`."""
    run = run_of(*points, constraints=TWO)
    first, second = run.facts.targets
    here = replace(ENVIRONMENT, machine="a" * 64)
    targets = (
        replace(first, environment=here),
        replace(second, environment=replace(here, runtime="other", **(device or {})), **openvino),
    )
    return replace(run, facts=replace(run.facts, targets=targets))


def on_each(trial: int, *, cpu: float, edge: float, original_on_edge: float) -> Point:
    """A point with its ratios to the original on each target; that takes `original_on_edge` ms on `edge`."""
    made = on_two(trial, ratio=cpu, edge=edge)
    there = made.measured["edge"]
    return replace(
        made, outcomes={**made.outcomes, "edge": replace(there, latency=scaled(there, original_on_edge))}
    )


def scaled(there: Measured, factor: float) -> Latency:
    one = there.latency
    assert isinstance(one, Latency)
    low, high = one.interval_s
    seconds = {name: getattr(one, name) * factor for name in ("latency_s", "p50_s", "p90_s", "p99_s")}
    return replace(one, **seconds, interval_s=(low * factor, high * factor))


def test_nothing_is_taken_that_may_be_slower_than_the_original_in_another_runtime_of_the_device():
    original = on_each(0, cpu=1.0, edge=1.0, original_on_edge=0.7)
    point_ = on_each(1, cpu=0.8, edge=0.9, original_on_edge=0.7)
    alone = two_runtimes(original, point_).only("cpu")
    assert not not_slower(alone, alone.point(1)) and star(alone) == 0
    assert slowdown(alone, alone.point(1), "cpu")[0] > 1.05
    assert "no slower than the original on edge, where it is fastest" in recommended(alone).reason
    with pytest.raises(InputError, match=r"Trial 1 .* than the original on edge, where it is fastest"):
        trial_to_take(alone, 1)
    assert trial_to_take(alone, 1, allow_slower=True).trial == 1
    assert star(two_runtimes(original, point_).only("edge")) == 1
    assert "the original is fastest on edge (0.70 × its time)" in " ".join(notes_below(alone))


@pytest.mark.parametrize("share, taken", [(0.65, True), (0.68, False)])
def test_seconds_of_two_runtimes_count_as_uncertain_by_five_percent(share, taken):
    original = on_each(0, cpu=1.0, edge=1.0, original_on_edge=0.7)
    run = two_runtimes(original, on_each(1, cpu=share, edge=0.5, original_on_edge=0.7)).only("cpu")
    assert not_slower(run, run.point(1)) is taken


@pytest.mark.parametrize(
    "other",
    [{"device": {"machine": "b" * 64}}, {"device": {"device": "a GPU"}}, {"threads": 4}, {"batch": 8}],
    ids=["another machine", "its GPU", "more threads", "another batch"],
)
def test_the_original_on_another_device_or_with_more_threads_is_no_rival(other):
    original = on_each(0, cpu=1.0, edge=1.0, original_on_edge=0.1)
    run = two_runtimes(original, on_each(1, cpu=0.8, edge=0.8, original_on_edge=0.1), **other).only("cpu")
    assert not_slower(run, run.point(1))


def test_an_original_that_does_not_compute_in_float32_is_no_rival():
    original = on_each(0, cpu=1.0, edge=1.0, original_on_edge=0.5)
    layer = sample_run().baseline.measured["cpu"].layers[0]
    row = replace(layer, precision_executed="float16")
    edge = replace(original.measured["edge"], layers=(row,))
    original = replace(original, outcomes={**original.outcomes, "edge": edge})
    run = two_runtimes(original, on_each(1, cpu=0.8, edge=0.8, original_on_edge=0.5)).only("cpu")
    assert not_slower(run, run.point(1))
