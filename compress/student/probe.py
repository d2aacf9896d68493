"""Probe: how far a candidate's answers are from the original's, before anything is fitted, trained or built.

The candidate is stitched from the level database and run on augmented training samples (plain ones are
learned by heart and hide what is lost). Its batch normalizations follow it: with mₒ, vₒ and m, v the mean and
variance of what a normalization reads in the original and in the candidate, on the same samples,

    mean = running_mean + (m - mₒ),   variance = running_var · v / vₒ

so that an unchanged part of the model computes exactly what it did, and samples cost no noise. Nodes in front
of the first change have the original's values: `sensitivities` runs them once for all recipes.
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
from ..graph.graph import argument, get_tensor, layer_nodes, operation, set_tensor
from ..graph.running import channels_last, mixed_precision
from ..levels.value_grids import round_to_blocks
from ..recipe import Precision, Recipe
from ..stages import StageClock
from .fake_quantize import NEAREST
from .prune import kept_slots
from .recover import soft_loss
from .refit import affordable_samples
from .student import Student, StudentMaker

log = logging.getLogger(__name__)

Values = dict[str, Any]  # by node name
Moments = tuple[Tensor, Tensor]  # mean and variance of each channel
CHUNK = 32  # students that are made before the nodes that they share are run
BATCHES_AT_ONCE = 4  # of the largest size that is affordable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """The original on one batch: inputs by placeholder, outputs, and what each batch normalization read, by
    its node.
    """

    inputs: Values
    outputs: Any
    moments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suffix:
    """What a recipe runs: its graph from the node of the original at `start` on, and the channels left to
    each normalization.
    """

    recipe: Recipe
    module: fx.GraphModule
    start: int
    kept: Mapping[str, Tensor]


class Probe:
    """KL(original ‖ candidate) in nats, by recipe. Made once per task: it keeps `count` samples and the
    original's answers.

    Fewer samples where the model's activations are large: no more than BATCHES_AT_ONCE of the largest
    affordable batch.
    """

    def __init__(self, students: StudentMaker, *, count: int = 512):
        self.students = students
        self.original = students.network.module
        self.count = count

    def kl(self, recipe: Recipe) -> float:
        """The mean divergence of the recipe's stitched model, ≥ 0, its recovery ignored. Raises StageError.

        Of a single output column the squared error relative to the variance of the original's; several
        outputs are summed.
        """
        suffix = self._suffix(recipe)
        return self._divergence(suffix, [dict(reference.inputs) for reference in self._references])

    def sensitivities(self, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, float]]:
        """`kl` of every recipe, the shared prefix of each CHUNK of them run once; a recipe that fails is
        logged and left out.

        Within a chunk they come in the order of their first change. Meant for recipes that each change one
        thing.
        """
        for first in range(0, len(recipes), CHUNK):
            walks = [_Walk(self.original, reference.inputs) for reference in self._references]
            for suffix in sorted(
                self._suffixes(recipes[first : first + CHUNK]), key=lambda suffix: suffix.start
            ):
                try:
                    yield (
                        suffix.recipe,
                        self._divergence(suffix, [walk.until(suffix.start) for walk in walks]),
                    )
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
        return _Suffix(recipe=recipe, module=student.module, start=start, kept=self._kept(student))

    def _kept(self, student: Student) -> dict[str, Tensor]:
        """By running mean, the indices of the channels that are left, for those that lost some."""
        channels, found = self.students.network.channels, {}
        for use in channels.uses if student.removed else ():
            if (
                use.parameter in self._running_means
                and not (kept := kept_slots(channels, use.slots, student.removed)).all()
            ):
                found[use.parameter] = torch.from_numpy(kept)
        return found

    @cached_property
    def _running_means(self) -> frozenset[str]:
        nodes = (node for node in self.original.graph.nodes if operation(node) == "batch_norm")
        return frozenset(str(argument(node, 3).target) for node in nodes if argument(node, 3) is not None)

    @cached_property
    def _references(self) -> list[_Reference]:
        affordable = affordable_samples(self.original)
        count = min(self.count, BATCHES_AT_ONCE * affordable)
        drawn = self.students.samples.augmented(
            "probe", count, seed=1
        )  # runs with any seed share what was measured
        inputs = tuple(torch.cat(column)[:count] for column in zip(*drawn, strict=True))
        parts = -(-count // min(self.students.options.batch_size, affordable))
        with StageClock().stage("reconstruct"):
            return [
                self._refer(batch) for batch in zip(*(torch.chunk(x, parts) for x in inputs), strict=True)
            ]

    def _refer(self, batch: tuple[Tensor, ...]) -> _Reference:
        names = [node.name for node in self.original.graph.nodes if node.op == "placeholder"]
        inputs: Values = dict(zip(names, map(channels_last, batch), strict=True))
        run = _Run(self.original, {}, {})
        outputs = run(dict(inputs))
        return _Reference(inputs=inputs, outputs=outputs, moments=run.seen)

    def _divergence(self, suffix: _Suffix, prefixes: Sequence[Values]) -> float:
        total, count = 0.0, 0
        for reference, values in zip(self._references, prefixes, strict=True):
            with StageClock().stage("reconstruct"):
                outputs = _Run(suffix.module, reference.moments, suffix.kept)(dict(values))
                size = len(next(iter(reference.inputs.values())))
                total += size * _distance(outputs, reference.outputs)
                count += size
        if not math.isfinite(total):
            raise StageError(
                f"the stitched model's answers are not finite (divergence {total})", stage="reconstruct"
            )
        return max(0.0, total / count)


class _Run(fx.Interpreter):
    """Runs the nodes that the output needs and whose values are not given; `seen` is what batch
    normalizations read.
    """

    def __init__(self, module: fx.GraphModule, moments: Mapping[str, Moments], kept: Mapping[str, Tensor]):
        super().__init__(module, garbage_collect_values=False)
        self.nodes = list(module.graph.nodes)
        self.moments, self.kept = moments, kept
        self.seen: dict[str, Moments] = {}

    def __call__(self, given: Values) -> Any:
        """The model's outputs as float32, from the values of some nodes by name, placeholders at least."""
        (output,) = (node for node in self.nodes if node.op == "output")
        needed = _needed(output, given)
        self.env = {node: given[node.name] for node in self.nodes if node.name in given}
        uses = {node: sum(user in needed for user in node.users) for node in (*needed, *self.env)}
        with torch.no_grad(), mixed_precision():
            for node in (node for node in self.nodes if node in needed and node is not output):
                self.env[node] = self.run_node(node)
                for source in node.all_input_nodes:
                    uses[source] -= 1
                    if not uses[source]:
                        del self.env[source]
            return _float(fx.node.map_arg(output.args[0], self.env.__getitem__))

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; a batch normalization follows what it reads."""
        if operation(n) != "batch_norm" or argument(n, 3) is None:
            return super().run_node(n)
        x, gamma, beta, mean, variance = (self._tensor(argument(n, index)) for index in range(5))
        ours = self.seen[n.name] = _moments(x)
        if n.name in self.moments:
            theirs = self.moments[n.name]
            if (kept := self.kept.get(str(argument(n, 3).target))) is not None:
                theirs = theirs[0][kept], theirs[1][kept]
            epsilon = argument(n, 7)
            mean = mean + (ours[0] - theirs[0])
            variance = variance * ((ours[1] + epsilon) / (theirs[1] + epsilon))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=argument(n, 7))

    def _tensor(self, node: fx.Node | None) -> Any:
        return None if node is None else self.env[node]


class _Walk:
    """The original, run node by node over one batch; values that no later node reads are forgotten, inputs
    are not.
    """

    def __init__(self, module: fx.GraphModule, inputs: Values):
        self.run = _Run(module, {}, {})
        self.nodes = list(module.graph.nodes)
        self.last_use = {node: max(map(self.nodes.index, node.users), default=0) for node in self.nodes}
        self.values: Values = dict(inputs)
        self.inputs = inputs
        self.position = 0

    def until(self, start: int) -> Values:
        """The values that nodes from `start` on read of those before it, by name. `start` never falls."""
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
    """The nodes to run for the output when these values are given."""
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
    """Rounds weights that do not lie on a grid yet to nearest, in place; activations stay as they are: 8 bits
    are nearly free.
    """
    round_to_blocks(student.module, {name for name, found in student.precision.items() if found == "block4"})
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
    """Names of the tensors that differ from the original's; the others become the original's own, so that
    none is held twice.
    """
    known, changed = {**dict(original.named_parameters()), **dict(original.named_buffers())}, set()
    for name in {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}:
        tensor, theirs = get_tensor(module, name), known.get(name)
        if theirs is None or tensor.shape != theirs.shape or not torch.equal(tensor, theirs):
            changed.add(name)
        else:
            set_tensor(module, name, theirs.detach())
    return changed


def _first_change(module: fx.GraphModule, original: fx.GraphModule, changed: set[str]) -> int:
    """The position of the original's first node that `module` lacks or computes with other tensors or
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


def _float(outputs: Any) -> Any:
    return tuple(x.float() for x in outputs) if isinstance(outputs, (tuple, list)) else outputs.float()


def _distance(outputs: Any, expected: Any) -> float:
    """KL per sample of class scores, squared error relative to the variance of a single column; summed over
    several outputs.
    """
    if isinstance(outputs, (tuple, list)):
        return math.fsum(_distance(ours, theirs) for ours, theirs in zip(outputs, expected, strict=True))
    error = float(soft_loss(outputs, expected, 1.0))
    regresses = outputs.dim() < 2 or outputs.shape[1] == 1
    return error / max(float(expected.var(unbiased=False)), 1e-12) if regresses else error
