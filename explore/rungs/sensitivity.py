"""Sensitivity: the loss of quality at each level of each slot. One or two levels are measured, the others
are estimated.

The measure is the probe's KL to the original with one thing changed. Other levels follow the error that the
level database knows of them: within a kind (channels, bits, ranks, blocks) KL = a · errorᵇ, fitted to the
logarithms of what was measured, and each slot's curve is moved onto its own measurements. Measurements are
kept in a file, so that runs on a task share them.

Rounding a layer's activations costs the same whatever the bits of its weights: where weights can be stored in
fewer bits without it, too (`w4`), that loss is measured once, with 8 bits, and added to that of each width.
"""

import contextlib
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...compress.recipe import BITS, SPARSE, STORED, Precision, Recipe
from ...errors import OutOfTime
from ..space.space import FUSED, RESOLUTION, USED_ROWS, GroupLevels, SearchSpace
from .sensitivity_file import MeasuredLosses

if TYPE_CHECKING:
    from ...compress.levels.database import LevelDatabase

CHUNK = 32  # recipes that share one pass over the original
SMALLEST = 1e-9  # of a KL or an error whose logarithm is taken
STEEPEST = 3.0  # exponent of the error
# Relative output errors of levels that the database does not have: rounding to 11 and to 4 digits, half of
# the weights gone.
_ERRORS: Mapping[Precision, float] = {
    "float16": 4.0**-11,
    "fp8": 4.0**-5,
    "float16_24": 0.05,
    "int8_24": 0.05,
}
_STORED_AS: Mapping[Precision, Precision] = {
    "int8": "w8", "dynamic8": "w8", "int6": "w6", "int4": "w4", "int3": "w3", "int2": "w2"
}  # fmt: skip
TYPICAL = {
    "keep": 0.1,
    "precision": 0.01,
    "rank": 0.1,
    "skip": 0.3,
    "resolution": 0.3,
}  # KL where nothing of the kind was measured


class Prober(Protocol):
    """The part of `compress.probe.Probe` that is needed."""

    def sensitivities(self, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, float]]:
        """The KL of each recipe; those that fail are left out."""
        ...


def plan_changes(space: SearchSpace) -> list[Recipe]:
    """One recipe per slot (half of the channels, the fewest bits, the lowest rank, without the block), then a
    second level.

    Neighbours in the list are far apart in the model: wherever a measurement stops, every region has been
    looked at.
    """
    planned: tuple[list[Recipe], list[Recipe]] = ([], [])
    for changes in _changes(space):
        for index, recipe in enumerate(changes):
            planned[min(index, 1)].append(recipe)
    return [recipe for recipes in planned for recipe in _scattered(recipes)]


def _changes(space: SearchSpace) -> Iterator[list[Recipe]]:
    """The recipes of each slot, the most informative first."""
    if space.resolutions:
        yield [Recipe(resolution=size) for size in space.resolutions]
    for block in space.blocks:
        yield [Recipe(skip=(block,))]
    for group in space.groups:
        half = min(group.levels[:-1], key=lambda level: abs(level - group.channels / 2))
        yield [Recipe(keep={group.name: level}) for level in dict.fromkeys((half, group.levels[0]))]
    for layer, choices in space.precisions.items():
        weights = [name for name in choices if weights_as(name, choices) == name]
        fewest = min((name for name in weights if name not in SPARSE), key=BITS.__getitem__)
        middle = [name for name in weights if BITS[name] == 4]
        sparse = [name for name in weights if name in SPARSE][-1:]
        kinds = [name for name in dict.fromkeys((fewest, *middle, *sparse)) if name != "float32"]
        first, *others = [Recipe(precision={layer: name}) for name in kinds[:2]]
        activations = _activations_of(layer, choices)
        yield [first, *([activations] if activations else []), *others]
    for layer, ranks in space.ranks.items():
        yield [Recipe(rank={layer: level}) for level in dict.fromkeys((ranks[0], ranks[-1]))]


def _scattered(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The same recipes, those of each CHUNK spread over the whole list."""
    stride = max(1, -(-len(recipes) // CHUNK))
    return [recipe for first in range(stride) for recipe in recipes[first::stride]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """KL by recipe digest, of recipes that change one thing; `complete` when everything planned was measured
    or failed.
    """

    measured: Mapping[str, float]
    complete: bool

    def losses(self, space: SearchSpace, database: "LevelDatabase | None" = None) -> dict[str, list[float]]:
        """The KL of every level, by parameter name: finite, ≥ 0, 0 at the original level, never falling with
        coarseness.

        Levels are in the order of the parameter's values. Without a `database` the share of channels or of
        precision that is lost stands for the error.
        """
        curves = [*_curves(space, database)]
        laws = {kind: self._law(kind, [curve for curve in curves if curve.kind == kind]) for kind in TYPICAL}
        losses = {curve.parameter: self._filled(curve, *laws[curve.kind]) for curve in curves}
        present = {FUSED: space.fusable, USED_ROWS: space.unused_rows}
        same = {name: [0.0, 0.0] for name, there in present.items() if there}  # the same function
        return losses | self._with_activations(space, losses) | same

    def _with_activations(
        self, space: SearchSpace, losses: Mapping[str, list[float]]
    ) -> dict[str, list[float]]:
        """The losses of precisions, those of integer layers with the rounding of their activations.

        Where it was not measured, the median of the measured layers stands for it.
        """
        added: dict[str, float | None] = {}
        for layer, choices in space.precisions.items():
            if (recipe := _activations_of(layer, choices)) is not None:
                both, weights = self.measured.get(recipe.digest), losses[f"precision/{layer}"]
                added[layer] = None if both is None else max(0.0, both - weights[choices.index("w8")])
        known = [loss for loss in added.values() if loss is not None]
        typical = statistics.median(known) if known else 0.0
        return {
            f"precision/{layer}": [
                loss + (typical if more is None else more) * (name in _STORED_AS)
                for name, loss in zip(space.precisions[layer], losses[f"precision/{layer}"], strict=True)
            ]
            for layer, more in added.items()
        }

    def known(self, space: SearchSpace) -> dict[str, list[bool]]:
        """By parameter name, which levels' KL was measured; that of the others is an estimate."""
        known = {
            curve.parameter: [recipe is None or recipe.digest in self.measured for recipe in curve.recipes]
            for curve in _curves(space, None)
        }
        for layer, choices in space.precisions.items():
            if (recipe := _activations_of(layer, choices)) is not None:
                weights, measured = known[f"precision/{layer}"], recipe.digest in self.measured
                known[f"precision/{layer}"] = [
                    measured and (told or name == "int8") if name in _STORED_AS else told
                    for name, told in zip(choices, weights, strict=True)
                ]
        return known

    def _law(self, kind: str, curves: Sequence["_Curve"]) -> tuple[float, float]:
        """(log a, b) of KL = a · errorᵇ, by least squares over all levels of a kind that were measured; b in
        0.3 … STEEPEST.
        """
        pairs = [(x, y) for curve in curves for x, y in self._points(curve)]
        if not pairs:
            return math.log(TYPICAL[kind]), 1.0
        x, y = np.array(pairs).T
        spread = float(np.square(x - x.mean()).sum())
        slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 1e-6 else 1.0
        slope = min(max(slope, 0.3), STEEPEST)
        return float(y.mean() - slope * x.mean()), slope

    def _points(self, curve: "_Curve") -> list[tuple[float, float]]:
        """(log error, log KL) of the levels of a slot that were measured, by rising error."""
        points = [
            (math.log(error), math.log(max(self.measured[recipe.digest], SMALLEST)))
            for recipe, error in zip(curve.recipes, curve.errors, strict=True)
            if recipe is not None and recipe.digest in self.measured
        ]
        return sorted(points)

    def _filled(self, curve: "_Curve", intercept: float, slope: float) -> list[float]:
        """What was measured where it was; elsewhere the nearest measurement moved along the law, between two
        a line.
        """
        points = self._points(curve) or [(0.0, intercept)]
        xs, ys = np.array(points).T
        values = []
        for recipe, error in zip(curve.recipes, curve.errors, strict=True):
            x = math.log(error)
            near = float(np.interp(x, xs, ys))
            beyond = slope * (x - min(max(x, xs[0]), xs[-1]))
            estimated = 0.0 if recipe is None else math.exp(min(near + beyond, 50.0))
            values.append(estimated if recipe is None else self.measured.get(recipe.digest, estimated))
        return _monotone(values, curve.coarseness)


def measure_sensitivity(
    space: SearchSpace,
    probe: Prober,
    path: Path,
    *,
    time_left: Callable[[], bool],
    progress: Callable[[str], None],
    most: int | None = None,
) -> Sensitivity:
    """What `path` knows, and what can be measured while `time_left()`; every measurement is kept in `path` at
    once.

    With `most` it is about so many recipes at most, and what else `path` knows is left out. Recipes that
    failed are kept as well and not tried again. A damaged file is started anew. OutOfTime in the middle of a
    measurement ends them, too.
    """
    planned = plan_changes(space)[:most]
    measured = MeasuredLosses.load(path)
    due = [recipe for recipe in planned if recipe.digest not in measured]
    with contextlib.suppress(OutOfTime):
        for first in range(0, len(due), CHUNK):
            chunk = due[first : first + CHUNK]
            kls = probe.sensitivities(chunk)
            while (alive := time_left()) and (pair := next(kls, None)) is not None:
                measured.add(pair[0], pair[1])
                known = sum(recipe.digest in measured for recipe in planned)
                progress(f"sensitivity {known}/{len(planned)}")
            if not alive:
                break
            measured.add_failed(recipe for recipe in chunk if recipe.digest not in measured)
    values = dict(measured.values)
    if most is not None:
        values = {r.digest: values[r.digest] for r in planned if r.digest in values}
    return Sensitivity(measured=values, complete=all(recipe.digest in measured for recipe in planned))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """A slot: by level the recipe that changes it alone (None: the original) and its error, and the levels by
    coarseness.
    """

    parameter: str
    recipes: tuple[Recipe | None, ...]
    errors: tuple[float, ...]
    coarseness: tuple[int, ...]

    @property
    def kind(self) -> str:
        """keep, precision, rank, skip or resolution."""
        return self.parameter.partition("/")[0]


def _curves(space: SearchSpace, database: "LevelDatabase | None") -> Iterator[_Curve]:
    if space.resolutions:
        pixels = [math.prod(size) for size in space.resolutions]
        yield _curve(
            RESOLUTION,
            [None, *(Recipe(resolution=size) for size in space.resolutions)],
            [0.0, *(1 / count for count in pixels)],
            range(1 + len(pixels)),
        )
    for block in space.blocks:
        yield _curve(f"skip/{block}", [None, Recipe(skip=(block,))], [0.0, 1.0], [0, 1])
    for group in space.groups:
        recipes = [Recipe(keep={group.name: level}) for level in group.levels[:-1]]
        yield _curve(
            f"keep/{group.name}",
            [*recipes, None],
            _channel_errors(group, database),
            [*reversed(range(len(group.levels)))],
        )
    for layer, choices in space.precisions.items():
        order = sorted(range(len(choices)), key=lambda level: _coarseness(choices[level]))
        changed = [
            None if name == "float32" else Recipe(precision={layer: weights_as(name, choices)})
            for name in choices
        ]
        yield _curve(
            f"precision/{layer}", changed, [_bit_error(layer, name, database) for name in choices], order
        )
    for layer, ranks in space.ranks.items():
        whole = 4 / 3 * ranks[-1]
        factored = [*(Recipe(rank={layer: rank}) for rank in ranks), None]
        errors = [*(max(1 - rank / whole, 0.05) for rank in ranks), 0.0]
        yield _curve(f"rank/{layer}", factored, errors, reversed(range(len(ranks) + 1)))


def _curve(
    parameter: str, recipes: Iterable[Recipe | None], errors: Iterable[float], coarseness: Iterable[int]
) -> _Curve:
    raised = tuple(max(error, SMALLEST) if math.isfinite(error) else 1.0 for error in errors)
    return _Curve(parameter=parameter, recipes=tuple(recipes), errors=raised, coarseness=tuple(coarseness))


def _channel_errors(group: GroupLevels, database: "LevelDatabase | None") -> list[float]:
    removal = None
    if database is not None:  # making an order takes time that belongs to candidates
        removal = database.known_removal(database.network.group_by_name[group.name])
    if removal is None:
        return [1 - level / group.channels for level in group.levels]
    return [removal.errors[group.channels - level] for level in group.levels]


def weights_as(precision: Precision, choices: Sequence[Precision]) -> Precision:
    """The precision that rounds the weights in the same way, and the activations not, if there is one."""
    stored = _STORED_AS.get(precision, precision)
    return stored if stored in choices and "w8" in choices else precision


def _activations_of(layer: str, choices: Sequence[Precision]) -> Recipe | None:
    """The recipe that tells what rounding the layer's activations costs; None where no level has the weights
    alone.
    """
    return Recipe(precision={layer: "int8"}) if {"int8", "w8"} <= set(choices) else None


def _coarseness(precision: Precision) -> tuple[bool, int, bool, bool, bool]:
    """Orders precisions from fine to coarse: sparse ones lose half of the weights; fp8 has fewer digits than
    int8; with float32 activations nothing else is lost.
    """
    integers = precision not in STORED
    return precision in SPARSE, -BITS[precision], precision == "fp8", precision != "block4", integers


def _bit_error(layer: str, precision: Precision, database: "LevelDatabase | None") -> float:
    """The relative output error (of block4 that of int4); that of uniform rounding, 4^-bits, where the
    database has none.
    """
    bits = BITS[precision]
    if precision == "float32":
        return 0.0
    if precision in _ERRORS:
        return _ERRORS[precision]
    # making a level takes time that belongs to candidates
    error = None if database is None else database.known_error(layer, bits)
    return float(4.0**-bits) if error is None else error


def _monotone(values: Sequence[float], coarseness: Sequence[int]) -> list[float]:
    """The nearest values (least squares) that do not fall along `coarseness`: neighbours that do are pooled.

    Source: Ayer et al., "An Empirical Distribution Function for Sampling with Incomplete Information" (1955).
    """
    pools: list[tuple[float, int]] = []
    for level in coarseness[1:]:
        pools.append((values[level], 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, n), (before, m) = pools.pop(), pools.pop()
            pools.append(((last * n + before * m) / (n + m), n + m))
    rising = [0.0, *(value for value, count in pools for _ in range(count))]
    return [rising[coarseness.index(level)] for level in range(len(values))]
