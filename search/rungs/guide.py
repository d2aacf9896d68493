"""Guide: the tables of a `front` search and the sampler that reads them, kept true by what is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from optuna.trial import FixedTrial

from ...compress.graph.network import Network
from ...compress.recipe import Recipe
from ...errors import StageError
from ...results.evaluation import Evaluation, Predicted
from ...results.run_directory import RunDirectory
from ..latency.model import LatencyPredictor, problem_of
from ..result import Result
from ..sampling.losses import LossTable
from ..sampling.proposals import Proposer
from ..sampling.sampler import FrontSampler
from ..space.problem import Levels
from ..space.space import DEFAULT_RECOVERY, RECOVER, SearchSpace
from .pool import Pool
from .promotion import RecoveryCurve, Vector

Losses = Mapping[str, list[float]]


class Scorer(Protocol):
    """What a guide needs of a Probe."""

    def kl(self, recipe: Recipe) -> float:
        """The divergence of the recipe's stitched model in nats. Raises StageError."""
        ...


@dataclass(slots=True, kw_only=True)
class Guide:
    """What a search knows of its space. `levels` are indices over the problem's slots; their recipes have no
    recovery.

    `losses` are the KL of every level, by trial parameter; `measured` tells which of them are no estimates.
    """

    space: SearchSpace
    network: Network
    scorer: Scorer
    predictor: LatencyPredictor
    losses: Losses
    measured: Mapping[str, list[bool]]
    original_bytes: int
    proposer: Proposer
    sampler: FrontSampler
    pool: Pool

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        network: Network,
        *,
        scorer: Scorer,
        predictor: LatencyPredictor,
        losses: Losses,
        measured: Mapping[str, list[bool]],
        result: Result,
        directory: RunDirectory,
        seed: int,
    ) -> "Guide":
        """The guide of a search whose original was measured and whose tables are made."""
        original_bytes = result.baseline.artifact.size_bytes
        problem = problem_of(space, network, predictor, original_bytes=original_bytes)
        proposer = Proposer(problem, LossTable(problem, losses), limits=_box(result, space), seed=seed)
        pool = Pool.open(directory, problem)
        for levels, kl in pool.found.items():
            proposer.observe(levels, loss=kl)
        tried = {item.recipe.digest for item in result.evaluations}
        guide = cls(
            space=space,
            network=network,
            scorer=scorer,
            predictor=predictor,
            losses=losses,
            measured=measured,
            original_bytes=original_bytes,
            proposer=proposer,
            sampler=FrontSampler(lambda: proposer, seed=seed),
            pool=pool,
        )
        pool.promoted.update(levels for levels in pool.found if guide.recipe(levels).digest in tried)
        return guide

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

    def probe(self, levels: Levels) -> float:
        """The KL of a candidate, which the pool and the proposer take note of. Raises StageError."""
        kl = self.scorer.kl(self.recipe(levels))
        self.pool.add(levels, kl)
        self.proposer.observe(levels, loss=kl)
        return kl

    def guess(self, levels: Levels) -> None:
        """Takes note of a candidate that cannot be stitched: what the table expects of it stands for its KL."""
        self.pool.guessed[levels] = self.proposer.losses.loss(levels)
        self.proposer.observe(levels)

    def vectors(self, candidates: Sequence[tuple[Levels, float]]) -> list[Vector]:
        """The expected vectors of candidates of the pool, given their KL; all at once, since hundreds may
        wait.
        """
        if not candidates:
            return []
        levels, kls = zip(*candidates, strict=True)
        return [
            (drop, size, latency)
            for drop, size, latency in self.proposer.vectors(np.array(levels), np.array(kls)).tolist()
        ]

    def forget(self, recipe: Recipe) -> None:
        """A candidate that failed at r1 says nothing of its neighbours."""
        problem = self.proposer.problem
        self.proposer.forget(problem.levels_of(self.space.parameters(recipe)))

    def limit(self, result: Result) -> None:
        """Keeps proposals inside the limits as they are now: a board that came back brings its own."""
        self.proposer.limit(_box(result, self.space))

    def learn(self, evaluation: Evaluation) -> None:
        """Corrects the latency table by a measured candidate; a predicted one has nothing to teach."""
        latency = evaluation.latency
        if isinstance(latency, Predicted):
            return
        low, high = latency.ratio_interval
        reference_s = latency.latency_s / latency.ratio
        self.predictor.learn(
            evaluation.recipe, latency.ratio, (high - low) / (high + low), reference_s=reference_s
        )
        problem = problem_of(self.space, self.network, self.predictor, original_bytes=self.original_bytes)
        self.proposer.update_problem(problem)

    def facts(self) -> dict[str, Any]:
        """The entries of front.json: estimated losses of every level, and how well latencies were predicted."""
        error = self.predictor.error
        return {
            "sensitivity": {
                "losses": dict(self.losses),
                "measured": dict(self.measured),
                "labels": level_labels(self.space),
            },
            "latency_table": {
                "count": error.count,
                "kendall_tau": error.kendall_tau,
                "median_error": error.median,
            },
        }


def limits_of(result: Result) -> tuple[float, float, float]:
    """The user's limits as the corner of the objective space that counts, at most 1: (normalized drop, size,
    latency ratio).

    Of several targets the tightest limits count, since a candidate counts with its worst numbers.
    """
    drops, sizes, latencies = zip(*(_limits_of(alone) for alone in result.by_target().values()), strict=True)
    return min(1.0, *drops), min(1.0, *sizes), min(1.0, *latencies)


def _box(result: Result, space: SearchSpace) -> tuple[float, float, float]:
    """The corner of what is worth a look: beyond the limit of the drop what a recovery can mend."""
    drop, size, latency = limits_of(result)
    return (
        min(1.0, RecoveryCurve().before(drop, DEFAULT_RECOVERY.steps)) if space.recovery else drop,
        size,
        latency,
    )


def _limits_of(result: Result) -> tuple[float, float, float]:
    limits, baseline = result.limits, result.baseline
    drop = 1.0 if limits.drop is None else limits.drop / result.drop_scale
    size = 1.0 if limits.size_bytes is None else limits.size_bytes / baseline.artifact.size_bytes
    latency = 1.0 if limits.latency_s is None else limits.latency_s / baseline.latency.seconds
    return drop, size, latency


def level_labels(space: SearchSpace) -> dict[str, list[str]]:
    """By trial parameter, what each level is called: `16`, `int4`, `24` (a rank), `removed`."""
    labels = {f"skip/{name}": ["kept", "removed"] for name in space.blocks}
    labels |= {f"keep/{group.name}": [str(level) for level in group.levels] for group in space.groups}
    labels |= {f"precision/{name}": list(found) for name, found in space.precisions.items()}
    return labels | {f"rank/{name}": [*map(str, found), "whole"] for name, found in space.ranks.items()}
