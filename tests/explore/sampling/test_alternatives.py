"""Proposals over runtimes of one device, of which a candidate takes the best, against all candidates of small
problems.
"""

from dataclasses import replace

import numpy as np
import pytest
from autocompress.explore.sampling.mixtures import worst_case_solutions
from autocompress.explore.sampling.moves import Costs
from autocompress.explore.sampling.solve import Solver, additive_loss
from autocompress.tests.explore.sampling.problems import every, random_losses, random_problem

WEIGHTS = np.array([[1.0, 3.0, 0.5], [1.0, 10.0, 0.1], [1.0, 1.0, 4.0]])


def problem_of(seed):
    return replace(random_problem(seed, targets=3), alternatives=True)


def test_a_candidate_has_the_size_and_the_latency_of_the_runtime_where_it_is_fastest():
    problem = problem_of(0)
    for levels in every(problem):
        best = int(problem.latencies(levels).argmin())
        assert problem.latency(levels) == problem.latencies(levels)[best]
        assert problem.size(levels) == problem.sizes(levels)[best]


@pytest.mark.parametrize("seed", range(6))
def test_solutions_are_the_best_over_all_candidates_and_runtimes(seed):
    problem = problem_of(seed)
    losses, rng = random_losses(problem, seed), np.random.default_rng(0)
    solutions, prices = worst_case_solutions(Solver(problem), Costs(problem), losses, WEIGHTS, rng=rng)

    def least(levels, weights):
        """The objective in the runtime where that is least."""
        by_target = weights[1] * problem.latencies(levels) + weights[2] * problem.sizes(levels)
        return additive_loss(problem, losses, levels) + by_target.min()

    values = [least(levels, weights) for levels, weights in zip(solutions, prices, strict=True)]
    reached = np.array(values).reshape(-1, len(WEIGHTS)).min(axis=0)
    best = [min(least(levels, weights) for levels in every(problem)) for weights in WEIGHTS]
    assert reached == pytest.approx(best)


@pytest.mark.parametrize("seed", range(3))
def test_a_change_counts_in_the_runtime_that_is_fastest_after_it(seed):
    problem = problem_of(seed)
    costs, losses = Costs(problem), random_losses(problem, seed)
    levels = problem.original
    changes = costs.changes(np.array([levels]), [losses])[0]
    for slot, one in enumerate(problem.slots):
        for level in range(one.levels):
            made = problem.canonical((*levels[:slot], level, *levels[slot + 1 :]))
            if made[slot] == level:
                assert changes[slot, level, 2] == pytest.approx(
                    problem.latency(made) - problem.latency(levels)
                )
                assert changes[slot, level, 1] == pytest.approx(problem.size(made) - problem.size(levels))
