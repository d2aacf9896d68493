"""What is known of rung r0 survives a kill."""

from types import SimpleNamespace
from typing import cast

import numpy as np
from autocompress.explore.rungs.pool import Pool
from autocompress.explore.space.problem import LevelProblem, Slot, Term
from autocompress.results.run_directory import RunDirectory

SLOTS = (Slot(name="keep/a", levels=3, original=2), Slot(name="precision/a", levels=4, original=0))
TERM = Term(scope=(0, 1), size=np.ones((1, 3, 4)), latency=np.ones((1, 3, 4)))
PROBLEM = LevelProblem(slots=SLOTS, terms=(TERM,))


def test_candidates_are_read_again_and_those_promoted_do_not_wait(tmp_path):
    place = cast(RunDirectory, SimpleNamespace(path=tmp_path))
    pool = Pool.open(place, PROBLEM)
    pool.add((0, 3), 0.5)
    pool.add((2, 0), 0.0)
    again = Pool.open(place, PROBLEM)
    assert again.kls == {(0, 3): 0.5, (2, 0): 0.0}
    again.promoted.add((0, 3))
    assert again.waiting() == [((2, 0), 0.0)]


def test_a_half_written_line_and_levels_of_another_space_are_left_out(tmp_path):
    place = cast(RunDirectory, SimpleNamespace(path=tmp_path))
    Pool.open(place, PROBLEM).add((1, 1), 0.25)
    with (tmp_path / "r0.jsonl").open("a") as file:
        file.write(
            '{"levels": {"keep/b": 1}, "kl": 1.0}\n{"levels": {"keep/a": 9}, "kl": 1.0}\n'
            '{"levels": {"keep/a": 1}, "k'
        )
    pool = Pool.open(place, PROBLEM)
    assert pool.kls == {(1, 1): 0.25}
    pool.add((0, 0), 2.0)
    assert Pool.open(place, PROBLEM).kls == {(1, 1): 0.25, (0, 0): 2.0}


def test_a_damaged_line_is_left_out(tmp_path):
    place = cast(RunDirectory, SimpleNamespace(path=tmp_path))
    for levels, kl in {(1, 1): 0.25, (0, 1): 0.5, (0, 0): 0.75}.items():
        Pool.open(place, PROBLEM).add(levels, kl)
    file = tmp_path / "r0.jsonl"
    file.write_bytes(file.read_bytes().replace(b"0.25", b"0.35").replace(b"0.75", b"0.\xff5"))
    assert Pool.open(place, PROBLEM).kls == {(0, 1): 0.5}
