"""Proposals: boxes and moves against direct computation, and what a Proposer promises."""

import numpy as np
import pytest
from autocompress.explore.sampling.box_decomposition import BoxDecomposition
from autocompress.explore.sampling.losses import LossTable
from autocompress.explore.sampling.moves import Costs, neighbours
from autocompress.explore.sampling.observations import front_rows
from autocompress.explore.sampling.proposals import Proposer
from autocompress.explore.sampling.solve import additive_loss
from autocompress.explore.space.problem import LevelProblem, Slot, Term
from autocompress.results.front import hypervolume
from autocompress.tests.explore.sampling.problems import (
    chain,
    every,
    on_target,
    opposed,
    random_losses,
    random_problem,
)


def small_losses(problem, seed, total=0.3):
    """Losses of 0 at the original that sum to `total` on average."""
    losses = [loss - loss[0] for loss in random_losses(problem, seed)]
    mean = sum(loss.mean() for loss in losses)
    return [loss * total / mean for loss in losses]


def proposer(problem, losses, **options):
    table = LossTable(
        problem, {slot.name: list(loss) for slot, loss in zip(problem.slots, losses, strict=True)}
    )
    return Proposer(problem, table, **{"seed": 0, **options})


def searched(made, problem, true, count):
    """Vectors of `count` proposals whose true losses are `true`, interacting."""
    vectors = []
    for _ in range(count):
        levels = made.propose()
        kl = additive_loss(problem, true, levels) ** 1.2
        vectors.append((kl / 0.3, problem.size(levels), problem.latency(levels)))
        made.observe(levels, loss=kl, vector=vectors[-1])
    return vectors


@pytest.mark.parametrize("seed", range(6))
def test_gains_are_differences_of_hypervolumes_with_duplicates_and_points_outside(seed):
    rng = np.random.default_rng(seed)
    front = np.round(rng.uniform(-0.05, 1.2, (40, 3)), 1 + seed % 3)
    vectors = np.round(rng.uniform(-0.05, 1.1, (60, 3)), 1 + seed % 3)
    whole = hypervolume(map(tuple, front))
    expected = [hypervolume([*map(tuple, front), tuple(vector)]) - whole for vector in vectors]
    assert BoxDecomposition(front, (1.0, 1.0, 1.0)).gains(vectors) == pytest.approx(expected, abs=1e-12)


def test_gains_in_a_smaller_box_are_shares_of_it():
    rng = np.random.default_rng(0)
    limits = np.array([0.2, 0.5, 0.8])
    front, vector = rng.random((30, 3)) * limits, rng.random((1, 3)) * limits * 0.6
    sample = rng.random((200_000, 3)) * limits
    free = ~(front[None, :, :] <= sample[:, None, :][:5000]).all(axis=2).any(axis=1)
    share = (free & (vector <= sample[:5000]).all(axis=1)).mean()
    assert BoxDecomposition(front, limits.tolist()).gains(vector)[0] == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_every_single_change_adds_what_its_table_says(seed, targets):
    problem = random_problem(seed, targets=targets)
    losses = random_losses(problem, seed)
    candidates = [problem.canonical(levels) for levels in every(problem)[::7]]
    table = Costs(problem).changes(np.array(candidates), [losses] * len(candidates))
    for row, levels in enumerate(candidates):
        for slot in range(len(levels)):
            for level in range(problem.slots[slot].levels):
                changed = (*levels[:slot], level, *levels[slot + 1 :])
                loss = additive_loss(problem, losses, changed) - additive_loss(problem, losses, levels)
                difference = (
                    loss,
                    problem.size(changed) - problem.size(levels),
                    problem.latency(changed) - problem.latency(levels),
                )
                assert table[row, slot, level] == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize("targets", [1, 2])
def test_many_costs_and_canonical_levels_are_those_of_the_problem(targets):
    problem = random_problem(2, targets=targets)
    costs, levels = Costs(problem), np.array(every(problem))
    assert costs.canonical(levels).tolist() == [
        list(problem.canonical(tuple(row))) for row in levels.tolist()
    ]
    assert costs.many(levels[::9]) == pytest.approx(
        np.array([[problem.size(tuple(r)), problem.latency(tuple(r))] for r in levels[::9]])
    )


def test_balanced_neighbours_keep_cost_closer_than_random_changes_do():
    problem, rng = chain(30), np.random.default_rng(0)
    losses, levels = random_losses(problem, 0), np.full((1, 30), 2)
    changes = Costs(problem).changes(levels, [losses])[0]
    made = neighbours(levels[0], changes, np.array([1.0, 50.0, 50.0]), 90, rng)
    assert ((made >= 0) & (made < 6)).all()
    change = np.abs(Costs(problem).many(made) - Costs(problem).many(levels)).sum(axis=1)
    assert np.median(change[:15]) < 0.5 * np.median(change[-20:])


def test_proposals_are_canonical_new_and_repeat_with_the_same_seed():
    problem = random_problem(4, slots=8)
    runs = []
    for _ in range(2):
        made = proposer(problem, random_losses(problem, 4))
        made.observe(problem.original, loss=0.0, vector=(0.0, 1.0, 1.0))
        runs.append([made.propose() for _ in range(40)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 40 and problem.original not in runs[0]
    assert all(levels == problem.canonical(levels) for levels in runs[0])


def test_an_exhausted_space_has_no_proposal_left():
    problem = random_problem(0, slots=4)
    made = proposer(problem, random_losses(problem, 0))
    candidates = {problem.canonical(levels) for levels in every(problem)}
    found = [made.propose() for _ in candidates]
    assert set(found) == candidates
    assert made.propose() is None


def test_switches_and_learning_beat_dynamic_programming_alone_on_a_wrong_table():
    problem, rng = chain(24), np.random.default_rng(1)
    true = small_losses(problem, 1)
    wrong = [loss * np.exp(rng.normal(0, 0.8)) for loss in true]
    found = {
        s: hypervolume(searched(proposer(problem, wrong, switches=s), problem, true, 80))
        for s in (True, False)
    }
    assert found[True] > 1.02 * found[False]


def test_limits_steer_proposals_into_their_box():
    problem = chain(24)
    true = small_losses(problem, 1)
    free = searched(proposer(problem, true), problem, true, 40)
    limits = (0.5, 1.0, 0.6)
    steered = searched(proposer(problem, true, limits=limits), problem, true, 40)
    inside = [
        sum(bool((np.array(vector) <= limits).all()) for vector in vectors) for vectors in (free, steered)
    ]
    assert inside[1] >= 25 > 2 * inside[0], inside


def test_limits_that_come_later_steer_what_is_proposed_from_then_on():
    problem = chain(24)
    true, limits = small_losses(problem, 1), (0.5, 1.0, 0.6)
    made = proposer(problem, true)
    free = searched(made, problem, true, 40)
    made.limit(limits)
    steered = searched(made, problem, true, 40)
    inside = [
        sum(bool((np.array(vector) <= limits).all()) for vector in vectors) for vectors in (free, steered)
    ]
    assert inside[1] >= 25 > 2 * inside[0], inside


def test_with_a_maximal_drop_of_0_proposals_are_the_cheapest_of_little_loss():
    problem = chain(12)
    true = small_losses(problem, 1)
    vectors = searched(proposer(problem, true, limits=(0.0, 1.0, 1.0)), problem, true, 30)
    assert np.median([vector[0] for vector in vectors[10:]]) < 0.1


def test_with_limits_that_nothing_keeps_proposals_come_as_close_as_they_can():
    problem = chain(12)
    true = small_losses(problem, 1, total=0.05)
    vectors = searched(proposer(problem, true, limits=(1.0, 1.0, 0.05)), problem, true, 20)
    assert np.median([vector[2] for vector in vectors[10:]]) < 0.5


def test_a_recovered_candidate_joins_the_front_but_teaches_nothing():
    problem = chain(12)
    made = proposer(problem, random_losses(problem, 1))
    before, value = made.losses.loss((2,) * 12), made.value((1,) * 12, loss=0.01)
    made.observe((1,) * 12, loss=5.0, vector=(0.0, 0.01, 0.01), recovered=True)
    assert made.losses.loss((2,) * 12) == before and made.curve.drop(0.1) == proposer(
        problem, random_losses(problem, 1)
    ).curve.drop(0.1)
    assert made.value((1,) * 12, loss=0.01) < value


def test_a_smaller_measured_loss_is_worth_more():
    problem = chain(12)
    made = proposer(problem, random_losses(problem, 1))
    assert made.value((3,) * 12, loss=0.01) > made.value((3,) * 12, loss=0.1) > 0
    assert made.predict((3,) * 12, 0.01)[0] < made.predict((3,) * 12, 0.1)[0]


def test_proposals_for_two_opposed_targets_beat_those_by_the_table_of_either():
    problem = opposed(20)
    true = [np.array([0.0, 0.004, 0.005, 0.03])] * 20
    volumes, fastest = [], []
    for known in (problem, on_target(problem, 0), on_target(problem, 1)):
        vectors = searched(proposer(known, true), problem, true, 40)
        volumes.append(hypervolume(vectors))
        fastest.append(min(vector[2] for vector in vectors if vector[0] < 1))
    assert volumes[0] > 1.1 * max(volumes[1:]), volumes
    assert fastest[0] < 0.75 and fastest[0] < min(fastest[1:]) - 0.05, fastest


def test_a_target_that_joins_later_counts_from_then_on():
    problem = opposed(20)
    true = [np.array([0.0, 0.004, 0.005, 0.03])] * 20
    made = proposer(on_target(problem, 0), true)
    before = min(vector[2] for vector in searched(made, problem, true, 20))
    made.update_problem(problem)
    assert made.predict((1,) * 20)[2] == pytest.approx(1.2)
    assert min(vector[2] for vector in searched(made, problem, true, 20)) < before - 0.05


def test_new_terms_change_predictions_and_keep_what_was_learned():
    slots = (Slot(name="a", levels=3, original=0), Slot(name="b", levels=3, original=0))
    size = np.array([[0.5, 0.3, 0.1]])
    terms = [Term(scope=(i,), size=size, latency=size) for i in range(2)]
    made = proposer(LevelProblem(slots=slots, terms=tuple(terms)), [np.array([0.0, 0.01, 0.1])] * 2)
    made.observe((1, 1), loss=0.02)
    slower = [Term(scope=(i,), size=size, latency=2 * size) for i in range(2)]
    made.update_problem(LevelProblem(slots=slots, terms=tuple(slower)))
    assert made.predict((1, 1))[1:] == pytest.approx((0.6, 1.2))
    assert made.propose() != (1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_front_of_known_candidates_is_a_naive_one(seed):
    vectors = np.random.default_rng(seed).integers(0, 6, (120, 3)).astype(float)
    naive = {tuple(v) for v in vectors if not any((w <= v).all() and (w < v).any() for w in vectors)}
    found = front_rows(vectors)
    assert {tuple(vectors[row]) for row in found} == naive and len(found) == len(naive)


def test_candidates_to_be_trained_may_lose_more_than_the_limit_before():
    def drops(mending):
        problem = chain(10)
        losses = small_losses(problem, 0, total=2.0)
        made = proposer(problem, losses, limits=(0.2, 1.0, 1.0))
        made.aim(mending)
        return np.array([drop for drop, *_ in searched(made, problem, losses, 40)][20:])

    assert np.median(drops(None)) <= 0.2
    trained = drops(lambda drops: 0.1 * drops)
    assert np.median(trained) > 0.4 and np.median(0.1 * trained) <= 0.2
