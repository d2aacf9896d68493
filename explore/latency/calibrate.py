"""Calibrating the latency table of a target: whole models, measured beside the original, in the order that
teaches most.

Uniform int8 first; then, each time out of a handful of proposals, the one whose predicted ratio is least
certain. Half of the proposals change one thing of the int8 model (a stage in float32, a block removed, a
group at another level), half are mixes of everything: on a ResNet-20, 30 mixes taught more about other mixes
(median error 4 %) than 60 single changes (13 %), because a single change is a small difference of large
numbers.

Candidates are built and measured by `shape_models.py`; a noisy measurement counts for less. Every target has
a table of its own; several share the time (`time_shares`).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ...compress.recipe import STORED, Precision, Recipe
from ...errors import StageError
from ...files import cache_folder
from ...profiles.latency_table import LatencyTable
from ...profiles.regression import PredictionError
from ...targets.lease import own_s
from ...targets.pool.boards import Device
from ..space.space import SearchSpace
from .model import LatencyPredictor

ENOUGH = 40
PROPOSALS = 20
STORED_SHARE = 0.2  # of the layers of a mix that are not float32
_PATIENCE = 3  # candidates in a row that fail


class Ratio(Protocol):
    """What a table learns: a latency relative to the original's, its relative half-width, the original's
    seconds if known.
    """

    @property
    def ratio(self) -> float: ...

    @property
    def half_width(self) -> float: ...

    @property
    def baseline_reference_s(self) -> float | None: ...


class Candidates(Protocol):
    """Measures candidates of which only the shapes count (shape_models.py)."""

    def measure(self, recipe: Recipe) -> Ratio:
        """The recipe beside the original. Raises StageError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a calibration did: candidates `measured` now, `earlier` ones and `failed`, and its seconds."""

    measured: int
    earlier: int
    failed: int
    seconds: float


def latency_folder() -> Path:
    """Where the latency tables of all devices are."""
    return cache_folder() / "latency"


def open_table(target: Device, folder: Path | None = None) -> LatencyTable:
    """The table of a target. TargetUnavailable if it does not answer."""
    return LatencyTable.of_device(
        folder or latency_folder(),
        profile_fingerprint=target.profile.fingerprint,
        environment=target.probe(),
    )


def calibrate(
    predictor: LatencyPredictor,
    candidates: Candidates,
    *,
    time_left: Callable[[], float],
    enough: int = ENOUGH,
    seed: int = 0,
    longest: float = 0.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Measures candidates until the table has `enough` of this model or no time is left; what it has already
    counts. The first is expected to take `longest` seconds.

    A candidate that fails is left out; StageError when three in a row do.
    """
    start, before, failures, failed = own_s(), predictor.count, 0, 0
    proposals = _proposals(predictor.drawable, random.Random(seed))
    first = predictor.drawable.uniform_int8() if predictor.count == 0 else Recipe()
    while predictor.count < enough and time_left() > longest:
        progress(f"calibrating the latency table: {predictor.count} of {enough} candidates")
        recipe = first if first.precision else next_recipe(predictor, proposals)
        began, first = own_s(), Recipe()
        if recipe is None:
            break
        try:
            learn(predictor, recipe, candidates.measure(recipe))
            failures = 0
        except StageError:
            failures, failed = failures + 1, failed + 1
            if failures >= _PATIENCE:
                raise
        took = own_s() - began
        longest = 0.8 * longest + 0.2 * took if predictor.count > before + 1 else took
    if predictor.count > before:
        predictor.tell()
    return Calibration(
        measured=predictor.count - before, earlier=before, failed=failed, seconds=own_s() - start
    )


def time_shares(left_s: Callable[[], float], count: int) -> Iterator[Callable[[], float]]:
    """For each of `count` targets in turn, the seconds left of its share; the next ones get its rest."""
    for waiting in range(count, 0, -1):
        others_s = left_s() * (waiting - 1) / waiting
        yield partial(_left_beside, left_s, others_s)


def _left_beside(left_s: Callable[[], float], others_s: float) -> float:
    return left_s() - others_s


def learn(predictor: LatencyPredictor, recipe: Recipe, measurement: Ratio) -> None:
    """Corrects the table by a measurement."""
    predictor.learn(
        recipe, measurement.ratio, measurement.half_width, reference_s=measurement.baseline_reference_s
    )


def next_recipe(predictor: LatencyPredictor, proposals: Iterator[Recipe]) -> Recipe | None:
    """The proposal with the largest relative uncertainty, None if all are known."""
    drawn = [next(proposals) for _ in range(PROPOSALS)]
    new = [recipe for recipe in drawn if not predictor.knows(recipe)]
    if not new:
        return None
    ratios, deviations = predictor.ratio_and_deviation(new)
    relative = [float(d) / max(float(r), 0.02) for r, d in zip(ratios, deviations, strict=True)]
    return new[relative.index(max(relative))]


def _proposals(space: SearchSpace, draw: random.Random) -> Iterator[Recipe]:
    """Single changes of the int8 model and mixes, in turn, for ever."""
    while True:
        yield space.with_free_levels(space.canonical(_single_change(space, draw)))
        yield space.with_free_levels(space.canonical(_mix(space, draw)))


def _single_change(space: SearchSpace, draw: random.Random) -> Recipe:
    """A run of layers in float32, a block less, a group at another level, or smaller images; of the int8
    model, or now and then of the original.
    """
    recipe = space.uniform_int8() if draw.random() < 0.7 else Recipe()
    possible = {
        "float32": recipe.precision,
        "skip": space.blocks,
        "keep": space.groups,
        "resolution": space.resolutions,
    }
    kinds = [kind for kind, subjects in possible.items() if subjects]
    match draw.choice(kinds or ["nothing"]):
        case "float32":
            names = list(recipe.precision)
            gone = set(_run(names, draw))
            rest = {name: precision for name, precision in recipe.precision.items() if name not in gone}
            return replace(recipe, precision=rest)
        case "skip":
            return replace(recipe, skip=(draw.choice(list(space.blocks)),))
        case "keep":
            group = draw.choice(space.groups)
            return replace(recipe, keep={group.name: draw.choice(group.levels[:-1])})
        case "resolution":
            return replace(recipe, resolution=draw.choice(space.resolutions))
    return recipe


def _run(names: Sequence[str], draw: random.Random) -> Sequence[str]:
    """A run of layers: the first ones, the last ones, or some of at most a third in between.

    The first layers of a network have most pixels and fewest channels, and integers seldom pay on both ends.
    """
    cut = draw.randint(1, max(1, len(names) - 1))
    first, length = draw.randrange(len(names)), draw.randint(1, max(1, len(names) // 3))
    return draw.choice((names[:cut], names[cut:], names[first : first + length]))


def _mix(space: SearchSpace, draw: random.Random) -> Recipe:
    """Everything at once, each kind of change as often as a share that is drawn first."""
    quantized, pruned = draw.choice((0.2, 0.5, 0.8, 1.0)), draw.random()
    skipped, factored = 0.6 * draw.random(), draw.random()
    precision: dict[str, Precision] = {
        name: _drawn(choices[1:], draw)
        for name, choices in space.precisions.items()
        if draw.random() < quantized
    }
    return Recipe(
        keep={group.name: draw.choice(group.levels[:-1]) for group in space.groups if draw.random() < pruned},
        precision=precision,
        rank={name: draw.choice(ranks) for name, ranks in space.ranks.items() if draw.random() < factored},
        skip=tuple(sorted(name for name in space.blocks if draw.random() < skipped)),
        resolution=draw.choice((None, *space.resolutions)) if space.resolutions else None,
    )


def _drawn(choices: Sequence[Precision], draw: random.Random) -> Precision:
    """A precision, seldom one that runs float32 kernels: all of those together teach no more than one."""
    stored = [name for name in choices if name in STORED]
    others = [name for name in choices if name not in STORED]
    return draw.choice(stored if stored and (not others or draw.random() < STORED_SHARE) else others)


def check(
    predictor: LatencyPredictor,
    candidates: Candidates,
    *,
    count: int,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[PredictionError, PredictionError]:
    """Measures `count` random candidates: the error of the table as it was before all of them, and as each
    was learned in turn.

    Raises StageError when a candidate cannot be built or measured.
    """
    recipes = random_recipes(predictor.space, count, seed)
    before, in_turn, measured = [predictor.ratio(recipe) for recipe in recipes], [], []
    for number, recipe in enumerate(recipes, 1):
        progress(f"checking the latency table: random candidate {number} of {count}")
        in_turn.append(predictor.ratio(recipe))
        measurement = candidates.measure(recipe)
        measured.append(measurement.ratio)
        learn(predictor, recipe, measurement)
    predictor.tell()
    return PredictionError.of(before, measured), PredictionError.of(in_turn, measured)


def random_recipes(space: SearchSpace, count: int, seed: int) -> list[Recipe]:
    """What Optuna's random sampler draws from the space, without recovery: the candidates of the table's
    test.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [replace(space.suggest(study.ask()), recovery=None) for _ in range(count)]
