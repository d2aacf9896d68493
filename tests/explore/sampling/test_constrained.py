"""Candidates within limits against all candidates of small problems."""

import numpy as np
import pytest
from autocompress.explore.sampling.constrained import Bounds, constrained
from autocompress.explore.sampling.solve import Solver, additive_loss
from autocompress.tests.explore.sampling.problems import chain, every, random_losses, random_problem
from autocompress.tests.present import present


@pytest.mark.parametrize(
    "bounds", [Bounds(max_latency=0.6), Bounds(max_size=0.5), Bounds(max_latency=0.7, max_size=0.6)]
)
def test_constrained_solutions_keep_the_limits_and_come_close_to_the_best(bounds):
    problem = chain(7, 3)
    losses = random_losses(problem, 7)
    found = constrained(Solver(problem), losses, bounds)
    feasible = [
        c
        for c in every(problem)
        if problem.latency(c) <= bounds.max_latency and problem.size(c) <= bounds.max_size
    ]
    assert found in feasible
    spread = sorted(additive_loss(problem, losses, candidate) for candidate in feasible)
    assert additive_loss(problem, losses, found) <= spread[len(spread) // 20]


def test_the_fastest_candidate_within_a_loss_is_found():
    problem = chain(40)
    losses = random_losses(problem, 8)
    limit = 0.2 * sum(loss[-1] for loss in losses)
    levels = constrained(Solver(problem), losses, Bounds(max_loss=limit), objective=(1e-6, 1.0, 1e-6))
    assert 0.8 * limit < additive_loss(problem, losses, present(levels)) <= limit


@pytest.mark.parametrize("seed", range(4))
def test_limits_hold_on_each_of_two_targets(seed):
    problem = random_problem(seed, targets=2)
    losses, candidates = random_losses(problem, seed), every(problem)
    limit = float(np.quantile([problem.latency(candidate) for candidate in candidates], 0.3))
    levels = constrained(Solver(problem), losses, Bounds(max_latency=limit))
    feasible = [candidate for candidate in candidates if problem.latency(candidate) <= limit]
    assert levels in feasible
    spread = sorted(additive_loss(problem, losses, candidate) for candidate in feasible)
    assert additive_loss(problem, losses, levels) <= spread[len(spread) // 10]


def test_limits_that_nothing_keeps_have_no_solution():
    problem = chain(5, 4)
    assert constrained(Solver(problem), random_losses(problem, 7), Bounds(max_latency=0.01)) is None
