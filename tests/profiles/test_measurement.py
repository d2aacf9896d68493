"""Statistics are derived from raw blocks, against independent arithmetic."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from autocompress.profiles.measurement import (
    FINALIST_TIMING,
    SEARCH_TIMING,
    Measurement,
    PairBlocks,
    PredictedLatency,
    TimingConfig,
)
from autocompress.tests.profiles.records import measurement, pair
from scipy import stats


def test_a_pairs_ratio_is_the_median_so_that_one_disturbed_block_does_not_count() -> None:
    assert pair(1.0, 1.0, 50.0).ratio == 0.5


def test_drift_that_hits_neighbouring_blocks_alike_cancels() -> None:
    drift = (1.0, 1.5, 2.0, 4.0)
    half = tuple(value / 2 for value in drift)
    blocks = PairBlocks(baseline_s=drift, candidate_s=half, baseline_wall_s=drift, candidate_wall_s=half)
    assert blocks.ratio == 0.5


def test_the_interval_is_students_t_over_pairs() -> None:
    ratios = (0.50, 0.52, 0.51, 0.53)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(ratios), scale=stats.sem(ratios))
    seen = measurement(*ratios)
    assert seen.ratio == pytest.approx(np.mean(ratios))
    assert seen.ratio_interval == pytest.approx((low, high))
    assert seen.half_width == pytest.approx((high - low) / 2 / np.mean(ratios))


def test_the_latency_is_the_ratio_of_the_baselines_reference() -> None:
    seen = measurement(0.49, 0.51)
    assert seen.latency_s == pytest.approx(0.005)
    assert seen.latency_interval_s == pytest.approx(tuple(0.01 * end for end in seen.ratio_interval))


def test_a_wide_interval_is_marked_noisy_in_the_value_and_in_print() -> None:
    assert measurement(0.5, 0.6, 0.7).noisy
    assert "noisy" in str(measurement(0.5, 0.6, 0.7))
    assert not measurement(0.5, 0.5, 0.5).noisy


def test_the_time_is_told_with_the_machines_drift_and_the_interval_with_the_ratio() -> None:
    slow, fast = (replace(pair(0.5), candidate_s=(seconds,)) for seconds in (0.006, 0.0045))
    seen = measurement(0.5, 0.5, pairs=(slow, fast))
    assert seen.drift_s == (min(seen.latency_s, 0.0045), max(seen.latency_s, 0.006))
    told = str(seen)
    assert " while measuring), " in told and "× the baseline ± " in told and "s ±" not in told


def test_the_summary_leads_with_the_ratio_and_has_no_raw_blocks() -> None:
    seen = measurement(0.49, 0.51)
    summary = seen.summary_json()
    assert list(summary)[:5] == ["ratio", "ratio_interval", "p50_s", "p90_s", "p99_s"]
    assert summary["ratio_interval"] == seen.ratio_interval and summary["p99_s"] == seen.p99_s
    assert summary["session_pairs"] == 2 and "pairs" not in summary
    assert summary.keys() >= seen.to_json().keys() - {"pairs"} and len(str(summary)) < 2500


def test_the_95_percent_interval_covers_the_truth_in_95_percent_of_the_cases() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        low, high = measurement(*rng.normal(0.5, 0.01, 4)).ratio_interval
        inside += low <= 0.5 <= high
    assert 930 <= inside <= 970


def test_percentiles_are_those_of_single_inferences() -> None:
    times = tuple(float(value) for value in np.random.default_rng(0).lognormal(size=101))
    blocks = replace(pair(1.0), inference_wall_s=times)
    seen = measurement(0.5, 0.5, pairs=(blocks, blocks))
    expected = np.percentile(times * 2, [50, 90, 99])
    assert (seen.p50_s, seen.p90_s, seen.p99_s) == pytest.approx(tuple(expected))


def test_json_and_back_is_equal() -> None:
    blocks = replace(pair(1.0, 1.1), inference_wall_s=(1.0, 1.2))
    seen = measurement(0.5, 0.6, pairs=(blocks, pair(0.9, 1.0)), peak_memory_bytes=7)
    assert Measurement.from_json(json.loads(json.dumps(seen.to_json(), allow_nan=False))) == seen


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema version 2"):
        Measurement.from_json({**measurement(0.5, 0.5).to_json(), "schema_version": 2})


def test_raw_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        measurement(0.5, 0.5).baseline_reference_s = 1.0  # type: ignore[misc]


def test_one_pair_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs"):
        measurement(0.5)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_block_times_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        pair(value)


def test_a_predicted_latency_is_marked_and_is_no_measurement() -> None:
    predicted = PredictedLatency(seconds=0.002, source="table")
    assert str(predicted) == "~2.000 ms"
    assert not isinstance(predicted, Measurement)


def test_finalists_are_measured_longer() -> None:
    assert FINALIST_TIMING.pairs_min * FINALIST_TIMING.pair_s > SEARCH_TIMING.pairs_max * SEARCH_TIMING.pair_s


@pytest.mark.parametrize(
    "changes", [{"pairs_min": 1}, {"pairs_max": 2}, {"batch": 0}, {"block_s": 0.0}, {"max_s": -1.0}]
)
def test_an_impossible_configuration_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needed|positive"):
        TimingConfig(**changes)  # type: ignore[arg-type]
