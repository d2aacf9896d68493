"""Models in turns: what each round says, and when they end, with workers of known speed."""

import random
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from autocompress.targets.turns import Turn, mean_and_interval, middle_and_interval, ratios_in_turns


class Clock:
    """A machine that gets slower with every request, or is as fast as a die says."""

    def __init__(self, drift: float, *, restless: bool = False):
        self.factor, self.drift, self.order = 1.0, drift, list[str]()
        self.die = random.Random(0) if restless else None

    def tick(self) -> float:
        self.factor += self.drift
        return self.die.uniform(1.0, 2.0) if self.die else self.factor


class Worker:
    def __init__(self, clock: Clock, name: str, seconds: float):
        self.clock, self.name, self.seconds = clock, name, seconds

    def send(self, request, *, timeout_s):
        self.clock.order.append(self.name)
        seconds = [self.seconds * self.clock.tick()] * 3
        pair = {"order": "BC", "baseline_s": seconds, "candidate_s": seconds}
        return {"pairs": [pair, pair]}


def turn(clock: Clock, tmp_path, name: str, seconds: float) -> Turn:
    def worker() -> Any:
        return nullcontext(Worker(clock, name, seconds))

    return Turn(model=tmp_path / name, workload={}, open_worker=worker)


@pytest.fixture(autouse=True)
def plain_pairs(monkeypatch):
    monkeypatch.setattr(
        "autocompress.targets.turns.PairBlocks.from_json", lambda pair: SimpleNamespace(**pair)
    )


def test_a_drift_of_the_machine_falls_out(tmp_path):
    clock = Clock(drift=0.02)
    turns = [turn(clock, tmp_path, name, s) for name, s in (("a", 1.0), ("b", 0.5), ("c", 2.0))]
    a, b, c = ratios_in_turns(turns)
    assert set(a) == {1.0}
    assert mean_and_interval(b)[0] == pytest.approx(0.5, rel=0.01)
    assert mean_and_interval(c)[0] == pytest.approx(2.0, rel=0.01)
    assert clock.order[:12] == [*"abccba", *"cbaabc"]


@pytest.mark.parametrize("rounds", [6, 9, 12, 24])
def test_the_interval_of_the_middle_holds_the_median_as_often_as_it_says(rounds):
    draw, held = random.Random(rounds), 0
    for _ in range(2000):
        ratios = [1.3 * draw.lognormvariate(0.0, 0.02) for _ in range(rounds - 1)]
        ratios.append(1.3 * draw.choice([draw.lognormvariate(0.0, 0.02), 1.5]))
        _, (low, high) = middle_and_interval(ratios)
        held += low <= 1.3 <= high
    assert 0.93 <= held / 2000 <= 0.995


def test_a_disturbed_round_does_not_move_the_middle():
    quiet = [1.30, 1.31, 1.32, 1.33, 1.32, 1.31, 1.30, 1.32]
    middle, (low, high) = middle_and_interval([*quiet, 1.9])
    assert middle == 1.32 and (low, high) == (1.30, 1.33)
    assert middle_and_interval([1.0, 1.1, 1.2]) == mean_and_interval([1.0, 1.1, 1.2])


def test_rounds_end_when_all_are_narrow_or_the_time_is_over(tmp_path):
    steady, restless = Clock(drift=0.0), Clock(drift=0.0, restless=True)
    assert len(ratios_in_turns([turn(steady, tmp_path, "a", 1.0)] * 2)[0]) == 4
    turns = [turn(restless, tmp_path, name, 1.0) for name in "ab"]
    assert len(ratios_in_turns(turns, half_width=1e-9, rounds_max=6)[0]) == 6
    assert len(ratios_in_turns(turns, half_width=1e-9, time_left=lambda: False)[0]) == 4
