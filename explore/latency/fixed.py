"""FixedLatencies: what `search --deterministic` goes by while it chooses candidates. Nothing in it was
measured.

A target with a data sheet has its roofline's ratios. Any other has the shares of the original's latency that
a device starts with (model.py) before anything was measured on it. Both rank candidates less well than
measurements do; points keep their measured latencies, and the front is made of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...compress.graph.network import Network
from ...compress.recipe import Recipe
from ...profiles import PredictedLatency, Profile
from ...profiles.latency_table import LatencyTable
from ...results.records.latency import Predicted
from ...results.records.point import Measured, Outcome, Point
from ...results.records.run import Run
from ..space.space import SearchSpace
from .model import LatencyPredictor
from .predict import RooflineModel, learned_from
from .roofline import Roofline

SOURCE = "ratio to the original, by layers alone"
_LEAST = 0.01  # of a ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLatencies:
    """Latency ratios of all recipes of a space, by target."""

    predictors: Mapping[str, LatencyPredictor]
    _ratios: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, profiles: Sequence[Profile], network: Network, space: SearchSpace, *, batch: int
    ) -> "FixedLatencies":
        """The ratios of the targets with these profiles."""
        return cls(
            predictors={
                profile.name: _predictor(profile, network.stored_as(profile.int8_weights), space, batch=batch)
                for profile in profiles
            }
        )

    def predictor(self, target: str) -> LatencyPredictor:
        """The predictor of a target."""
        return self.predictors[target]

    def judged(self, run: Run) -> Run:
        """The run with these ratios in place of its latencies.

        It has no limits on the latency: they are in seconds, which nobody knows without a clock.
        """
        targets = tuple(
            replace(target, constraints=replace(target.constraints, max_latency_s=None))
            for target in run.facts.targets
        )
        points = tuple(self._point(point) for point in run.points)
        return replace(run, facts=replace(run.facts, targets=targets), points=points)

    def _point(self, point: Point) -> Point:
        outcomes: dict[str, Outcome] = dict(point.outcomes)
        for name, measured in point.measured.items():
            outcomes[name] = self._outcome(measured, name, point.recipe)
        return replace(point, outcomes=outcomes)

    def _outcome(self, measured: Measured, target: str, recipe: Recipe) -> Measured:
        key = target, recipe.digest
        if key not in self._ratios:
            ratio, whole = (self.predictors[target].ratio(each) for each in (recipe, Recipe()))
            self._ratios[key] = max(_LEAST, ratio / whole)
        ratio = self._ratios[key]
        latency = PredictedLatency(seconds=ratio, source=SOURCE)
        return replace(measured, latency=Predicted(latency=latency, ratio=ratio))


def _predictor(profile: Profile, network: Network, space: SearchSpace, *, batch: int) -> LatencyPredictor:
    if profile.datasheet is None:
        return LatencyPredictor(network, space, LatencyTable(), batch=batch)
    roofline = Roofline(network=network, sheet=profile.datasheet, batch=batch)
    model = RooflineModel(roofline=roofline, name=profile.name)
    return learned_from(model, network, space, batch=batch, time_left=lambda: math.inf)
