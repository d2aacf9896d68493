"""Proposer: which candidate to try next, given everything that was observed.

Two sources (`pool.py`). Dynamic programming over the corrected loss table (`solve.py`) for varied prices of
latency and size gives whole candidates; switches (`moves.py`) change one to four levels of a good candidate
so that cost stays matched. What a neighbour would measure is predicted from its parent's *observed* loss and
drop plus the table's difference, so that errors of the table that both share cancel. All are scored by the
hypervolume that they are expected to add inside the box of the limits (`box_decomposition.py`). Sizes and
latencies are those of the worst target. Candidates that are to be trained are sought with `aim`: they are
scored by the drops that a recovery is expected to leave, beside a front of which all are trained.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..space.islands import Islands
from ..space.problem import LevelProblem, Levels
from .box_decomposition import BoxDecomposition
from .constrained import Bounds
from .losses import DropCurve, LossTable
from .moves import Costs
from .observations import Observation, Observations, Vector, front_rows
from .pool import Pool, Source

LEAST_DROP = 0.01  # of the box: with a maximal drop of 0 candidates still differ in size and latency
_LEAST = (LEAST_DROP, 1e-3, 1e-3)  # a box has room for something
_REFILL = 4  # proposals from one pool
_SHORTLIST = 100  # candidates of a pool that are scored again for its later proposals
_PARENTS = 8
_QUADRATURE = (
    (-1.732, 1 / 6),
    (0.0, 2 / 3),
    (1.732, 1 / 6),
)  # Gauss-Hermite: the expectation over a normal error
_ENUMERATED = 20_000
Mending = Callable[[np.ndarray], np.ndarray]  # from normalized drops to those after a recovery


class Proposer:
    """Proposes candidates and learns from them. Vectors are (normalized drop, size ratio, latency ratio), all
    minimized.

    `limits` is the upper corner of the box that counts: the user's constraints shrink it. `switches=False` is
    dynamic programming alone, by a table that is never corrected. Not for use from several threads.
    """

    def __init__(
        self,
        problem: LevelProblem,
        losses: LossTable,
        *,
        limits: Sequence[float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        switches: bool = True,
        islands: Islands | None = None,
    ):
        self.losses, self.curve = losses, DropCurve()
        self.limits = np.maximum(np.asarray(limits, dtype=float), _LEAST)
        self._switches, self._islands = switches, islands
        self._rng = np.random.default_rng(seed)
        self._source = Source(losses, switches=switches, islands=islands, rng=self._rng)
        self._observations = Observations()
        self._taken: set[Levels] = set()
        self._weights: dict[Levels, np.ndarray] = {}
        self._surprise = 0.2**2  # mean squared error of log KL, predicted against measured
        self._mending: Mending | None = None
        self._measured: BoxDecomposition | None = None
        self._covered: BoxDecomposition | None = None
        self.update_problem(problem)

    def update_problem(self, problem: LevelProblem) -> None:
        """Exchanges the terms: the latency table learned something. The slots must be the same."""
        self.problem = problem
        self._costs = Costs(problem)
        self._source.update_problem(problem, self._costs)
        self._pool, self._refill_in = self._source.empty(), 0
        for entry in self._observations.entries:
            entry.costs = self._cost(entry.levels)
        self._measured = self._covered = None

    def limit(self, limits: Sequence[float]) -> None:
        """Exchanges the limits: later proposals are for this box."""
        corner = np.maximum(np.asarray(limits, dtype=float), _LEAST)
        if (corner != self.limits).any():
            self.limits = corner
            self._pool, self._refill_in = self._source.empty(), 0
            self._measured = self._covered = None

    def aim(self, mending: Mending | None) -> None:
        """Later proposals will be trained, which leaves of their drops what `mending` tells; with None they
        will not.
        """
        if (mending is None) != (self._mending is None):
            self._pool, self._refill_in = self._source.empty(), 0
        self._mending = mending
        self._covered = None

    def observe(
        self,
        levels: Levels,
        *,
        loss: float | None = None,
        vector: Sequence[float] | None = None,
        recovered: bool = False,
    ) -> None:
        """Takes note of what was measured: the KL after the first rung, the vector after the second.

        A recovered candidate was trained: it joins the front, but teaches neither the table nor the curve.
        """
        levels = self.problem.canonical(levels)
        self._taken.add(levels)
        before = self._observations.get(levels)
        new = before is None or before.loss is None
        loss = None if recovered else loss
        measured = None if vector is None else (vector[0], vector[1], vector[2])
        closed = self._closed(levels)
        weights = self._weights.get(levels)
        observation = Observation(levels, self._cost(levels), loss, measured, recovered, weights, closed)
        known_loss = self._observations.add(observation).loss
        self._measured = self._covered = None
        if loss is not None and new:
            self._learn_loss(levels, loss)
        if known_loss is not None and vector is not None and not recovered:
            self.curve.observe(known_loss, vector[0], closed=closed)

    def correct(self, levels: Levels, *, before: Sequence[float], after: Sequence[float]) -> None:
        """Replaces a vector that was observed: of these levels another one counts now, or nothing changes."""
        entry = self._observations.get(self.problem.canonical(levels))
        if entry is None or entry.vector != tuple(before):
            return
        entry.vector = (after[0], after[1], after[2])
        self._measured = self._covered = None
        if entry.loss is not None and not entry.recovered:
            self.curve.correct(entry.loss, before[0], after[0], closed=entry.closed)

    def fastest_islands(self, bases: Sequence[Levels]) -> list[Levels]:
        """For each of `bases`, its bits kept, the run of integer layers that is expected to be fastest; fewer
        where two are the same, or no run is faster than none.
        """
        if self._islands is None or not len(self._islands):
            return []
        found: dict[Levels, None] = {}
        for base in bases:
            rows = self._islands.all_of(np.array(base))
            latencies = self._costs.many(rows)[:, 1]
            found[self.problem.canonical(tuple(map(int, rows[latencies.argmin()])))] = None
        return [levels for levels in found if levels not in self._taken]

    def propose(self) -> Levels | None:
        """Canonical levels that were neither proposed nor observed before; None when there are none left."""
        if self._refill_in <= 0 or not len(self._pool.levels):
            self._pool, self._refill_in = self._filled(), _REFILL
        while len(self._pool.levels):
            score = self._scores(self._pool)
            row = int(score.argmax())
            levels = tuple(map(int, self._pool.levels[row]))
            self._weights[levels] = self._pool.weights[row]
            if score[row] > 0:
                self._source.praise(self._pool.weights[row])
            self._pool = self._pool.at(np.delete(np.argsort(-score)[:_SHORTLIST], 0))
            self._refill_in -= 1
            if levels not in self._taken:
                self._taken.add(levels)
                return levels
        return self._any()

    def predict(self, levels: Levels, loss: float | None = None) -> Vector:
        """The expected vector; `loss` is the measured KL when it is known."""
        levels = self.problem.canonical(levels)
        if loss is None:
            entry = self._observations.get(levels)
            measured = None if entry is None else entry.loss
            loss = self.losses.loss(levels) if measured is None else measured
        return self.curve.drop(loss, closed=self._closed(levels)), *self._cost(levels)

    def vectors(self, rows: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """The expected vectors of N × slots canonical levels whose KL were measured, N × 3; trained ones, if
        these are aimed at.
        """
        drops = self._mended(self.curve.many(losses, self.problem.closed(rows)))
        return np.column_stack([drops, self._costs.many(rows)])

    def _mended(self, drops: np.ndarray) -> np.ndarray:
        return drops if self._mending is None else self._mending(drops)

    def value(self, levels: Levels, *, loss: float | None = None) -> float:
        """The hypervolume that it is expected to add to the measured front, as a share of the box."""
        vector = np.array([self.predict(levels, loss)])
        self._measured = self._measured or BoxDecomposition(self._observations.measured(), self.limits)
        error = self.curve.spread if loss is not None else self._error
        return float(self._expected(self._measured, vector, error)[0])

    def forget(self, levels: Levels) -> None:
        """A candidate that failed says nothing of its neighbours any more; it is not proposed again."""
        entry = self._observations.get(self.problem.canonical(levels))
        if entry is not None and entry.vector is None:
            entry.loss = None
            self._covered = None

    def _closed(self, levels: Levels) -> bool:
        return bool(self.problem.closed(np.array([levels]))[0])

    def _cost(self, levels: Levels) -> tuple[float, float]:
        return self.problem.size(levels), self.problem.latency(levels)

    @property
    def _error(self) -> float:
        """The standard deviation of a predicted log drop."""
        return float(np.sqrt(self._surprise + self.curve.spread**2))

    def _learn_loss(self, levels: Levels, loss: float) -> None:
        predicted = self.losses.loss(levels)
        if predicted > 0 and loss > 0:
            error = min(abs(np.log(loss / predicted)), 1.0)
            self._surprise += 0.05 * (error**2 - self._surprise)
        if self._switches:
            self.losses.observe(levels, loss)

    # Scores

    def _gains(self, vectors: np.ndarray) -> np.ndarray:
        """Expected gains over the measured front and what is predicted of candidates of the first rung."""
        self._covered = self._covered or BoxDecomposition(self._known()[1], self.limits)
        return self._expected(self._covered, vectors, self._error)

    def _scores(self, pool: Pool) -> np.ndarray:
        """Expected hypervolume with some randomness; where that is 0, minus the violation of the limits."""
        vectors = np.concatenate([self._drops(pool)[:, None], pool.costs], axis=1)
        gains = self._gains(vectors) * np.exp(self._rng.normal(0.0, 0.3, len(vectors)))
        violation = np.maximum(vectors / self.limits - 1.0, 0.0).sum(axis=1)
        return np.where(gains > 0, gains, -violation - 1e-9)

    def _drops(self, pool: Pool) -> np.ndarray:
        """Predicted drops, those of neighbours anchored at their parents."""
        kl = self.losses.many(pool.levels)
        factor = np.ones(len(kl))
        for parent in np.unique(pool.parents[pool.parents >= 0]):
            entry, rows = self._observations.entries[parent], pool.parents == parent
            predicted = self.losses.loss(entry.levels)
            if entry.loss is None or entry.loss <= 0 or predicted <= 0:
                continue
            kl[rows] *= entry.loss / predicted
            if entry.vector is not None and not entry.recovered and entry.vector[0] > 0.05:
                expected = self.curve.drop(entry.loss, closed=entry.closed)
                factor[rows] = np.clip(entry.vector[0] / expected, 0.5, 2.0)
        return self._mended(self.curve.many(kl, self.problem.closed(pool.levels)) * factor)

    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices and vectors of what was observed; trained ones, if these are aimed at."""
        rows, vectors = self._observations.vectors(self.curve)
        bare = np.array([not self._observations.entries[row].recovered for row in rows], dtype=bool)
        vectors[bare, 0] = self._mended(vectors[bare, 0])
        return rows, vectors

    @staticmethod
    def _expected(undominated: BoxDecomposition, vectors: np.ndarray, error: float) -> np.ndarray:
        total = np.zeros(len(vectors))
        for deviation, weight in _QUADRATURE:
            total += weight * undominated.gains(vectors * [np.exp(deviation * error), 1.0, 1.0])
        return total

    # The pool

    def _filled(self) -> Pool:
        """Fresh candidates from both sources."""
        limited = (self.limits < 1.0).any() and not self.problem.alternatives
        bounds = self._bounds() if limited and not self._taken else None
        parts = [self._source.solutions(bounds)]
        if self._switches:
            parts += self._source.around(self._observations.entries, self._parents())
        pool = Pool.joined(parts)
        _, unique = np.unique(pool.levels, axis=0, return_index=True)
        new = [row for row in unique if tuple(pool.levels[row].tolist()) not in self._taken]
        return pool.at(np.array(new, dtype=np.int64))

    def _bounds(self) -> Bounds:
        drop, size, latency = self.limits
        return Bounds(max_loss=self.curve.inverse(drop), max_latency=latency, max_size=size)

    def _parents(self) -> list[int]:
        """Indices of candidates to change: of the front, and of the first rung's that would add to it."""
        rows, vectors = self._known()
        front = front_rows(vectors)
        inside = [row for row in front if (vectors[row] < self.limits).all()]
        chosen = inside or front
        if not chosen:
            return []
        drawn = self._rng.choice(chosen, min(_PARENTS, len(chosen)), replace=False)
        return [int(rows[row]) for row in drawn]

    def _any(self) -> Levels | None:
        """A candidate that was not taken yet, at random or, in a small space, by counting."""
        counts = [slot.levels for slot in self.problem.slots]
        for row in self._rng.integers(0, counts, (200, len(counts))):
            levels = self.problem.canonical(tuple(map(int, row)))
            if levels not in self._taken:
                self._taken.add(levels)
                return levels
        if np.prod([float(count) for count in counts]) <= _ENUMERATED:
            for index in np.ndindex(*counts):
                levels = self.problem.canonical(index)
                if levels not in self._taken:
                    self._taken.add(levels)
                    return levels
        return None
