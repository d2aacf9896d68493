"""Who goes up, how well rungs agree, and what a recovery is expected to leave."""

import numpy as np
import pytest
from autocompress.explore.rungs.promotion import RecoveryCurve, promoted, rank_correlation
from autocompress.results.front import dominates, hypervolume
from scipy.stats import spearmanr


def random_vectors(count: int, seed: int = 0) -> list[tuple[float, float, float]]:
    return [tuple(row) for row in np.random.default_rng(seed).random((count, 3)).tolist()]


def test_what_goes_up_is_not_dominated_and_adds_most_of_its_kind():
    front, vectors = random_vectors(6, seed=1), random_vectors(40)
    gains = [hypervolume([*front, vector]) - hypervolume(front) for vector in vectors]
    adding = [index for index in range(40) if gains[index] > 1e-6]
    best = {
        index for index in adding if not any(dominates(vectors[other], vectors[index]) for other in adding)
    }
    chosen = {promoted(vectors, front, turn=turn) for turn in range(3)}
    assert chosen <= best and max(best, key=lambda index: gains[index]) in chosen


def test_a_candidate_that_adds_nothing_is_not_promoted():
    assert promoted([(0.5, 0.5, 0.5), (1.2, 0.1, 0.1)], [(0.4, 0.5, 0.5)], turn=0) is None


def test_what_nothing_dominates_goes_up_before_a_larger_gain_of_a_dominated_one():
    front = [(0.5, 0.5, 0.5)]
    chosen = promoted([(0.4, 0.4, 0.4), (0.3, 0.3, 0.3), (0.2, 0.9, 0.9)], front, turn=0)
    assert chosen in (1, 2)


def test_bands_of_latency_take_turns():
    vectors = [(0.1 * k, 0.5, 1 - 0.1 * k) for k in range(1, 9)]
    chosen = {promoted(vectors, [], turn=turn) for turn in range(3)}
    assert len(chosen) == 3
    best = max(range(8), key=lambda index: hypervolume([vectors[index]]))
    assert best in chosen


def test_the_rank_correlation_is_spearmans_with_ties():
    draw = np.random.default_rng(1)
    pairs = list(zip(draw.integers(0, 6, 30).tolist(), draw.integers(0, 6, 30).tolist(), strict=True))
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    assert rank_correlation(pairs) == pytest.approx(expected)


def test_few_pairs_and_constant_values_have_no_correlation():
    assert rank_correlation([(1.0, 1.0)] * 4) is None
    assert rank_correlation([(1.0, float(k)) for k in range(9)]) is None


def test_a_recovery_never_makes_a_drop_larger_and_longer_ones_leave_less():
    curve = RecoveryCurve()
    for before in (0.2, 1.0, 4.0):
        assert curve.after(before, 600) < curve.after(before, 100) <= before
    assert curve.after(-0.1, 100) == -0.1


def test_recoveries_that_leave_less_than_expected_are_learned():
    curve = RecoveryCurve()
    expected = curve.after(1.0, 250)
    for before in (0.5, 1.0, 2.0, 3.0, 1.5, 0.8):
        curve.learn(before, 0.2 * before, 250)
    assert curve.after(1.0, 250) < 0.8 * expected


def test_many_drops_are_mended_as_single_ones_are():
    curve = RecoveryCurve()
    curve.learn(2.0, 0.3, 600)
    drops = np.array([-0.1, 0.0, 0.005, 0.3, 2.0, 9.0])
    assert curve.mending(600)(drops).tolist() == [curve.after(drop, 600) for drop in drops.tolist()]
    assert (curve.mending(600)(drops) <= drops).all()
