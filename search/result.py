"""Result: the front of a run as it stands, and the dict that becomes front.json (its version:
formats.FRONT_SCHEMA_VERSION).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from ..results.evaluation import AnyLatency, Evaluation, Failure, Predicted
from ..results.formats import FRONT_SCHEMA_VERSION
from ..results.front import drop_scale, hypervolume, non_dominated
from ..results.limits import Constraints, Limits
from ..results.records import overlap
from ..tasks.task import Metric
from .finalists import Finalist, look_key, looks_on
from .screen import excesses_of
from .target_points import join_targets

Vector = tuple[float, float, float]
NEAREST_MISSES = 5
MaybeLatency = TypeVar("MaybeLatency", AnyLatency, AnyLatency | None)


@dataclass(kw_only=True)
class Result:
    """Measured candidates in order of their trials, the first one the original. `known` are the finalists by
    `look_key`.

    With several targets `target` is the primary one, and `further` has the limits on the others. Then a
    candidate counts with its worst numbers of all targets, limits hold on each, and `of` is the result of one
    target alone.
    """

    metric: Metric
    constraints: Constraints
    uniform_digest: str
    evaluations: list[Evaluation]
    known: Mapping[str, Finalist] = field(default_factory=dict)
    target: str = ""
    further: Mapping[str, Constraints] = field(default_factory=dict)
    _history: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def drop_scale(self) -> float:
        """The drop that ends the objective space, in the metric's unit."""
        return drop_scale(self.metric.unit, self.baseline.validation)

    @cached_property
    def limits(self) -> Limits:
        """The user's limits in the metric's unit, seconds and bytes."""
        return self.constraints.limits(self.baseline.validation)

    def of(self, target: str) -> "Result":
        """The result as a search for this target alone would have it; candidates without a latency there are
        left out.
        """
        name = None if target == self.target else target
        seen = (evaluation.on(name) for evaluation in self.evaluations)
        return Result(
            metric=self.metric,
            constraints=self.constraints if name is None else self.further[name],
            uniform_digest=self.uniform_digest,
            evaluations=[evaluation for evaluation in seen if evaluation is not None],
            known=looks_on(self.known, name),
            target=target,
        )

    @property
    def present(self) -> list[str]:
        """The further targets on which the original was measured. The others are away still: they ask nothing
        of a candidate.
        """
        return [name for name in self.further if self.evaluations and self.baseline.on(name) is not None]

    def complete(self, evaluation: Evaluation) -> bool:
        """Whether the candidate is missing on no target but those that are away still."""
        return not set(evaluation.missing) & set(self.present)

    def measured_later(self) -> None:
        """To be called when evaluations were replaced: the history is computed anew."""
        self._history.clear()

    def by_target(self) -> dict[str, "Result"]:
        """The result of each target alone that is not away still, the primary one first; with one target,
        this one.
        """
        return (
            {target: self.of(target) for target in (self.target, *self.present)}
            if self.further
            else {self.target: self}
        )

    def vector(self, evaluation: Evaluation) -> Vector:
        """(normalized drop, size ratio, latency ratio), all minimized; the worst of the targets that measured
        it.
        """
        drops, sizes, ratios = [], [], []
        for target in (None, *self.further):
            seen, original = evaluation.on(target), self.baseline.on(target)
            if seen is not None and original is not None:
                drops.append(seen.drop / self.drop_scale)
                sizes.append(seen.artifact.size_bytes / original.artifact.size_bytes)
                ratios.append(seen.latency.ratio)
        return max(drops), max(sizes), max(ratios)

    def sampler_constraints(self, evaluation: Evaluation) -> dict[str, float]:
        """What Optuna is told, above 0 is broken: the user's limits, and a drop inside the objective space.

        The latter keeps samplers away from models that are tiny and useless, which nothing dominates.
        """
        worth = max(self.drop_scale, self.limits.drop or 0.0)
        drop = self.vector(evaluation)[0] * self.drop_scale
        return {**self.relative_excesses(evaluation), "worth": (drop - worth) / self.drop_scale}

    @property
    def baseline(self) -> Evaluation:
        """The original model (trial 0)."""
        return self.evaluations[0]

    @property
    def uniform_int8(self) -> Evaluation | None:
        """Uniform int8, when it was measured."""
        found = (item for item in self.evaluations if item.recipe.digest == self.uniform_digest)
        return next(found, None)

    def latest(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with the finalist's longer measurements where there are any."""
        further = {
            name: replace(seen, latency=self._latest(seen.latency, look_key(seen.artifact.digest, name)))
            for name, seen in evaluation.further.items()
            if name in self.further
        }
        latency = self._latest(evaluation.latency, evaluation.artifact.digest)
        return (
            evaluation
            if latency is evaluation.latency and not further
            else replace(evaluation, latency=latency, further=further)
        )

    def _latest(self, latency: MaybeLatency, key: str) -> MaybeLatency:
        """The finalist's latency of this key; a missing latency stays missing."""
        finalist = self.known.get(key)
        return (
            latency if latency is None or finalist is None or finalist.latency is None else finalist.latency
        )

    def excesses(self, evaluation: Evaluation) -> dict[str, float]:
        """By limit, value - limit on the target where it is worst; positive means broken."""
        return {name: worst[1] for name, worst in self._worst_excesses(evaluation).items()}

    def relative_excesses(self, evaluation: Evaluation) -> dict[str, float]:
        """The same on one scale, for whoever adds them up; see Limits.relative."""
        return {name: worst[0] for name, worst in self._worst_excesses(evaluation).items()}

    def _worst_excesses(self, evaluation: Evaluation) -> dict[str, tuple[float, float]]:
        """By limit, (relative, own unit) on the target where it is worst."""
        latest, found = self.latest(evaluation), dict[str, tuple[float, float]]()
        for target in (None, *self.further):
            limits = self.limits if target is None else self.further[target].limits(self.baseline.validation)
            if (seen := latest.on(target)) is not None:
                own = excesses_of(seen, limits)
                relative = limits.relative(own, drop_unit=self.drop_scale)
                found |= {
                    name: max(found.get(name, (-math.inf, 0.0)), (relative[name], own[name])) for name in own
                }
        return found

    def affordable(self, evaluation: Evaluation) -> bool:
        """Whether the candidate breaks no limit but that of the drop, which training may mend."""
        return all(excess <= 0 for name, excess in self.excesses(evaluation).items() if name != "drop")

    def feasible(self) -> list[Evaluation]:
        """The candidates that break no limit and are complete, with their latest measurements."""
        whole = (evaluation for evaluation in self.evaluations if self.complete(evaluation))
        return [self.latest(e) for e in whole if all(x <= 0 for x in self.excesses(e).values())]

    def front(self) -> list[Evaluation]:
        """The feasible candidates that no feasible one dominates, the fastest first."""
        return sorted(non_dominated(self.feasible(), self.vector), key=lambda item: item.latency.ratio)

    def fronts(self) -> dict[str, list[Evaluation]]:
        """With several targets, the front of each alone, as evaluations on that target; empty with one."""
        return {target: alone.front() for target, alone in self.by_target().items()} if self.further else {}

    def of_one_target(self) -> list[Evaluation]:
        """The candidates on the front of a single target that are not on that of all together."""
        trials = {seen.trial for front in self.fronts().values() for seen in front} - {
            e.trial for e in self.front()
        }
        return [evaluation for evaluation in self.evaluations if evaluation.trial in trials]

    def nearest_misses(self) -> list[Evaluation]:
        """Infeasible candidates, those that break the limits least first, in units of the objective space."""
        relative = {
            e.trial: sum(x for x in self.relative_excesses(e).values() if x > 0) for e in self.evaluations
        }
        missed = [e for e in self.evaluations if relative[e.trial] > 0]
        return sorted(missed, key=lambda item: relative[item.trial])[:NEAREST_MISSES]

    def history(self) -> list[dict[str, Any]]:
        """The hypervolume of all measured candidates after each trial; computed once per trial."""
        for index in range(len(self._history), len(self.evaluations)):
            seen = self.evaluations[: index + 1]
            value = hypervolume(self.vector(item) for item in seen if self.complete(item))
            last = seen[-1]
            self._history.append({"elapsed_s": last.elapsed_s, "trial": last.trial, "hypervolume": value})
        return self._history

    def hypervolume(self) -> float:
        """The normalized hypervolume of all measured candidates."""
        return self.history()[-1]["hypervolume"] if self.evaluations else 0.0

    def points(self) -> dict[str, Any]:
        """The entries of front.json that hold points: baseline, uniform_int8, front, dominated,
        nearest_misses, history.

        With several targets also `fronts`, the trials on the front of each, and in every point `targets`.
        """
        front, made = self.front(), self.points_by_trial()
        on_front = {item.trial for item in front}
        fronts = join_targets(self, made)
        uniform = self.uniform_int8
        misses = [] if front else self.nearest_misses()
        return {
            "baseline": made[self.baseline.trial],
            "uniform_int8": None if uniform is None else made[uniform.trial],
            "front": [made[item.trial] for item in front],
            "dominated": [made[item.trial] for item in self.evaluations if item.trial not in on_front],
            "nearest_misses": [
                {"trial": item.trial, "violations": made[item.trial]["violations"]} for item in misses
            ],
            "history": self.history(),
            **({"fronts": fronts} if fronts else {}),
        }

    def points_by_trial(self) -> dict[int, dict[str, Any]]:
        """The points of all measured candidates, as they are on the primary target, by trial."""
        same = indistinguishable([self.latest(item) for item in self.evaluations])
        return {item.trial: self._point(item, same[item.trial]) for item in self.evaluations}

    def _point(self, evaluation: Evaluation, same: Sequence[int]) -> dict[str, Any]:
        finalist = self.known.get(evaluation.artifact.digest)
        violations = {name: excess for name, excess in self.excesses(evaluation).items() if excess > 0}
        return {
            "trial": evaluation.trial,
            "recipe": evaluation.recipe.to_json(),
            "artifact": asdict(evaluation.artifact),
            "quality": {
                "validation": evaluation.validation,
                "interval": evaluation.validation_interval,
                "test": finalist.test if finalist else None,
                "test_interval": finalist.test_interval if finalist else None,
            },
            "drop": evaluation.drop,
            "latency": self.latest(evaluation).latency.to_json(),
            "feasible": not violations and self.complete(evaluation),
            "violations": violations,
            "indistinguishable_from": list(same),
            "finalist": finalist is not None,
            "layers": self._layers(evaluation),
            "other_time_s": finalist.times.other_s if finalist and finalist.times else None,
            "warnings": evaluation.warnings + self._not_faster(evaluation),
            "seconds": dict(evaluation.seconds),
        }

    def _layers(self, evaluation: Evaluation) -> list[dict[str, Any]]:
        """The rows of its layers with the profiler's time and that of the original, None where it was not
        profiled.
        """
        times, original = self._times(evaluation), self._times(self.baseline)
        return [
            {**row, "time_s": times.get(row["name"]), "time_original_s": original.get(row["name"])}
            for row in evaluation.layers
        ]

    def _times(self, evaluation: Evaluation) -> Mapping[str, float]:
        finalist = self.known.get(evaluation.artifact.digest)
        return finalist.times.layers if finalist and finalist.times else {}

    def _not_faster(self, evaluation: Evaluation) -> list[str]:
        """A warning when the candidate computes less than a reference of the same precision, but is not
        clearly faster.

        The reference is uniform int8 for one in which nothing that could be int8 is left in float32, else the
        original.
        """
        reference, name = self.baseline, "the original"
        uniform = self.uniform_int8
        if uniform is not None and evaluation.recipe.precision:
            present = {row["name"] for row in evaluation.layers if row["channels_out"]}
            if present & uniform.recipe.precision.keys() <= evaluation.recipe.precision.keys():
                reference, name = uniform, "uniform int8"
        less = evaluation.artifact.macs < reference.artifact.macs
        own, other = self.latest(evaluation).latency, self.latest(reference).latency
        if isinstance(own, Predicted) or isinstance(other, Predicted):
            return (
                [f"smaller, but not predicted to be faster than {name}"]
                if less and own.ratio >= other.ratio
                else []
            )
        return (
            [f"smaller, but not faster than {name}"]
            if less and own.ratio_interval[1] >= other.ratio_interval[0]
            else []
        )


def indistinguishable(evaluations: Sequence[Evaluation]) -> dict[int, list[int]]:
    """By trial, the other trials whose latency interval overlaps its own."""
    return {
        one.trial: [
            other.trial
            for other in evaluations
            if other.trial != one.trial and overlap(one.latency, other.latency)
        ]
        for one in evaluations
    }


def run_json(
    result: Result,
    facts: Mapping[str, Any],
    *,
    failures: Sequence[Failure],
    screened: int,
    status: str,
    elapsed_s: float,
) -> dict[str, Any]:
    """The dict of front.json. `facts` are what does not change in a run: task, target, environment, command,
    layers …
    """
    return {
        "schema_version": FRONT_SCHEMA_VERSION,
        **facts,
        "status": status,
        "elapsed_s": elapsed_s,
        "trials": {"finished": len(result.evaluations), "failed": len(failures), "screened": screened},
        **result.points(),
        "failures": [failure.to_json() for failure in failures],
    }
