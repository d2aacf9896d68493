"""The solver against brute force on small random problems."""

import numpy as np
import pytest
from autocompress.explore.sampling.solve import Solver, additive_loss
from autocompress.tests.explore.sampling.problems import every, random_losses, random_problem

WEIGHTS = np.array([[1.0, 0.0, 0.0], [1.0, 0.3, 0.1], [1.0, 3.0, 0.0], [1.0, 0.5, 4.0], [0.0, 1.0, 0.0]])


def objective(problem, losses, levels, weights):
    return float(
        weights
        @ np.array([additive_loss(problem, losses, levels), problem.latency(levels), problem.size(levels)])
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_solution_is_as_good_as_the_best_of_all_candidates(seed):
    problem = random_problem(seed)
    losses = random_losses(problem, seed)
    solver = Solver(problem)
    assert solver.held == ()
    for weights, levels in zip(WEIGHTS, solver.minimize(losses, WEIGHTS), strict=True):
        best = min(objective(problem, losses, candidate, weights) for candidate in every(problem))
        assert objective(problem, losses, levels, weights) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_with_held_slots_the_solution_is_no_worse_than_any_single_change_of_one(seed):
    problem = random_problem(seed)
    losses = random_losses(problem, seed)
    solver = Solver(problem, widest=8)
    assert solver.held
    for weights, levels in zip(WEIGHTS, solver.minimize(losses, WEIGHTS, starts=3), strict=True):
        found = objective(problem, losses, levels, weights)
        for slot in range(len(levels)):
            for level in range(problem.slots[slot].levels):
                changed = (*levels[:slot], level, *levels[slot + 1 :])
                assert found <= objective(problem, losses, changed, weights) + 1e-9


def test_with_many_starts_the_held_slots_are_mostly_optimal_too():
    exact = 0
    for seed in range(12):
        problem = random_problem(seed)
        losses = random_losses(problem, seed)
        found = Solver(problem, widest=8).minimize(losses, WEIGHTS[1:2], starts=6)[0]
        best = min(objective(problem, losses, candidate, WEIGHTS[1]) for candidate in every(problem))
        exact += objective(problem, losses, found, WEIGHTS[1]) <= best + 1e-9
    assert exact >= 11


def test_new_losses_replace_the_old_ones():
    problem = random_problem(3)
    solver = Solver(problem)
    first, second = random_losses(problem, 3), random_losses(problem, 4)
    before = solver.minimize(first, WEIGHTS)
    solver.minimize(second, WEIGHTS)
    assert solver.minimize(first, WEIGHTS) == before


def test_levels_behind_a_closed_gate_come_back_at_the_original():
    problem = random_problem(5)
    for levels in Solver(problem).minimize(random_losses(problem, 5), WEIGHTS):
        assert levels == problem.canonical(levels)
