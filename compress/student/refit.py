"""Sequential reconstruction: fits each layer of a compressed model to the original's outputs, first to last.

Both models run side by side over the same inputs. When a layer is reached, all layers before it are in their
final form: its least-squares fit compensates for their errors and for its own lost inputs. With x the
compressed model's inputs and y the original's outputs,

    W = argmin E‖(y - E y) - W (x - E x)‖² + λ‖W - W₀‖²

The means go into the bias, or into the running mean of the normalization behind the layer. Layers with few
bits are rounded at the end, against the second moments of their inputs in the fitted model. Fitting each
layer to the rounded ones before it cost a ResNet-20 one to two points at 2 to 4 bits.

Source: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (2017), section 3.2,
ridge towards W₀ added.
"""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, fx

from ...tasks.plain.devices import CPU, device_of, on
from ..graph.devices import on_device, take_tensors
from ..graph.graph import argument, get_tensor, layer_nodes, operation, set_tensor, shape_of
from ..graph.tracing.trace import dims_of
from ..levels.reconstruct import Rounding, grid_limits, optimal_scale
from ..levels.running import channels_last, mixed_precision
from ..levels.sparse import sparse_weight
from ..levels.statistics import columns_of, groups_of_layer, input_vectors, output_vectors
from ..levels.wide import (
    affordable_rows,
    blocks_of,
    dense,
    parts_of,
    rounded_parts,
    rows_for_moments,
    second_sum,
)
from ..options import RoundingMethod
from ..stages import halving

ROWS = 16384  # vectors that a layer is fitted to
TENSOR_BYTES = 1 << 28
RIDGE = 0.003  # of the mean second moment


@torch.no_grad()
def refit(
    module: fx.GraphModule,
    original: fx.GraphModule,
    inputs: Sequence[tuple[Tensor, ...]],
    channels: Mapping[str, Tensor],
    bits: Mapping[str, int],
    *,
    sparse: Set[str] = frozenset(),
    rounding: RoundingMethod = "gptq",
    between: Callable[[], None] = lambda: None,
) -> dict[str, Rounding]:
    """Fits the layers of `module` in place; returns how the layers in `bits` were rounded, by name.

    `inputs` are those of each shape; all count together. They go where the two models and `channels` are, and
    the roundings are there.
    Nodes of both models have the same names. `channels` are the indices of each layer's output channels that
    remain in `module`; other layers are not fitted. Layers whose inputs are still those of the original are
    fitted only if they are in `bits` or `sparse` (those become 2:4). `between` is called in front of each
    layer, and may raise.
    """
    layers = {node: name for name, node in layer_nodes(module) if name in channels}
    fitted, reference = _SideBySide(module, inputs), _SideBySide(original, inputs)
    partners = {node.name: node for node in original.graph.nodes}
    roundings: dict[str, Rounding] = {}
    rounded: dict[str, Tensor] = {}
    for node in module.graph.nodes:
        partner, name = partners.get(node.name), layers.get(node)
        if partner is not None:
            reference.run_until(partner)
        if name:
            between()
        changed = name in bits or name in sparse
        if name and partner and _is_due(node, partner, fitted, reference, changed=changed):
            second = _fit(fitted, node, reference.values(partner), channels[name])
            weight = str(argument(node, 1).target)
            tensor = get_tensor(module, weight).detach()
            if name in sparse:
                rounded[weight] = sparse_weight(tensor, dense(second, tensor[0].numel()))
            if name in bits:
                rounded[weight], roundings[name] = _rounded(tensor, second, bits[name], rounding)
        fitted.run_until(node)
        reference.forget()
        fitted.forget()
    for weight, values in rounded.items():
        set_tensor(module, weight, values)
    return roundings


def refit_beside(
    module: fx.GraphModule,
    original: fx.GraphModule,
    inputs: Sequence[tuple[Tensor, ...]],
    channels: Mapping[str, Tensor],
    bits: Mapping[str, int],
    *,
    sparse: Set[str],
    rounding: RoundingMethod,
    between: Callable[[], None],
    least: int,
) -> dict[str, Rounding]:
    """`refit` of a module on the CPU, of which a copy is fitted where the original is. Where memory runs out
    on a device, another copy is fitted to half of the samples of each shape, down to `least`.
    """
    device = device_of(original)

    def fit(count: int) -> tuple[fx.GraphModule, dict[str, Rounding]]:
        placed, some = on_device(module, device), [tuple(x[:count] for x in each) for each in inputs]
        return placed, refit(
            placed,
            original,
            some,
            on(channels, device),
            bits,
            sparse=sparse,
            rounding=rounding,
            between=between,
        )

    count = max(len(each[0]) for each in inputs)
    if device == CPU:
        return fit(count)[1]
    (placed, roundings), _ = halving(count, fit, what="fitting", stage="reconstruct", least=least)
    take_tensors(module, placed)
    return {name: rounded.on(CPU) for name, rounded in roundings.items()}


def affordable_samples(module: fx.GraphModule) -> int:
    """How many inputs can run at once, at least 1: no tensor of the graph exceeds TENSOR_BYTES."""
    largest = 1
    for node in module.graph.nodes:
        if isinstance(node.meta.get("val"), Tensor):
            sizes = [int(size) for size in node.meta["val"].shape[1:] if not isinstance(size, torch.SymInt)]
            if any(dims_of(module)):
                sizes = shape_of(node)[1:]
            largest = max(largest, math.prod(sizes))
    return max(1, TENSOR_BYTES // (4 * largest))


class _Stepwise:
    """Runs a graph node by node; `forget` drops values that no later node reads."""

    def __init__(self, module: fx.GraphModule, inputs: tuple[Tensor, ...]):
        self.module = module
        self.values: dict[fx.Node, Any] = {}
        self._device = device_of(module)
        self._inputs = iter(channels_last(x) for x in on(inputs, self._device))
        self._nodes = iter(module.graph.nodes)
        self._interpreter = fx.Interpreter(module)
        self._interpreter.env = self.values
        self._open = {node: len(node.users) for node in module.graph.nodes}
        self._used_up: list[fx.Node] = []

    def run_until(self, node: fx.Node) -> None:
        """Runs up to `node`, itself included."""
        while node not in self.values:
            self._run(next(self._nodes))

    def _run(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.values[node] = next(self._inputs)
        elif node.op == "get_attr":
            self.values[node] = get_tensor(self.module, str(node.target))
        elif node.op == "call_function":
            with mixed_precision(device=self._device):
                self.values[node] = self._interpreter.run_node(node)
        else:  # the output, and guards that the exporter left
            self.values[node] = None
        for source in node.all_input_nodes:
            self._open[source] -= 1
            if not self._open[source]:
                self._used_up.append(source)

    def forget(self) -> None:
        """Drops the values that no later node reads."""
        for node in self._used_up:
            self.values[node] = None
        self._used_up.clear()

    def renew(self, node: fx.Node) -> None:
        """Reads a parameter again that was replaced."""
        if node in self.values:
            self.values[node] = get_tensor(self.module, str(node.target))


class _SideBySide:
    """The same graph, step by step, on the inputs of each shape."""

    def __init__(self, module: fx.GraphModule, inputs: Sequence[tuple[Tensor, ...]]):
        self.module = module
        self._runs = [_Stepwise(module, each) for each in inputs]

    def values(self, node: fx.Node) -> list[Any]:
        """The node's value for the inputs of each shape."""
        return [run.values[node] for run in self._runs]

    def run_until(self, node: fx.Node) -> None:
        """See _Stepwise."""
        for run in self._runs:
            run.run_until(node)

    def forget(self) -> None:
        """See _Stepwise."""
        for run in self._runs:
            run.forget()

    def renew(self, node: fx.Node) -> None:
        """See _Stepwise."""
        for run in self._runs:
            run.renew(node)


def _is_due(
    node: fx.Node, partner: fx.Node, fitted: _SideBySide, reference: _SideBySide, *, changed: bool
) -> bool:
    if len(argument(node, 1).users) > 1:
        return False  # one weight cannot be fitted to several calls
    both = zip(fitted.values(argument(node, 0)), reference.values(argument(partner, 0)), strict=True)
    return changed or not all(torch.equal(ours, theirs) for ours, theirs in both)


def _fit(run: _SideBySide, node: fx.Node, targets: Sequence[Tensor], channels: Tensor) -> Tensor:
    """Fits one layer to some channels of `targets`; the second moments of its inputs (levels/wide.py)."""
    weight_node = argument(node, 1)
    name, groups = str(weight_node.target), groups_of_layer(node)
    tensor, seeded = get_tensor(run.module, name).detach(), torch.Generator().manual_seed
    columns, blocks = tensor[0].numel(), blocks_of(tensor, groups)
    rows = affordable_rows(min(ROWS, rows_for_moments(columns, blocks, groups)), columns)
    rows = max(1, rows // len(targets))
    vectors = []
    for inputs, target in zip(run.values(argument(node, 0)), targets, strict=True):
        x = input_vectors(node, inputs, tensor, rows=rows, generator=seeded(0))
        y = output_vectors(node, target, rows=rows, generator=seeded(0))[:, channels]
        vectors.append((x, y.reshape(len(y), groups, -1).transpose(0, 1)))
    x, y = vectors[0]
    if len(vectors) > 1:
        x, y = (torch.cat(each, dim=1) for each in zip(*vectors, strict=True))
    place = _place_of_mean(node)
    mean_x, mean_y = x.new_zeros(1, 1, x.shape[-1]), y.new_zeros(())
    if place is not None:
        mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        x, y = x - mean_x, y - mean_y
    weight, spread = _fitted(x, y, columns_of(tensor, groups), blocks)
    set_tensor(run.module, name, weight.reshape(tensor.shape).contiguous())
    run.renew(weight_node)
    if place is not None:
        _set_mean(run, place, (mean_x @ weight.mT).flatten(), mean_y.flatten())
    return spread + second_sum(mean_x, blocks)  # E[x xᵀ], of the same vectors


def round_rest(module: fx.GraphModule, bits: Mapping[str, int]) -> dict[str, Rounding]:
    """Rounds layers without input statistics (first factors, shared weights) to nearest, in place."""
    roundings = {}
    for name, node in layer_nodes(module):
        if name in bits:
            weight = str(argument(node, 1).target)
            tensor = get_tensor(module, weight).detach()
            columns = columns_of(tensor, groups_of_layer(node))
            step = optimal_scale(columns, columns.new_ones(len(columns), columns.shape[-1]), bits[name])
            integers = (columns / step.unsqueeze(-1)).round().clamp(*grid_limits(bits[name]))
            set_tensor(module, weight, (integers * step.unsqueeze(-1)).reshape(tensor.shape))
            roundings[name] = Rounding(step=step.flatten(), weight=tensor)
    return roundings


def _rounded(weight: Tensor, second: Tensor, bits: int, method: RoundingMethod) -> tuple[Tensor, Rounding]:
    """The rounded weight, and how."""
    total = weight[0].numel()
    columns = columns_of(weight, len(second) if second.shape[-1] == total else 1)
    parts = parts_of(second, torch.arange(total, device=second.device), total)
    integers, step = rounded_parts(columns, [part.second for part in parts], bits, method)
    values = integers * step.unsqueeze(-1)
    return values.reshape(weight.shape), Rounding(step=step.flatten(), weight=weight)


def _fitted(x: Tensor, y: Tensor, start: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """The least-squares weight, and the mean of x xᵀ (levels/wide.py); of a wide layer one block of columns
    after the other, each fitted to what the others leave (Gauss-Seidel).
    """
    if blocks == 1:
        return _least_squares(x, y, start)
    weight, size, seconds = start.clone(), start.shape[-1] // blocks, []
    for first in range(0, start.shape[-1], size):
        here = slice(first, first + size)
        left = y - x @ weight.mT + x[..., here] @ weight[..., here].mT
        weight[..., here], second = _least_squares(x[..., here], left, weight[..., here])
        seconds.append(second)
    return weight, torch.cat(seconds)


def _least_squares(x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """groups × rows × columns, and the mean of x xᵀ; x is groups × vectors × columns, y groups × vectors ×
    rows.
    """
    count = x.shape[1]
    second, cross = x.mT @ x / count, (y.mT @ x / count).double()
    ridge = RIDGE * second.double().diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] + 1e-8
    eye = torch.eye(second.shape[-1], dtype=torch.float64, device=x.device)
    system = second.double() + ridge * eye
    solution: Tensor = torch.linalg.solve(system, (cross + ridge * start.double()).mT)
    return solution.mT.float(), second


def _place_of_mean(node: fx.Node) -> fx.Node | None:
    """The parameter that shifts the layer's outputs: the running mean of its normalization, or its bias."""
    users = list(node.users)
    if len(users) == 1 and operation(users[0]) == "batch_norm" and argument(users[0], 3) is not None:
        running_mean: fx.Node = argument(users[0], 3)
        return running_mean
    bias: fx.Node | None = argument(node, 2)
    return bias


def _set_mean(run: _SideBySide, place: fx.Node, actual: Tensor, wanted: Tensor) -> None:
    """`actual` is the mean of W x, `wanted` that of the original's outputs, its bias included."""
    old = get_tensor(run.module, str(place.target)).detach()
    is_bias = any(argument(user, 2) is place and operation(user) != "batch_norm" for user in place.users)
    if is_bias:
        new = wanted - actual
    else:  # the original's mean may differ from its running mean: keep the difference; a bias cancels out
        layer = argument(next(iter(place.users)), 0)
        bias_node = argument(layer, 2)
        bias = 0 if bias_node is None else get_tensor(run.module, str(bias_node.target)).detach()
        new = old + actual + bias - wanted
    set_tensor(run.module, str(place.target), new)
    run.renew(place)
