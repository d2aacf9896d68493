"""Probe: the distance of a candidate's outputs from the original's, before it is fitted, trained or built.

The candidate is stitched from the level database and run on augmented training samples; on plain ones, which
the model has memorized, losses do not show. Its batch normalizations are adapted (normalization.py). Nodes in
front of the first change have the original's values: `sensitivities` computes them once for all recipes.

It is stitched on the CPU, and runs on the device of the options: what differs from the original goes there.
Where memory runs out, fewer samples run at once.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.plain.devices import CPU, device_of, on
from ..graph.devices import move
from ..graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ..graph.resolution import Resolution
from ..heap import give_copies_back
from ..levels.running import mixed_precision
from ..levels.value_grids import round_to_blocks
from ..recipe import Precision, Recipe
from ..stages import StageClock, halving
from .effort import samples_within
from .maker import StudentMaker
from .normalization import AdaptedRun, Change, Moments, Values, inputs_by_name
from .refit import affordable_samples
from .student import Student
from .training.fake_quantize import NEAREST, stored_elsewhere

log = logging.getLogger(__name__)
T = TypeVar("T")

CHUNK = 32  # students that are made before the nodes that they share are run
CHUNK_MACS = 10**9  # a network with more has smaller chunks: time may be over before one has an answer
SMALL_CHUNK = 4
BATCHES_AT_ONCE = 4  # of the largest size that is affordable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """The original on one batch: inputs by placeholder, outputs, and the moments of each normalization's
    input.
    """

    inputs: Values
    outputs: Any
    moments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suffix:
    """The part of a candidate's graph that differs: from the original's node number `start` to the end.

    `channels` are the indices that remain in normalizations that lost some, by running mean. `rounded` has
    the roundings of activations, by node.
    """

    recipe: Recipe
    module: fx.GraphModule
    start: int
    channels: Mapping[str, Tensor]
    rounded: Mapping[str, Change]


class Probe:
    """The distance of a candidate's answers by recipe (distance.py): KL(original ‖ candidate) in nats for
    classes, a relative squared error for values. Made once per task: it keeps samples and the original's
    outputs.

    Activations of integer layers are rounded as in the file of the first format of the options.

    There are `count` samples, or fewer if activations are large (at most BATCHES_AT_ONCE affordable batches)
    or the model is; effort.py says how many, and in which arithmetic.
    """

    def __init__(self, students: StudentMaker, *, count: int = 512):
        self.students = students
        self.original = students.original.placed
        self.count = count
        self._at_once = min(students.options.batch_size, affordable_samples(students.network.module))
        self._referred: tuple[int, list[_Reference]] | None = None  # with the samples at once
        self._resized: dict[Resolution, Probe] = {}
        self.chunk = CHUNK if students.network.macs < CHUNK_MACS else SMALL_CHUNK

    def kl(self, recipe: Recipe) -> float:
        """The mean distance of the recipe's stitched model, ≥ 0; its recovery is ignored. Raises
        StageError.

        Several outputs are added up, each in a unit of its own.
        """
        if recipe.resolution is not None:
            return self._at(recipe.resolution).kl(replace(recipe, resolution=None))
        try:
            return self._kl(recipe)
        finally:
            give_copies_back(self.original)

    def _kl(self, recipe: Recipe) -> float:
        suffix = self._suffix(recipe)
        original = self.students.original
        if suffix.start == _end(self.original) and not suffix.rounded and original.whole is original:
            return 0.0  # the same function on the same images, as with fused operators
        return self._in_halves(
            lambda references: self._divergence(suffix, references, [each.inputs for each in references])
        )

    def _at(self, resolution: Resolution) -> "Probe":
        """The probe of students on smaller images."""
        if resolution not in self._resized:
            self._resized[resolution] = Probe(self.students.at(resolution), count=self.count)
        return self._resized[resolution]

    def sensitivities(self, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, float]]:
        """`kl` of every recipe; a recipe that fails is logged and left out.

        It runs the nodes that all recipes of a CHUNK share once, and yields them in the order of their first
        change. It is meant for recipes that each change one thing.
        """
        for first in range(0, len(recipes), self.chunk):
            walks = _Walks(self.original, mixed=self.students.original.mixed)
            suffixes = self._suffixes(recipes[first : first + self.chunk])
            for suffix in sorted(suffixes, key=lambda suffix: suffix.start):
                try:
                    yield suffix.recipe, self._in_halves(partial(self._behind, walks, suffix))
                except StageError as error:
                    log.warning("No sensitivity of %s: %s", suffix.recipe.to_json(), error)
            yield from self._of_smaller_images(recipes[first : first + self.chunk])

    def _of_smaller_images(self, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, float]]:
        for recipe in recipes:
            if recipe.resolution is not None:
                try:
                    yield recipe, self.kl(recipe)
                except StageError as error:
                    log.warning("No sensitivity of %s: %s", recipe.to_json(), error)

    def _suffixes(self, recipes: Sequence[Recipe]) -> Iterator[_Suffix]:
        for recipe in recipes:
            if recipe.resolution is not None:
                continue
            try:
                yield self._suffix(recipe)
            except StageError as error:
                log.warning("No sensitivity of %s: %s", recipe.to_json(), error)

    def _suffix(self, recipe: Recipe) -> _Suffix:
        student = self.students.stitched(recipe)
        with StageClock().stage("reconstruct"):
            _round(student)
            changed = _share(student.module, self.students.network.module, self.original)
            rounded = self.students.statistics.rounded_activations(student, recipe)
        start = _first_change(student.module, self.original, changed, rounded)
        channels = on(self.students.statistics.remaining(student), device_of(self.original))
        return _Suffix(recipe=recipe, module=student.module, start=start, channels=channels, rounded=rounded)

    def _in_halves(self, attempt: Callable[[list[_Reference]], T]) -> T:
        """What `attempt` gives beside the original; where memory runs out, in smaller batches from now on."""
        with StageClock().stage("reconstruct"):
            made, self._at_once = halving(
                self._at_once,
                lambda at_once: attempt(self._references(at_once)),
                what="a batch of the probe",
                stage="reconstruct",
                least=self.students.samples.fixed_batch or 1,
            )
        return made

    def _references(self, at_once: int) -> list[_Reference]:
        if self._referred is None or self._referred[0] != at_once:
            self._referred = None  # its memory is needed
            affordable = affordable_samples(self.students.network.module)
            count = min(samples_within(self.students.network, self.count), BATCHES_AT_ONCE * affordable)
            # A fixed seed: runs with any seed share the measured sensitivities.
            samples = self.students.samples
            batches = samples.in_parts(samples.augmented_by_shape("probe", count, seed=1), most=at_once)
            self._referred = at_once, [self._refer(batch) for batch in batches]
        return self._referred[1]

    def _refer(self, batch: tuple[Tensor, ...]) -> _Reference:
        self.students.between()
        inputs = inputs_by_name(self.original, batch)
        run = AdaptedRun(self.original, {}, {}, mixed=self.students.original.mixed)
        outputs = run(dict(inputs))
        original = self.students.original
        if original.whole is not original:
            module = original.whole.placed
            outputs = AdaptedRun(module, {}, {}, mixed=original.mixed)(inputs_by_name(module, batch))
        return _Reference(inputs=inputs, outputs=outputs, moments=run.read)

    def _behind(self, walks: "_Walks", suffix: _Suffix, references: list[_Reference]) -> float:
        """The divergence from the suffix's first node on."""
        try:
            return self._divergence(suffix, references, walks.until(suffix.start, references))
        except (RuntimeError, MemoryError):
            walks.forget()  # where memory ran out, it is needed for smaller batches
            raise

    def _divergence(
        self, suffix: _Suffix, references: Sequence[_Reference], prefixes: Sequence[Values]
    ) -> float:
        total, count = 0.0, 0
        for reference, values in zip(references, prefixes, strict=True):
            self.students.between()
            run = AdaptedRun(
                suffix.module,
                reference.moments,
                suffix.channels,
                rounded=suffix.rounded,
                mixed=self.students.original.mixed,
            )
            outputs = run(dict(values))
            size = len(next(iter(reference.inputs.values())))
            total += size * self.students.original.distance.value(outputs, reference.outputs)
            count += size
        if not math.isfinite(total):
            message = f"the stitched model's answers are not finite (divergence {total})"
            raise StageError(message, stage="reconstruct")
        return max(0.0, total / count)


class _Walks:
    """A walk for each batch, begun anew where the batches are others."""

    def __init__(self, module: fx.GraphModule, *, mixed: bool):
        self.module, self.mixed = module, mixed
        self.references: list[_Reference] | None = None
        self.walks: list[_Walk] = []

    def forget(self) -> None:
        """Gives the memory of the values back."""
        self.references, self.walks = None, []

    def until(self, start: int, references: list[_Reference]) -> list[Values]:
        """For each batch, what `_Walk.until` gives."""
        if references is not self.references:
            self.references = references
            self.walks = [_Walk(self.module, each.inputs, mixed=self.mixed) for each in references]
        return [walk.until(start) for walk in self.walks]


class _Walk:
    """Runs the original node by node over one batch; drops values that no later node reads, but keeps the
    inputs.
    """

    def __init__(self, module: fx.GraphModule, inputs: Values, *, mixed: bool):
        self.run, self.mixed = AdaptedRun(module, {}, {}), mixed
        self.nodes = list(module.graph.nodes)
        self.last_use = {node: max(map(self.nodes.index, node.users), default=0) for node in self.nodes}
        self.values: Values = dict(inputs)
        self.inputs = inputs
        self.position = 0

    def until(self, start: int) -> Values:
        """By name, the values of earlier nodes that nodes from `start` on read; `start` must not decrease."""
        with torch.no_grad(), mixed_precision(wanted=self.mixed, device=device_of(self.run.module)):
            for index, node in enumerate(self.nodes[self.position : start], self.position):
                if node.op == "call_function":
                    self.run.env = {source: self._value(source) for source in node.all_input_nodes}
                    self.values[node.name] = self.run.run_node(node)
                for source in (node, *node.all_input_nodes):
                    if source.name not in self.inputs and self.last_use[source] <= index:
                        self.values.pop(source.name, None)
        self.position = max(start, self.position)
        return self.values

    def _value(self, node: fx.Node) -> Any:
        return self.run.run_node(node) if node.op == "get_attr" else self.values[node.name]


def _round(student: Student) -> None:
    """Rounds weights to nearest, in place, that are not on a grid yet."""
    blocks = {name for name, precision in student.precision.items() if precision == "block4"}
    round_to_blocks(student.module, blocks)
    for name, node in layer_nodes(student.module):
        rounding = _ROUNDINGS.get(student.precision.get(name, "float32"))
        if rounding is not None and name not in student.steps:
            target = str(argument(node, 1).target)
            set_tensor(student.module, target, rounding(get_tensor(student.module, target).detach()))
    for target, rounding in stored_elsewhere(student.module, student.precision).items():
        set_tensor(student.module, target, rounding(get_tensor(student.module, target).detach()))


def _round_to_int8(weight: Tensor) -> Tensor:
    step = weight.abs().flatten(1).amax(1).clamp_min(1e-30).reshape(-1, *[1] * (weight.dim() - 1)) / 127
    return (weight / step).round() * step


_ROUNDINGS: Mapping[Precision, Callable[[Tensor], Tensor]] = {
    "int8": _round_to_int8,
    "int8_24": _round_to_int8,
    "w8": _round_to_int8,
    "dynamic8": _round_to_int8,
    **NEAREST,
}


def _share(module: fx.GraphModule, original: fx.GraphModule, placed: fx.GraphModule) -> set[str]:
    """Names of the tensors that differ from the original's. The module goes to where the original is
    `placed`: the others are replaced by those there, to save memory and time.
    """
    originals = {**dict(original.named_parameters()), **dict(original.named_buffers())}
    changed = set()
    for name in {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}:
        tensor, theirs = get_tensor(module, name), originals.get(name)
        if theirs is None or tensor.shape != theirs.shape or not torch.equal(tensor, theirs):
            changed.add(name)
        else:
            set_tensor(module, name, get_tensor(placed, name).detach())
    if (device := device_of(placed)) != CPU:
        move(module, device)
    return changed


def _first_change(
    module: fx.GraphModule, original: fx.GraphModule, changed: set[str], rounded: Collection[str]
) -> int:
    """The position of the original's first node that `module` lacks or computes from other tensors or
    arguments, or whose input is rounded.
    """
    ours = {node.name: node for node in module.graph.nodes}
    for position, node in enumerate(original.graph.nodes):
        twin = ours.get(node.name)
        if node.op != "call_function":
            continue
        if twin is None or _definition(twin) != _definition(node):
            return position
        sources = node.all_input_nodes
        if any(source.op == "get_attr" and str(source.target) in changed for source in sources):
            return position
        if any(source.name in rounded for source in sources):
            return position
    return _end(original)


def _end(original: fx.GraphModule) -> int:
    """The position of what it returns, in which no two differ."""
    return len(original.graph.nodes) - 1


def _definition(node: fx.Node) -> tuple[Any, ...]:
    named = fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{source.name}")
    return node.target, named
