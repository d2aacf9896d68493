"""Solutions for the worst of several targets, by a Solver that can only add up.

A candidate x counts with its worst target, and max_t c_t(x) is no sum of terms. But it is the maximum over
shares p ≥ 0 that add up to 1 of Σ_t p_t c_t(x), so that for any price λ

    min_x loss(x) + λ max_t c_t(x)  ≥  max_p min_x loss(x) + λ Σ_t p_t c_t(x)

and the minimum on the right is one that the solver finds: the Lagrangian dual of the maximum. It is concave
in p, and the costs c(x*) of its solution are a supergradient: shares move towards the target where x* is
worst. They move by exponentiated gradient steps (Kivinen & Warmuth, 1997), which keep them shares.

Levels are discrete, so that the two sides may differ: where layers are alike, they all change at once, and no
share leads to a mix of them. Therefore shares start at random for every proposal, few steps are taken, and
the best solution of them is improved by single changes as long as these lower the left side. Every solution
is a candidate. With one target its share is 1: nothing is drawn, and the solver's solution is the answer.

Of alternatives a candidate counts with its best target, and min_x min_t c_t(x) = min_t min_x c_t(x): the
solutions of each target alone are exact.
"""

import numpy as np

from ..space.problem import Levels
from .moves import Costs
from .solve import Losses, Solver, additive_loss

_STEPS = 2
_RATE = 3.0  # of a step: the share of a target at half of the worst costs is multiplied by exp(-1.5)
_CHANGES = 12  # single changes of a solution
_LEAST = 1e-12  # that a change must gain


def worst_case_solutions(
    solver: Solver, costs: Costs, losses: Losses, weights: np.ndarray, *, rng: np.random.Generator
) -> tuple[list[Levels], np.ndarray]:
    """Candidates for N × 3 prices of (loss, latency, size) on the worst target, and the prices of each."""
    targets = solver.problem.target_count
    if targets == 1:
        return solver.minimize(losses, weights, rng=rng), weights
    if solver.problem.alternatives:
        return _of_each(solver, losses, weights, rng=rng), np.tile(weights, (targets, 1))
    shares = rng.dirichlet(np.ones(targets), (len(weights), 2))  # N × (latency, size) × targets
    solutions: list[Levels] = []
    for _ in range(1 + _STEPS):
        prices = np.concatenate([weights[:, :1], *(weights[:, 1:, None] * shares).transpose(1, 0, 2)], axis=1)
        step = solver.minimize(losses, prices, rng=rng)
        solutions += step
        values = costs.by_target(np.array(step))[:, ::-1]
        shares = shares * np.exp(_RATE * (values / values.max(axis=2, keepdims=True) - 1.0))
        shares /= shares.sum(axis=2, keepdims=True)
    rows = _best(solver, losses, weights, solutions)
    solutions += [tuple(row) for row in _improved(costs, losses, weights, rows).tolist()]
    return solutions, np.tile(weights, (2 + _STEPS, 1))


def _of_each(
    solver: Solver, losses: Losses, weights: np.ndarray, *, rng: np.random.Generator
) -> list[Levels]:
    """The solutions for the prices on each target alone, one target after the other."""
    solutions: list[Levels] = []
    for alone in np.eye(solver.problem.target_count):
        prices = np.concatenate([weights[:, :1], weights[:, 1:2] * alone, weights[:, 2:] * alone], axis=1)
        solutions += solver.minimize(losses, prices, rng=rng)
    return solutions


def _best(solver: Solver, losses: Losses, weights: np.ndarray, solutions: list[Levels]) -> np.ndarray:
    """By row of weights, the best of its solutions by the worst target, N × slots."""
    problem, totals = solver.problem, []
    for levels, prices in zip(solutions, np.resize(weights, (len(solutions), 3)), strict=True):
        loss = additive_loss(problem, losses, levels)
        totals.append(prices @ [loss, problem.latency(levels), problem.size(levels)])
    steps = np.array(totals).reshape(-1, len(weights)).argmin(axis=0)
    return np.asarray(np.array(solutions)[steps * len(weights) + np.arange(len(weights))])


def _improved(costs: Costs, losses: Losses, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows after single changes, each the best one of its time, as long as they help."""
    rows, every = rows.copy(), np.arange(len(rows))
    prices = weights[:, [0, 2, 1]]
    for _ in range(_CHANGES):
        changes = costs.changes(rows, [losses] * len(rows))
        gains = np.where(np.isinf(changes[..., 0]), np.inf, 0.0)
        gains += (np.nan_to_num(changes, posinf=0.0) * prices[:, None, None]).sum(axis=3)
        flat = gains.reshape(len(rows), -1)
        best = flat.argmin(axis=1)
        helps = flat[every, best] < -_LEAST
        if not helps.any():
            break
        slots, levels = np.divmod(best, changes.shape[2])
        rows[every[helps], slots[helps]] = levels[helps]
        rows = costs.canonical(rows)
    return rows
