"""One quantity of two points: how much it changed, how sure that is, and what counts as worse."""

import math
from dataclasses import replace

import numpy as np
import pytest
from autocompress.errors import InputError
from autocompress.profiles import PredictedLatency
from autocompress.profiles.units import parse_drop
from autocompress.results.compare.change import Change, changes
from autocompress.results.compare.tolerance import Tolerance
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.latency import Predicted
from autocompress.results.records.point import Point
from autocompress.results.view import PointOn, RunOn
from autocompress.tests.results.records import ACCURACY, TARGET, latency, point, run_of


def on(one: Point, metric: MetricFacts = ACCURACY) -> PointOn:
    """The point in a run of its own with the original."""
    run = run_of(point(), one, metric=metric) if one.trial else run_of(one, metric=metric)
    return RunOn.of(run, TARGET).on(one)


def with_half_width(one: Point, half_width: float) -> Point:
    there = one.measured[TARGET]
    ratio = there.latency.ratio
    return replace(one, outcomes={TARGET: replace(there, latency=latency(ratio, half_width=half_width))})


def test_the_interval_of_two_ratios_holds_the_change_as_often_as_it_says():
    random, inside = np.random.default_rng(0), 0
    for _ in range(400):
        drawn = 0.5 * np.exp(random.normal(0.0, np.array([0.01, 0.02]) / 1.96))
        pair = [with_half_width(point(1, ratio=drawn[i]), half) for i, half in enumerate((0.01, 0.02))]
        interval = changes(on(pair[0]), on(pair[1]), Tolerance())["latency"].interval
        assert interval is not None
        inside += interval[0] <= 0.0 <= interval[1]
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.06, 0.2), "worse"), ((0.04, 0.2), "same"), ((-0.2, -0.06), "better"), (None, "unknown")],
)
def test_a_change_counts_when_its_whole_interval_is_beyond_the_tolerance(interval, verdict):
    change = 0.1 if interval is None else sum(interval) / 2
    made = Change(quantity="latency", old=1, new=1, change=change, interval=interval, tolerance=0.05)
    assert made.verdict == verdict


def test_drops_of_two_runs_have_the_interval_of_both():
    old = point(1, drop=0.004, drop_interval=(0.001, 0.007))
    new = point(2, drop=0.010, drop_interval=(0.006, 0.014))
    change = changes(on(old), on(new), Tolerance())["drop"]
    assert change.change == pytest.approx(0.006)
    assert change.interval == pytest.approx((0.001, 0.011)) and math.hypot(0.003, 0.004) == 0.005


def test_the_drop_of_the_same_file_on_the_same_samples_is_exact():
    old, new = (point(1, drop=drop, drop_interval=(drop - 0.01, drop + 0.01)) for drop in (0.004, 0.008))
    change = changes(on(old), on(new), Tolerance())["drop"]
    assert change.paired and change.interval == pytest.approx((0.004, 0.004)) and change.verdict == "worse"


def test_the_original_has_no_spread_of_its_own():
    change = changes(on(point()), on(point()), Tolerance())["latency"]
    assert (change.old, change.new, change.interval) == (1.0, 1.0, (0.0, 0.0))


def test_a_predicted_latency_is_not_judged():
    one = point(1, ratio=0.5)
    predicted = Predicted(latency=PredictedLatency(seconds=0.0005, source="table"), ratio=0.5, error=0.02)
    away = replace(one, outcomes={TARGET: replace(one.measured[TARGET], latency=predicted)})
    assert changes(on(one), on(away), Tolerance())["latency"].verdict == "unknown"


def test_drops_of_different_metrics_are_not_compared():
    other = MetricFacts(name="F1", direction="higher", unit="fraction")
    assert changes(on(point(1)), on(point(1), other), Tolerance()).keys() == {"latency", "size"}


def test_an_interval_that_reaches_below_zero_is_no_error():
    one = point(1, ratio=0.5)
    there = one.measured[TARGET]
    wide = replace(latency(0.5), ratio_interval=(-0.5, 0.5))
    odd = replace(one, outcomes={TARGET: replace(there, latency=wide)})
    assert changes(on(odd), on(point(1, ratio=0.9)), Tolerance())["latency"].verdict == "same"


@pytest.mark.parametrize(
    ("texts", "tolerance"),
    [
        ([], Tolerance()),
        (["2%"], Tolerance(latency=0.02, size=0.02, energy=0.02)),
        (["0.2pp"], Tolerance(drop=parse_drop("0.2pp"))),
        (["latency=3%", "drop=1%"], Tolerance(latency=0.03, drop=parse_drop("1%"))),
        (["size=0%"], Tolerance(size=0.0)),
    ],
)
def test_tolerances_are_read_with_their_units(texts, tolerance):
    assert Tolerance.parse(texts) == tolerance


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["2"], "has no unit"),
        (["speed=2%"], "choose latency, size, drop or energy"),
        (["latency=1pp"], "must be a share: write it like latency=2%"),
        (["2%", "size=1%"], "gives size twice"),
        (["drop=-1pp"], "is negative"),
    ],
)
def test_a_wrong_tolerance_is_refused(texts, says):
    with pytest.raises(InputError, match=says):
        Tolerance.parse(texts)


def test_percentage_points_are_no_tolerance_of_a_metric_that_is_no_fraction():
    error = MetricFacts(name="pixels", direction="lower", unit="")
    with pytest.raises(InputError, match=r"write drop=0\.1%"):
        changes(on(point(1), error), on(point(1), error), Tolerance.parse(["1pp"]))
