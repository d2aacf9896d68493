"""FrontTables: what a `front` search knows of levels and latencies, kept true by what is measured, and the
sampler that reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from optuna.trial import FixedTrial

from ...compress.recipe import Recipe
from ...errors import StageError, TargetUnavailable
from ...results.records.latency import Latency
from ...results.records.point import Point
from ...results.records.progress import SearchFacts, SlotSensitivity, TableError
from ...results.records.run import Run
from ...results.run_directory import RunDirectory
from ..latency.model import LatencyPredictor, problem_of
from ..sampling.losses import LossTable
from ..sampling.proposals import Proposer
from ..sampling.sampler import FrontSampler
from ..space.islands import Islands
from ..space.problem import LevelProblem, Levels
from ..space.runtime_choice import Expected, RuntimeChoice
from ..space.seeds import of_several_bits
from ..space.space import RECOVER, RESOLUTION, SAME_FUNCTION, SearchSpace
from .pool import Pool
from .promotion import Vector

Losses = Mapping[str, list[float]]


class Scorer(Protocol):
    """What the tables need of a Probe."""

    def kl(self, recipe: Recipe) -> float:
        """The divergence of the recipe's stitched model in nats. Raises StageError."""
        ...


class PredictorOpener(Protocol):
    """Opens the latency table of a target that was away when the others were opened."""

    def __call__(self, target: str) -> LatencyPredictor:
        """The predictor of this target. TargetUnavailable when it is away again."""
        ...


@dataclass(slots=True, kw_only=True)
class FrontTables:
    """The loss of every level, the latency table of every target, and the proposals made from them.

    `levels` are indices over the problem's slots; their recipes have no recovery. `losses` are the KL of
    every level, by trial parameter; `measured` tells which of them are no estimates. `predictors` are by
    target.
    Without `probing` the loss that the table expects stands for a candidate's KL. With `runtimes` the targets
    are alternatives, whose sizes and latencies are multiplied by `scales`.
    """

    space: SearchSpace
    scorer: Scorer
    predictors: dict[str, LatencyPredictor]
    open_predictor: PredictorOpener
    losses: Losses
    measured: Mapping[str, list[bool]]
    original_bytes: dict[str, int]
    proposer: Proposer
    sampler: FrontSampler
    pool: Pool
    probing: bool = True
    runtimes: RuntimeChoice | None = None
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        *,
        scorer: Scorer,
        predictors: Mapping[str, LatencyPredictor],
        open_predictor: PredictorOpener,
        losses: Losses,
        measured: Mapping[str, list[bool]],
        run: Run,
        directory: RunDirectory,
        seed: int,
        switches: bool = True,
        probing: bool = True,
        replayed: bool = False,
        runtimes: RuntimeChoice | None = None,
    ) -> "FrontTables":
        """The tables of a search whose original was measured. There is at least one predictor.

        `replayed`: what earlier sessions did is gone through again (../replay.py).
        """
        original_bytes = {name: _original_bytes(run, name) for name in predictors}
        scales = {} if runtimes is None else {name: scales_of(run, name) for name in predictors}
        problem = _problem(predictors, original_bytes, scales, runtimes)
        table = LossTable(problem, losses)
        islands = Islands.of(problem, space.precisions)
        proposer = Proposer(
            problem, table, limits=corner_of(run), seed=seed, switches=switches, islands=islands
        )
        pool = Pool.open(directory, problem, replayed=replayed)
        for levels, kl in pool.kls.items():
            proposer.observe(levels, loss=kl)
        tables = cls(
            space=space,
            scorer=scorer,
            predictors=dict(predictors),
            open_predictor=open_predictor,
            losses=losses,
            measured=measured,
            original_bytes=original_bytes,
            proposer=proposer,
            sampler=FrontSampler(lambda: proposer, seed=seed),
            pool=pool,
            probing=probing,
            runtimes=runtimes,
            scales=scales,
        )
        if runtimes is not None:
            runtimes.expected = tables.expected
        tried = {point.recipe.digest for point in run.points}
        pool.promoted.update(levels for levels in pool.kls if tables.recipe(levels).digest in tried)
        return tables

    def recipe(self, levels: Levels) -> Recipe:
        """The recipe of these levels."""
        parameters = self.pool.problem.parameters(levels)
        return self.space.suggest(FixedTrial({**parameters, RECOVER: 0}))

    def kl(self, recipe: Recipe) -> float | None:
        """The KL of a recipe that did not come from the sampler; None where it cannot be told."""
        try:
            return self.scorer.kl(recipe)
        except StageError:
            return None

    def probe(self, levels: Levels, *, kl: float | None = None) -> float:
        """The KL of a candidate, which the pool and the proposer take note of; it is computed unless it is
        given. Raises StageError.
        """
        if not self.probing:
            expected = self.proposer.losses.loss(levels)
            self.pool.add(levels, expected)
            return expected
        if kl is None:
            kl = self.pool.known.get(levels)
        if kl is None:
            kl = self.scorer.kl(self.recipe(levels))
        self.pool.add(levels, kl)
        self.proposer.observe(levels, loss=kl)
        return kl

    def islands(self) -> list[Levels]:
        """The fastest runs of integer layers, by the latency tables, of weights in several bits."""
        problem = self.proposer.problem
        recipes = [self.space.with_free_levels(recipe) for recipe in of_several_bits(self.space)]
        bases = [problem.levels_of(self.space.parameters(recipe)) for recipe in recipes]
        return self.proposer.fastest_islands([problem.canonical(base) for base in bases])

    def kl_of_tried(self, recipe: Recipe) -> float | None:
        """The KL of a recipe that was measured before there were tables, which the pool and the proposer take
        note of; None where it cannot be told.
        """
        problem = self.proposer.problem
        levels = problem.canonical(problem.levels_of(self.space.parameters(recipe)))
        try:
            kl = self.pool.kls[levels] if levels in self.pool.kls else self.probe(levels)
        except StageError:
            return None
        self.pool.promoted.add(levels)
        return kl

    def guess(self, levels: Levels) -> None:
        """Takes note of a candidate that cannot be stitched: what the table expects stands for its KL."""
        self.pool.guessed[levels] = self.proposer.losses.loss(levels)
        self.proposer.observe(levels)

    def vectors(self, candidates: Sequence[tuple[Levels, float]]) -> list[Vector]:
        """The expected vectors of candidates of the pool, given their KL, on their worst target.

        All at once, since hundreds may wait.
        """
        if not candidates:
            return []
        levels, kls = zip(*candidates, strict=True)
        vectors = self.proposer.vectors(np.array(levels), np.array(kls))
        return [(drop, size, latency) for drop, size, latency in vectors.tolist()]

    def expected(self, recipe: Recipe) -> dict[str, Expected]:
        """What is expected of a recipe on each target that is an alternative."""
        recipe = replace(recipe, recovery=None)
        levels = self.proposer.problem.levels_of(self.space.parameters(recipe))
        problem, by_target = self.proposer.problem, {}
        sizes, latencies = problem.sizes(levels), problem.latencies(levels)
        pairs = zip(sizes.tolist(), latencies.tolist(), strict=True)
        for (name, predictor), (size, latency) in zip(self.predictors.items(), pairs, strict=True):
            ratios, deviations = predictor.ratio_and_deviation([recipe])
            deviation = float(deviations[0]) / max(float(ratios[0]), 0.02)
            by_target[name] = Expected(size=size, latency=latency, deviation=deviation)
        return by_target

    def forget(self, recipe: Recipe) -> None:
        """A candidate that failed at r1 says nothing of its neighbours."""
        problem = self.proposer.problem
        self.proposer.forget(problem.levels_of(self.space.parameters(recipe)))

    def limit(self, run: Run) -> None:
        """Keeps proposals inside the limits as they are now, on all targets that measure now.

        A board that came back brings its limits and its latencies.
        """
        for target in run.target_names:
            if target not in self.predictors:
                self._join(run, target)
        if self.scales:
            self.scales = {target: scales_of(run, target) for target in self.predictors}
        self.proposer.limit(corner_of(run))

    def learn(self, point: Point) -> None:
        """Corrects the latency tables by a measured candidate; a predicted latency has nothing to teach."""
        learned = [self._learn_on(target, point) for target in self.predictors]
        if any(learned):
            self._update_problem()

    def facts(self) -> SearchFacts:
        """Estimated losses of every level, and how well the latencies on each target were predicted."""
        labels = level_labels(self.space)
        sensitivity = {
            name: SlotSensitivity(
                losses=tuple(losses), labels=tuple(labels[name]), measured=tuple(self.measured[name])
            )
            for name, losses in self.losses.items()
            if name not in SAME_FUNCTION
        }
        tables = {}
        for target, predictor in self.predictors.items():
            error = predictor.error
            tables[target] = TableError(
                count=error.count, kendall_tau=error.kendall_tau, median_error=error.median
            )
        return SearchFacts(sensitivity=sensitivity, latency_tables=tables)

    def _learn_on(self, target: str, point: Point) -> bool:
        """Whether the point was measured on this target, so that its table has learned from it."""
        outcome = point.measured.get(target)
        if outcome is None or not isinstance(outcome.latency, Latency):
            return False
        latency = outcome.latency
        reference_s = latency.latency_s / latency.ratio
        self.predictors[target].learn(
            point.recipe, latency.ratio, latency.half_width, reference_s=reference_s
        )
        return True

    def _join(self, run: Run, target: str) -> None:
        """Takes up a target; one that is away again is left for later."""
        try:
            self.predictors[target] = self.open_predictor(target)
        except TargetUnavailable:
            return
        self.original_bytes[target] = _original_bytes(run, target)
        for point in run.points:
            self._learn_on(target, point)
        self._update_problem()

    def _update_problem(self) -> None:
        self.proposer.update_problem(
            _problem(self.predictors, self.original_bytes, self.scales, self.runtimes)
        )


def corner_of(run: Run) -> Vector:
    """The user's limits as the corner of the objective space that counts, at most 1 in each direction.

    A vector is (normalized drop, size, latency ratio). Of several targets the tightest limits count, since a
    candidate counts with its worst numbers; of alternatives the loosest.
    """
    corners = []
    for target, limits in run.limits.items():
        original = run.baseline.measured[run.device.baseline if run.device else target]
        drop = 1.0 if limits.drop is None else limits.drop / run.drop_scale
        size = 1.0 if limits.size_bytes is None else limits.size_bytes / original.artifact.size_bytes
        latency = 1.0 if limits.latency_s is None else limits.latency_s / original.latency.seconds
        corners.append((drop, size, latency))
    drop, size, latency = (max(axis) if run.device else min(axis) for axis in zip(*corners, strict=True))
    return min(1.0, drop), min(1.0, size), min(1.0, latency)


def scales_of(run: Run, target: str) -> tuple[float, float]:
    """What sizes and latencies on an alternative, relative to its own original's, are multiplied with."""
    own = run.baseline.measured[target]
    return run.size_ratio(own, target), run.scale(target).ratio


def _problem(
    predictors: Mapping[str, LatencyPredictor],
    original_bytes: Mapping[str, int],
    scales: Mapping[str, tuple[float, float]],
    runtimes: RuntimeChoice | None,
) -> LevelProblem:
    """The problem with the costs as they are known now, of all targets or of alternatives."""
    ordered, sizes = [*predictors.values()], [original_bytes[name] for name in predictors]
    if runtimes is None:
        return problem_of(ordered, original_bytes=sizes)
    problem = problem_of(ordered, original_bytes=sizes, scales=[scales[name] for name in predictors])
    return runtimes.spaces.with_refusals(problem, [*predictors])


def _original_bytes(run: Run, target: str) -> int:
    return run.baseline.measured[target].artifact.size_bytes


def level_labels(space: SearchSpace) -> dict[str, list[str]]:
    """By trial parameter, what each level is called: `16`, `int4`, `24` (a rank), `removed`, `168 × 168`."""
    labels = {f"skip/{name}": ["kept", "removed"] for name in space.blocks}
    labels |= {f"keep/{group.name}": [*map(str, group.levels)] for group in space.groups}
    labels |= {f"precision/{name}": list(choices) for name, choices in space.precisions.items()}
    if space.resolutions:
        labels[RESOLUTION] = ["whole", *(f"{height} × {width}" for height, width in space.resolutions)]
    return labels | {f"rank/{name}": [*map(str, ranks), "whole"] for name, ranks in space.ranks.items()}
