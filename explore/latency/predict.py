"""What the latency of a target that cannot be used is predicted from: its calibrated table, or else its data
sheet's roofline.

A table predicts only the model that it was calibrated with (`targets calibrate T TASK`, or a search on the
target, with the same task): then the original's latency is known in seconds. Of several devices of a profile
the one measured last counts.

The `front` sampler wants costs that add up: `predictor_of` gives it a latency table in memory that was
learned from predictions (`PredictedCandidates` instead of measurements). It never reaches the tables of
devices.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...compress.graph.network import Network
from ...compress.recipe import Recipe
from ...errors import TargetUnavailable
from ...evaluation.predicted import LatencyModel, PredictedTarget, predicted_environment, stand_in
from ...evaluation.targets import FoundTarget
from ...profiles import Environment, Profile
from ...profiles.latency_table import LatencyTable
from ...profiles.regression import PredictionError
from ..space.space import SearchSpace
from .calibrate import calibrate, latency_folder
from .model import LatencyPredictor
from .roofline import Roofline

FEWEST = 10  # measurements of a table that predicts
LEARNED = 80  # predictions of a roofline that the sampler's table learns from
JUDGED = 20  # the newest measurements of a table tell its error


@dataclass(frozen=True, kw_only=True)
class RooflineModel:
    """A roofline of a profile's data sheet. How far off it is nobody knows."""

    roofline: Roofline
    name: str

    @property
    def source(self) -> str:
        """In words."""
        return f"roofline of the data sheet of '{self.name}', a lower bound: {self.roofline.sheet.source}"

    @property
    def identity(self) -> Any:
        """See LatencyModel."""
        return ["roofline", asdict(self.roofline.sheet)]

    @property
    def error(self) -> None:
        """Not known."""

    def seconds(self, recipe: Recipe) -> float:
        """See LatencyModel."""
        return self.roofline.seconds(recipe)


@dataclass(frozen=True, kw_only=True)
class TableModel:
    """The latency table of a device that was calibrated with this model."""

    predictor: LatencyPredictor
    reference_s: float

    @property
    def source(self) -> str:
        """In words."""
        environment = Environment.from_json(self.predictor.table.device["environment"])
        where = environment.device or environment.cpu_model
        off = "" if self.error is None else f", off by {100 * self.error:.1f} % (median)"
        return f"latency table of {self.predictor.count} measurements on {where}{off}"

    @property
    def identity(self) -> Any:
        """See LatencyModel: the measurements, and what was learned from those of other models."""
        table, structure = self.predictor.table, self.predictor.structure
        coefficients = table.coefficients(structure) or {}
        of_others = {name: asdict(coefficient) for name, coefficient in coefficients.items()}
        observations = [asdict(observation) for observation in table.observations(structure)]
        return ["table", dict(table.device), observations, of_others]

    @cached_property
    def error(self) -> float | None:
        """The median relative error of the newest measurements, each predicted from those before it."""
        predictor, pairs = self.predictor, []
        replayed = LatencyPredictor(predictor.network, predictor.space, LatencyTable(), batch=predictor.batch)
        observations = predictor.table.observations(predictor.structure)
        for number, observation in enumerate(observations):
            try:
                recipe = Recipe.from_json(observation.candidate)
                predicted = replayed.ratio(recipe)
            except (ValueError, KeyError, TypeError, AttributeError):  # of a profile with other levels
                continue
            if number >= max(FEWEST, len(observations) - JUDGED):
                pairs.append((predicted, observation.ratio))
            replayed.learn(recipe, observation.ratio, observation.half_width)
        return PredictionError.of(*zip(*pairs, strict=True)).median if pairs else None

    def seconds(self, recipe: Recipe) -> float:
        """See LatencyModel."""
        recipe = replace(recipe, recovery=None)
        if recipe == Recipe():
            return self.reference_s
        return self.predictor.predict(recipe, self.reference_s).seconds


def model_of(
    profile: Profile, network: Network, space: SearchSpace, *, batch: int, folder: Path | None = None
) -> LatencyModel | None:
    """What predicts latencies on this target; None where there is neither a table of this model nor a data
    sheet.
    """
    tables = LatencyTable.of_profile(folder or latency_folder(), profile_fingerprint=profile.fingerprint)
    newest: tuple[float, TableModel] | None = None
    for table in tables:
        predictor = LatencyPredictor(network, space, table.copy(), batch=batch)
        reference_s = predictor.reference_s
        if predictor.count < FEWEST or reference_s is None:
            continue
        at = table.observations(predictor.structure)[-1].at
        if newest is None or at > newest[0]:
            newest = at, TableModel(predictor=predictor, reference_s=reference_s)
    if newest is not None:
        return newest[1]
    if profile.datasheet is not None:
        return RooflineModel(
            roofline=Roofline(network=network, sheet=profile.datasheet, batch=batch), name=profile.name
        )
    return None


def predicted_if_away(
    target: FoundTarget, network: Network, space: SearchSpace, *, batch: int, needed: bool
) -> FoundTarget:
    """The target as it was found; one that is away with a prediction instead.

    Where nothing predicts it, it stays away; one that is `needed` is an error (TargetUnavailable).
    """
    if not target.away:
        return target
    model = model_of(target.profile, network, space, batch=batch)
    if model is not None:
        environment = predicted_environment(stand_in(target.profile.facts.container).probe(), model)
        return replace(target, environment=environment, prediction=model, away="")
    if not needed:
        return target
    raise TargetUnavailable(
        f"Target '{target.profile.name}': {target.away} Its latency cannot be predicted either: it was not "
        "calibrated with this task (`targets calibrate`), and its profile has no [datasheet]."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedRatio:
    """What a table learns from a prediction: a ratio without noise."""

    ratio: float
    half_width: float = 0.0
    baseline_reference_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCandidates:
    """Predicts candidates where ShapeModels measures them."""

    model: LatencyModel

    def measure(self, recipe: Recipe) -> PredictedRatio:
        """The recipe's predicted ratio to the original."""
        return PredictedRatio(ratio=self.model.seconds(recipe) / self.model.seconds(Recipe()))


def predictor_of(
    target: PredictedTarget,
    network: Network,
    space: SearchSpace,
    *,
    batch: int,
    progress: Callable[[str], None],
) -> LatencyPredictor:
    """The predictor of a target that cannot be used. Its table is in memory, and its error is not known:
    nothing of it was measured.
    """
    if isinstance(target.model, TableModel):
        return LatencyPredictor(network, space, target.model.predictor.table.copy(), batch=batch)
    return learned_from(target.model, network, space, batch=batch, time_left=lambda: 1.0, progress=progress)


def learned_from(
    model: LatencyModel,
    network: Network,
    space: SearchSpace,
    *,
    batch: int,
    time_left: Callable[[], float],
    progress: Callable[[str], None] = lambda text: None,
) -> LatencyPredictor:
    """A predictor whose table, in memory, has learned from LEARNED predictions of the model."""
    table = LatencyTable()
    predictor = LatencyPredictor(network, space, table, batch=batch)
    calibrate(
        predictor,
        PredictedCandidates(model=model),
        time_left=time_left,
        enough=LEARNED,
        progress=progress,
    )
    return LatencyPredictor(network, space, table, batch=batch)
