"""Probe: the distance of a candidate's outputs from the original's, before it is fitted, trained or built.

The candidate is stitched from the level database and run on augmented training samples; on plain ones, which
the model has memorized, losses do not show. Its batch normalizations are adapted. Let mₒ, vₒ and m, v be the
mean and variance of a normalization's input in the original and in the candidate, on the same samples; then

    mean = running_mean + (m - mₒ),   variance = running_var · v / vₒ

An unchanged part of the model computes exactly what it did, without noise from the choice of samples. Nodes
in front of the first change have the original's values: `sensitivities` computes them once for all recipes.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ...errors import StageError
from ..graph.graph import argument, batch_norms, get_tensor, layer_nodes, operation, set_tensor
from ..graph.running import channels_last, mixed_precision
from ..levels.value_grids import round_to_blocks
from ..recipe import Precision, Recipe
from ..stages import StageClock
from .fake_quantize import NEAREST
from .recover import as_float32
from .refit import affordable_samples
from .student import Student, StudentMaker

log = logging.getLogger(__name__)

Values = dict[str, Any]  # by node name
Moments = tuple[Tensor, Tensor]  # mean and variance of each channel
CHUNK = 32  # students that are made before the nodes that they share are run
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

    `channels` are the indices that remain in normalizations that lost some, by running mean.
    """

    recipe: Recipe
    module: fx.GraphModule
    start: int
    channels: Mapping[str, Tensor]


class Probe:
    """The distance of a candidate's answers by recipe (distance.py): KL(original ‖ candidate) in nats for
    classes, a relative squared error for values. Made once per task: it keeps samples and the original's
    outputs.

    There are `count` samples, or fewer if activations are large: at most BATCHES_AT_ONCE affordable batches.
    """

    def __init__(self, students: StudentMaker, *, count: int = 512):
        self.students = students
        self.original = students.network.module
        self.count = count

    def kl(self, recipe: Recipe) -> float:
        """The mean distance of the recipe's stitched model, ≥ 0; its recovery is ignored. Raises
        StageError.

        Several outputs are added up, each in a unit of its own.
        """
        suffix = self._suffix(recipe)
        return self._divergence(suffix, [dict(reference.inputs) for reference in self._references])

    def sensitivities(self, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, float]]:
        """`kl` of every recipe; a recipe that fails is logged and left out.

        It runs the nodes that all recipes of a CHUNK share once, and yields them in the order of their first
        change. It is meant for recipes that each change one thing.
        """
        for first in range(0, len(recipes), CHUNK):
            walks = [_Walk(self.original, reference.inputs) for reference in self._references]
            suffixes = self._suffixes(recipes[first : first + CHUNK])
            for suffix in sorted(suffixes, key=lambda suffix: suffix.start):
                try:
                    prefixes = [walk.until(suffix.start) for walk in walks]
                    yield suffix.recipe, self._divergence(suffix, prefixes)
                except StageError as error:
                    log.warning("No sensitivity of %s: %s", suffix.recipe.to_json(), error)

    def _suffixes(self, recipes: Sequence[Recipe]) -> Iterator[_Suffix]:
        for recipe in recipes:
            try:
                yield self._suffix(recipe)
            except StageError as error:
                log.warning("No sensitivity of %s: %s", recipe.to_json(), error)

    def _suffix(self, recipe: Recipe) -> _Suffix:
        student = self.students.stitched(recipe)
        with StageClock().stage("reconstruct"):
            _round(student)
            changed = _share(student.module, self.original)
        start = _first_change(student.module, self.original, changed)
        return _Suffix(recipe=recipe, module=student.module, start=start, channels=self._remaining(student))

    def _remaining(self, student: Student) -> dict[str, Tensor]:
        """By running mean, the mask of the channels that remain, for normalizations that lost some."""
        if not student.removed:
            return {}
        channels, masks = self.students.network.channels, {}
        for use in channels.uses:
            if use.parameter in self._running_means:
                remains = channels.remaining(use.slots, student.removed)
                if not remains.all():
                    masks[use.parameter] = torch.from_numpy(remains)
        return masks

    @cached_property
    def _running_means(self) -> frozenset[str]:
        means = [argument(node, 3) for node in batch_norms(self.original)]
        return frozenset(str(mean.target) for mean in means if mean is not None)

    @cached_property
    def _references(self) -> list[_Reference]:
        affordable = affordable_samples(self.original)
        count = min(self.count, BATCHES_AT_ONCE * affordable)
        # A fixed seed: runs with any seed share the measured sensitivities.
        drawn = self.students.samples.augmented("probe", count, seed=1)
        inputs = tuple(torch.cat(column)[:count] for column in zip(*drawn, strict=True))
        parts = -(-count // min(self.students.options.batch_size, affordable))
        batches = zip(*(torch.chunk(x, parts) for x in inputs), strict=True)
        with StageClock().stage("reconstruct"):
            return [self._refer(batch) for batch in batches]

    def _refer(self, batch: tuple[Tensor, ...]) -> _Reference:
        names = [node.name for node in self.original.graph.nodes if node.op == "placeholder"]
        inputs: Values = dict(zip(names, map(channels_last, batch), strict=True))
        run = _Run(self.original, {}, {})
        outputs = run(dict(inputs))
        return _Reference(inputs=inputs, outputs=outputs, moments=run.read)

    def _divergence(self, suffix: _Suffix, prefixes: Sequence[Values]) -> float:
        total, count = 0.0, 0
        for reference, values in zip(self._references, prefixes, strict=True):
            with StageClock().stage("reconstruct"):
                outputs = _Run(suffix.module, reference.moments, suffix.channels)(dict(values))
                size = len(next(iter(reference.inputs.values())))
                total += size * self.students.distance.value(outputs, reference.outputs)
                count += size
        if not math.isfinite(total):
            message = f"the stitched model's answers are not finite (divergence {total})"
            raise StageError(message, stage="reconstruct")
        return max(0.0, total / count)


class _Run(fx.Interpreter):
    """Runs the nodes that the output needs and whose values are not given.

    Batch normalizations are adapted to `moments` of the original, of which `channels` remain. `read` has the
    moments of what each one read here.
    """

    def __init__(
        self, module: fx.GraphModule, moments: Mapping[str, Moments], channels: Mapping[str, Tensor]
    ):
        super().__init__(module, garbage_collect_values=False)
        self.nodes = list(module.graph.nodes)
        self.moments, self.channels = moments, channels
        self.read: dict[str, Moments] = {}

    def __call__(self, given: Values) -> Any:
        """The outputs as float32. `given` has values of nodes by name, at least of the placeholders."""
        output = self.nodes[-1]
        needed = _needed(output, given)
        self.env = {node: given[node.name] for node in self.nodes if node.name in given}
        uses = {node: len(needed.intersection(node.users)) for node in (*needed, *self.env)}
        with torch.no_grad(), mixed_precision():
            for node in self.nodes[:-1]:
                if node not in needed:
                    continue
                self.env[node] = self.run_node(node)
                for source in node.all_input_nodes:
                    uses[source] -= 1
                    if not uses[source]:
                        del self.env[source]
            return as_float32(fx.node.map_arg(output.args[0], self.env.__getitem__))

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; a batch normalization is adapted to what it reads."""
        if operation(n) != "batch_norm" or argument(n, 3) is None:
            return super().run_node(n)
        x, gamma, beta, mean, variance = (self._tensor(argument(n, index)) for index in range(5))
        ours = self.read[n.name] = _moments(x)
        if n.name in self.moments:
            theirs = self.moments[n.name]
            remaining = self.channels.get(str(argument(n, 3).target))
            if remaining is not None:
                theirs = theirs[0][remaining], theirs[1][remaining]
            epsilon = argument(n, 7)
            mean = mean + (ours[0] - theirs[0])
            variance = variance * ((ours[1] + epsilon) / (theirs[1] + epsilon))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=argument(n, 7))

    def _tensor(self, node: fx.Node | None) -> Any:
        return None if node is None else self.env[node]


class _Walk:
    """Runs the original node by node over one batch; drops values that no later node reads, but keeps the
    inputs.
    """

    def __init__(self, module: fx.GraphModule, inputs: Values):
        self.run = _Run(module, {}, {})
        self.nodes = list(module.graph.nodes)
        self.last_use = {node: max(map(self.nodes.index, node.users), default=0) for node in self.nodes}
        self.values: Values = dict(inputs)
        self.inputs = inputs
        self.position = 0

    def until(self, start: int) -> Values:
        """By name, the values of earlier nodes that nodes from `start` on read; `start` must not decrease."""
        with torch.no_grad(), mixed_precision():
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


def _needed(output: fx.Node, given: Values) -> set[fx.Node]:
    """The nodes to run for the output if these values are given."""
    needed, waiting = {output}, [output]
    while waiting:
        new = [
            node for node in waiting.pop().all_input_nodes if node.name not in given and node not in needed
        ]
        needed.update(new)
        waiting.extend(new)
    return needed


def _moments(x: Tensor) -> Moments:
    """Mean and variance of each channel (dimension 1), in float32."""
    size = x.shape[1]
    moments = torch.zeros(size), torch.zeros(size)
    torch.batch_norm_update_stats(x, *moments, 1.0)
    return moments


def _round(student: Student) -> None:
    """Rounds weights to nearest, in place, that are not on a grid yet. Activations stay: 8 bits cost next to
    nothing.
    """
    blocks = {name for name, precision in student.precision.items() if precision == "block4"}
    round_to_blocks(student.module, blocks)
    for name, node in layer_nodes(student.module):
        if (rounding := _ROUNDINGS.get(student.precision.get(name, "float32"))) is not None:
            target = str(argument(node, 1).target)
            set_tensor(student.module, target, rounding(get_tensor(student.module, target).detach()))


def _round_to_int8(weight: Tensor) -> Tensor:
    step = weight.abs().flatten(1).amax(1).clamp_min(1e-30).reshape(-1, *[1] * (weight.dim() - 1)) / 127
    return (weight / step).round() * step


_ROUNDINGS: Mapping[Precision, Callable[[Tensor], Tensor]] = {
    "int8": _round_to_int8,
    "int8_24": _round_to_int8,
    **NEAREST,
}


def _share(module: fx.GraphModule, original: fx.GraphModule) -> set[str]:
    """Names of the tensors that differ from the original's; the others are replaced by the original's, to
    save memory.
    """
    originals = {**dict(original.named_parameters()), **dict(original.named_buffers())}
    changed = set()
    for name in {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}:
        tensor, theirs = get_tensor(module, name), originals.get(name)
        if theirs is None or tensor.shape != theirs.shape or not torch.equal(tensor, theirs):
            changed.add(name)
        else:
            set_tensor(module, name, theirs.detach())
    return changed


def _first_change(module: fx.GraphModule, original: fx.GraphModule, changed: set[str]) -> int:
    """The position of the original's first node that `module` lacks or computes from other tensors or
    arguments.
    """
    ours = {node.name: node for node in module.graph.nodes}
    for position, node in enumerate(original.graph.nodes):
        twin = ours.get(node.name)
        if node.op != "call_function":
            continue
        if twin is None or _definition(twin) != _definition(node):
            return position
        if any(source.op == "get_attr" and str(source.target) in changed for source in node.all_input_nodes):
            return position
    return len(original.graph.nodes) - 1


def _definition(node: fx.Node) -> tuple[Any, ...]:
    named = fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{source.name}")
    return node.target, named
