"""The solver against brute force on small random problems."""

import numpy as np
import pytest
from autocompress.search.sampling.solve import Bounds, Solver, additive_loss, constrained
from autocompress.tests.search.sampling.problems import chain, every, random_losses, random_problem

WEIGHTS = np.array([[1.0, 0.0, 0.0], [1.0, 0.3, 0.1], [1.0, 3.0, 0.0], [1.0, 0.5, 4.0], [0.0, 1.0, 0.0]])


def objective(problem, losses, levels, weights):
    return float(weights @ np.array([additive_loss(problem, losses, levels), problem.latency(levels), problem.size(levels)]))


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


@pytest.mark.parametrize("bounds", [Bounds(max_latency=0.6), Bounds(max_size=0.5), Bounds(max_latency=0.7, max_size=0.6)])
def test_constrained_solutions_keep_the_limits_and_come_close_to_the_best(bounds):
    problem = chain(7, 3)
    losses = random_losses(problem, 7)
    found = constrained(Solver(problem), losses, bounds)
    feasible = [c for c in every(problem) if problem.latency(c) <= bounds.max_latency and problem.size(c) <= bounds.max_size]
    assert found in feasible
    spread = sorted(additive_loss(problem, losses, candidate) for candidate in feasible)
    assert additive_loss(problem, losses, found) <= spread[len(spread) // 20]


def test_the_fastest_candidate_within_a_loss_is_found():
    problem = chain(40)
    losses = random_losses(problem, 8)
    limit = 0.2 * sum(loss[-1] for loss in losses)
    found = constrained(Solver(problem), losses, Bounds(max_loss=limit), objective=(1e-6, 1.0, 1e-6))
    assert 0.8 * limit < additive_loss(problem, losses, found) <= limit


def test_limits_that_nothing_keeps_have_no_solution():
    problem = chain(5, 4)
    assert constrained(Solver(problem), random_losses(problem, 7), Bounds(max_latency=0.01)) is None
