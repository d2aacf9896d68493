"""Solutions for the worst of several targets against all candidates of small problems."""

import numpy as np
import pytest
from autocompress.explore.sampling.mixtures import worst_case_solutions
from autocompress.explore.sampling.moves import Costs
from autocompress.explore.sampling.solve import Solver, additive_loss
from autocompress.tests.explore.sampling.problems import (
    every,
    on_target,
    opposed,
    random_losses,
    random_problem,
)

WEIGHTS = np.array([[1.0, 3.0, 0.5], [1.0, 10.0, 0.1], [1.0, 1.0, 4.0]])


def objective(problem, losses, levels, weights):
    worst = np.array([additive_loss(problem, losses, levels), problem.latency(levels), problem.size(levels)])
    return float(weights @ worst)


def best_of(solved, problem, losses):
    """By row of WEIGHTS, the least objective of the solutions for it."""
    levels, prices = solved
    values = [objective(problem, losses, row, weights) for row, weights in zip(levels, prices, strict=True)]
    return np.array(values).reshape(-1, len(WEIGHTS)).min(axis=0)


def solved(problem, losses, seed=0):
    costs, rng = Costs(problem), np.random.default_rng(seed)
    return worst_case_solutions(Solver(problem), costs, losses, WEIGHTS, rng=rng)


@pytest.mark.parametrize("seed", range(8))
def test_solutions_come_close_to_the_best_of_the_worst_target(seed):
    problem = random_problem(seed, targets=2)
    losses = random_losses(problem, seed)
    best = [min(objective(problem, losses, c, weights) for c in every(problem)) for weights in WEIGHTS]
    assert (best_of(solved(problem, losses), problem, losses) <= 1.15 * np.array(best)).all()


def test_shares_move_to_the_target_that_is_worst():
    problem = opposed(10)
    losses = [np.array([0.0, 0.01, 0.012, 0.1])] * 10
    levels, _ = solved(problem, losses)
    first, last = levels[: len(WEIGHTS)], levels[-len(WEIGHTS) :]
    worst = [np.mean([problem.latency(row) for row in rows]) for rows in (first, last)]
    assert worst[1] < worst[0]


def test_with_one_target_solutions_are_those_of_the_solver_and_nothing_is_drawn():
    problem = on_target(random_problem(3, targets=2), 0)
    losses, rng = random_losses(problem, 3), np.random.default_rng(0)
    levels, prices = worst_case_solutions(Solver(problem), Costs(problem), losses, WEIGHTS, rng=rng)
    assert levels == Solver(problem).minimize(losses, WEIGHTS) and prices is WEIGHTS
    assert rng.random() == np.random.default_rng(0).random()


def test_a_problem_counts_the_worst_target():
    problem = opposed(10)
    fast_on_the_first = (1,) * 10
    assert problem.latencies(fast_on_the_first) == pytest.approx([0.2, 1.2])
    assert problem.latency(fast_on_the_first) == pytest.approx(1.2)
    assert problem.size(fast_on_the_first) == pytest.approx(0.5)
