"""The loss table learns from whole candidates and stays sane; the drop curve finds a known law."""

import numpy as np
import pytest
from autocompress.explore.sampling.losses import DropCurve, LossTable
from autocompress.explore.sampling.solve import additive_loss
from autocompress.tests.explore.sampling.problems import chain, random_losses, random_problem


def table_of(problem, losses):
    return LossTable(
        problem, {slot.name: list(loss) for slot, loss in zip(problem.slots, losses, strict=True)}
    )


def draws(problem, count, seed):
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(slot.levels)) for slot in problem.slots) for _ in range(count)]


def test_before_anything_is_seen_the_loss_is_the_sum_over_open_slots():
    problem = random_problem(1)
    losses = random_losses(problem, 1)
    table = table_of(problem, losses)
    for levels in draws(problem, 20, 0):
        assert table.loss(levels) == pytest.approx(additive_loss(problem, losses, levels))


def test_observations_repair_a_wrong_table():
    problem = chain(12, 4)
    true = random_losses(problem, 2)
    rng = np.random.default_rng(3)
    table = table_of(problem, [loss * np.exp(rng.normal(0, 0.6)) for loss in true])
    fresh = draws(problem, 100, 5)
    truth = np.array([2.0 * additive_loss(problem, true, levels) ** 1.1 for levels in fresh])

    def error():
        return np.log(table.many(np.array(fresh)) / truth).std()

    before = error()
    for levels in draws(problem, 150, 4):
        table.observe(levels, 2.0 * additive_loss(problem, true, levels) ** 1.1)
    assert error() < 0.25 * before


def test_absurd_observations_neither_diverge_nor_change_the_order_of_levels():
    problem = chain(12, 4)
    table = table_of(problem, random_losses(problem, 2))
    rng = np.random.default_rng(0)
    for levels in draws(problem, 300, 1):
        table.observe(levels, float(10 ** rng.uniform(-9, 9)))
    assert all(
        (np.diff(loss) > 0).all() and np.isfinite(loss).all() for loss in (*table.losses, *table.drawn(rng))
    )
    assert 0 < table.loss((3,) * 12) < 1e12


def test_a_candidate_without_losses_or_a_zero_teaches_nothing():
    problem = chain(4, 3)
    table = LossTable(problem, {slot.name: [0.0, 0.1, 0.2] for slot in problem.slots})
    before = table.losses
    table.observe(problem.original, 0.5)
    table.observe((1, 1, 1, 1), 0.0)
    assert table.loss(problem.original) == 0.0
    assert all((a == b).all() for a, b in zip(before, table.losses, strict=True))


def test_a_table_of_the_wrong_shape_names_the_slot():
    with pytest.raises(ValueError, match="precision/1 needs 3"):
        LossTable(chain(2, 3), {"precision/0": [0, 1, 2], "precision/1": [0, 1]})


def test_the_drop_curve_finds_a_power_law_among_noise():
    curve, rng = DropCurve(), np.random.default_rng(0)
    for kl in 10 ** rng.uniform(-3, 0, 60):
        curve.observe(kl, 3.0 * kl**1.2 + rng.normal(0, 0.01))
    for kl in (0.02, 0.1, 0.4):
        assert curve.drop(kl) == pytest.approx(3.0 * kl**1.2, rel=0.15, abs=0.02)
    assert curve.drop(0.0) == 0.0


def test_the_drop_curve_ascends_whatever_it_sees():
    curve, rng = DropCurve(), np.random.default_rng(1)
    for _ in range(50):
        curve.observe(float(10 ** rng.uniform(-4, 1)), float(rng.normal(0.3, 0.5)))
    drops = curve.many(10 ** np.linspace(-6, 2, 200))
    assert (np.diff(drops) > 0).all()
    assert curve.drop(curve.inverse(0.4)) == pytest.approx(0.4, rel=1e-3)


@pytest.mark.parametrize("drop", [6.0, 16.0])
def test_a_drop_that_the_kl_does_not_see_leaves_the_curve_alone(drop):
    pairs = [(0.0001, 0.0), (0.005, 0.15), (0.0254, 0.3), (0.054, 0.5), (0.129, 0.65)]  # DS-CNN
    curve, other = DropCurve(), DropCurve()
    for kl, seen in pairs:
        curve.observe(kl, seen)
        other.observe(kl, seen)
    other.observe(0.0014, drop)  # uniform int8 on a CPU whose sums saturate
    for kl in (0.002, 0.02, 0.2):
        assert other.drop(kl) == pytest.approx(curve.drop(kl), rel=0.05)
    assert other.spread == pytest.approx(curve.spread, rel=0.1)


def test_a_task_whose_drops_are_all_large_is_learned():
    curve = DropCurve()
    for kl in (0.001, 0.003, 0.01, 0.02):
        curve.observe(kl, 60 * kl)
    assert curve.drop(0.005) == pytest.approx(0.3, rel=0.5)
