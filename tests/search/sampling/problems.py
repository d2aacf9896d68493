"""Small problems of random terms with gates, and brute force over them."""

import itertools

import numpy as np
from autocompress.search.space.problem import Levels, Problem, Slot, Term


def random_problem(seed: int, *, slots: int = 5, extra: int = 6) -> Problem:
    """A few slots of 2..4 levels, some behind gates, and random terms over up to four of them."""
    rng = np.random.default_rng(seed)
    counts = [2, *(int(count) for count in rng.integers(2, 5, slots - 1))]
    made = []
    for position, count in enumerate(counts):
        gates = ((0, 1),) if position and rng.random() < 0.5 else ()
        made.append(Slot(name=f"slot{position}", levels=count, original=0, gates=gates))
    terms = [Term(scope=(), size=np.array(0.01), latency=np.array(0.02))]
    for _ in range(extra):
        scope = tuple(sorted({int(s) for s in rng.choice(slots, int(rng.integers(1, 4)), replace=False)}))
        gated = [slot for slot in scope if made[slot].gates]
        scope = (0, *(slot for slot in scope if slot)) if gated else scope
        size, latency = rng.random((2, *(counts[s] for s in scope))) / extra
        for slot in gated:
            axis = scope.index(slot)
            for values in (size, latency):
                values[1] = np.take(values[1], [0], axis=axis - 1)
        terms.append(Term(scope=scope, size=size, latency=latency))
    return Problem(slots=tuple(made), terms=tuple(terms))


def random_losses(problem: Problem, seed: int) -> list[np.ndarray]:
    """Ascending losses by slot, over orders of magnitude."""
    rng = np.random.default_rng(seed + 1000)
    return [np.cumsum(rng.random(slot.levels)) * 10 ** rng.uniform(-1.5, 0.0) for slot in problem.slots]


def chain(layers: int, levels: int = 6, *, seed: int = 0) -> Problem:
    """Independent layers with a cost of switching between neighbours."""
    rng = np.random.default_rng(seed)
    slots = tuple(Slot(name=f"precision/{i}", levels=levels, original=0) for i in range(layers))
    ratios = np.linspace(1.0, 0.15, levels)
    sizes, latencies = (values / values.sum() for values in 10 ** rng.uniform(-1, 0, (2, layers)))
    terms = [
        Term(scope=(i,), size=sizes[i] * ratios, latency=latencies[i] * ratios**0.7) for i in range(layers)
    ]
    switch = 0.2 / layers * (1 - np.eye(levels))
    terms += [
        Term(scope=(i, i + 1), size=np.zeros((levels, levels)), latency=switch) for i in range(layers - 1)
    ]
    return Problem(slots=slots, terms=tuple(terms))


def every(problem: Problem) -> list[Levels]:
    """All candidates."""
    return list(itertools.product(*(range(slot.levels) for slot in problem.slots)))
