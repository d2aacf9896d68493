"""Small problems of random terms with gates, and brute force over them."""

import itertools
from dataclasses import replace

import numpy as np
from autocompress.explore.space.problem import LevelProblem, Levels, Slot, Term


def random_problem(seed: int, *, slots: int = 5, extra: int = 6, targets: int = 1) -> LevelProblem:
    """A few slots of 2..4 levels, some behind gates, and random terms over up to four of them."""
    rng = np.random.default_rng(seed)
    counts = [2, *(int(count) for count in rng.integers(2, 5, slots - 1))]
    made = []
    for position, count in enumerate(counts):
        gates = ((0, 1),) if position and rng.random() < 0.5 else ()
        made.append(Slot(name=f"slot{position}", levels=count, original=0, gates=gates))
    terms = [Term(scope=(), size=np.full(targets, 0.01), latency=np.full(targets, 0.02))]
    for _ in range(extra):
        scope = tuple(sorted({int(s) for s in rng.choice(slots, int(rng.integers(1, 4)), replace=False)}))
        gated = [slot for slot in scope if made[slot].gates]
        scope = (0, *(slot for slot in scope if slot)) if gated else scope
        size, latency = rng.random((2, targets, *(counts[s] for s in scope))) / extra
        for slot in gated:
            axis = scope.index(slot)
            for values in (size, latency):
                values[:, 1] = np.take(values[:, 1], [0], axis=axis)
        terms.append(Term(scope=scope, size=size, latency=latency))
    return LevelProblem(slots=tuple(made), terms=tuple(terms))


def random_losses(problem: LevelProblem, seed: int) -> list[np.ndarray]:
    """Ascending losses by slot, over orders of magnitude."""
    rng = np.random.default_rng(seed + 1000)
    return [np.cumsum(rng.random(slot.levels)) * 10 ** rng.uniform(-1.5, 0.0) for slot in problem.slots]


def chain(layers: int, levels: int = 6, *, seed: int = 0) -> LevelProblem:
    """Independent layers with a cost of switching between neighbours."""
    rng = np.random.default_rng(seed)
    slots = tuple(Slot(name=f"precision/{i}", levels=levels, original=0) for i in range(layers))
    ratios = np.linspace(1.0, 0.15, levels)
    sizes, latencies = (values / values.sum() for values in 10 ** rng.uniform(-1, 0, (2, layers)))
    terms = [
        Term(scope=(i,), size=(sizes[i] * ratios)[None], latency=(latencies[i] * ratios**0.7)[None])
        for i in range(layers)
    ]
    switch = 0.2 / layers * (1 - np.eye(levels))[None]
    terms += [Term(scope=(i, i + 1), size=np.zeros_like(switch), latency=switch) for i in range(layers - 1)]
    return LevelProblem(slots=slots, terms=tuple(terms))


def opposed(layers: int, *, seed: int = 0) -> LevelProblem:
    """Two targets: level 1 is fast on the first and slow on the second, level 2 the other way round."""
    slots = tuple(Slot(name=f"precision/{i}", levels=4, original=0) for i in range(layers))
    latency = np.array([[1.0, 0.2, 1.2, 0.8], [1.0, 1.2, 0.2, 0.8]])
    size = np.array([[1.0, 0.5, 0.5, 0.25]] * 2)
    shares = 10 ** np.random.default_rng(seed).uniform(-0.3, 0.3, layers)
    terms = [
        Term(scope=(i,), size=share * size, latency=share * latency)
        for i, share in enumerate(shares / shares.sum())
    ]
    return LevelProblem(slots=slots, terms=tuple(terms))


def on_target(problem: LevelProblem, target: int) -> LevelProblem:
    """The problem of one of its targets."""
    row = slice(target, target + 1)
    terms = [replace(term, size=term.size[row], latency=term.latency[row]) for term in problem.terms]
    return LevelProblem(slots=problem.slots, terms=tuple(terms))


def every(problem: LevelProblem) -> list[Levels]:
    """All candidates."""
    return list(itertools.product(*(range(slot.levels) for slot in problem.slots)))
