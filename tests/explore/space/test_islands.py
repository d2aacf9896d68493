"""Islands: runs of layers in another arithmetic, their bits kept, and the fastest of them by a latency table."""

import numpy as np
import pytest
from autocompress.compress.recipe import Precision
from autocompress.explore.sampling.losses import LossTable
from autocompress.explore.sampling.proposals import Proposer
from autocompress.explore.space.islands import Islands
from autocompress.explore.space.problem import LevelProblem, Slot, Term

CHOICES: tuple[Precision, ...] = ("float32", "int8", "int4", "w8", "w4")
NAMES = "abcdef"
SWITCH = 0.05


def problem(int8_costs=(2.0, 2.0, 1.1, 0.5, 0.5, 0.5)):
    """Six layers; integers cost what is given relative to float32's 1/6, and each switch SWITCH."""
    slots = tuple(Slot(name=f"precision/{name}", levels=5, original=0) for name in NAMES)
    integer = np.array([False, True, True, False, False])
    sizes = np.array([[4.0, 1.0, 0.5, 1.0, 0.5]]) / 24
    terms = [
        Term(scope=(at,), size=sizes, latency=np.where(integer, cost, 1.0)[None] / 6)
        for at, cost in enumerate(int8_costs)
    ]
    switch = np.where(integer[:, None] != integer[None, :], SWITCH, 0.0)[None]
    terms += [Term(scope=(at, at + 1), size=np.zeros((1, 5, 5)), latency=switch) for at in range(5)]
    return LevelProblem(slots=slots, terms=tuple(terms))


def islands_of(task):
    return Islands.of(task, dict.fromkeys(NAMES, CHOICES))


def named(levels):
    return [CHOICES[level] for level in levels]


def test_a_run_computes_in_integers_with_the_bits_that_it_has():
    islands = islands_of(problem())
    levels = np.array([CHOICES.index(kind) for kind in ("float32", "w8", "w4", "int8", "int4", "w8")])
    assert named(islands.run(levels, 1, 5, integer=True)) == ["float32", "int8", "int4", "int8", "int4", "w8"]
    assert named(islands.run(levels, 2, 6, integer=False)) == ["float32", "w8", "w4", "w8", "w4", "w8"]


def test_without_stored_bits_integers_become_float32():
    choices: tuple[Precision, ...] = ("float32", "int8", "int4")
    islands = Islands.of(problem(), dict.fromkeys(NAMES, choices))
    assert islands.run(np.array([1, 2, 0, 1, 1, 1]), 0, 3, integer=False).tolist() == [0, 0, 0, 1, 1, 1]


def test_all_islands_of_six_layers_are_there():
    rows = islands_of(problem()).all_of(np.full(6, CHOICES.index("w4")))
    assert len(np.unique(rows, axis=0)) == 6 * 7 // 2
    assert set(np.unique(rows)) == {CHOICES.index("w4"), CHOICES.index("int4")}


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((2.0, 2.0, 1.1, 0.5, 0.5, 0.5), "fffiii"),
        ((0.5, 0.5, 2.0, 2.0, 2.0, 0.9), "iiffff"),
        ((1.9, 0.4, 0.9, 0.4, 1.9, 1.2), "fiiiff"),
    ],
    ids=["late layers pay", "early layers pay", "the middle pays"],
)
def test_the_fastest_island_is_what_the_latency_table_says_pays(costs, expected):
    task = problem(costs)
    table = LossTable(task, {slot.name: [0.0, 0.1, 0.2, 0.05, 0.15] for slot in task.slots})
    proposer = Proposer(task, table, islands=islands_of(task))
    (found,) = proposer.fastest_islands([(CHOICES.index("w4"),) * 6])
    assert "".join("i" if kind == "int4" else "f" for kind in named(found)) == expected


def test_flipped_runs_are_candidates_with_one_run_in_another_arithmetic():
    islands, levels = islands_of(problem()), np.full(6, CHOICES.index("w8"))
    made = islands.flipped(levels, 40, np.random.default_rng(0))
    assert len(made) > 10
    for row in made:
        changed = np.flatnonzero(row != levels)
        assert set(row[changed]) == {CHOICES.index("int8")}
        assert (np.diff(changed) == 1).all()
