"""Outputs of a model with rounded numbers: runs the folded graph in torch and rounds where the file does."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ....tasks.plain.devices import CPU, full_precision, on
from ...graph.devices import move
from ...graph.graph import (
    CONVOLUTIONS,
    argument,
    clone_of_graph,
    get_tensor,
    layer_nodes,
    operation,
    set_tensor,
    shape_of,
)
from ...graph.quantized import Plan
from ...levels.activations import Scale
from .quantize import QuantizedLayer

Change = Callable[[Tensor], Tensor]


class _FakeQuantized(fx.Interpreter):
    """Runs a graph and rounds: planned tensors to their grid, other first inputs and outputs as given.

    `biases` has, by node, the bias of a layer whose bias the file rounds.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        scales: Mapping[str, Scale],
        entering: Mapping[str, Change],
        leaving: Mapping[str, Change],
        biases: Mapping[str, Tensor],
    ):
        super().__init__(module)
        self.scales, self.entering, self.leaving, self.biases = scales, entering, leaving, biases

    def run_node(self, n: fx.Node) -> Any:
        if (bias := self.biases.get(n.name)) is not None:
            arguments, keywords = self.fetch_args_kwargs_from_env(n)
            result = self.call_function(n.target, (*arguments[:2], bias, *arguments[3:]), keywords)
        elif (change := self.entering.get(n.name)) is not None:
            arguments, keywords = self.fetch_args_kwargs_from_env(n)
            result = self.call_function(n.target, (change(arguments[0]), *arguments[1:]), keywords)
        else:
            result = super().run_node(n)
        if (change := self.leaving.get(n.name)) is not None:
            result = change(result)
        scale = self.scales.get(n.name)
        if scale is None:
            return result
        return scale.rounded(result)


def fake_quantized_outputs(
    module: fx.GraphModule,
    plan: Plan,
    scales: Mapping[str, Scale],
    quantized: Mapping[str, QuantizedLayer],
    inputs: tuple[Tensor, ...],
    *,
    entering: Mapping[str, Change],
    leaving: Mapping[str, Change],
    device: torch.device = CPU,
) -> Any:
    """Outputs of the folded graph with rounded weights, biases and activations, computed on the device.

    With few bits a step of the bias, that of the sums of integer products, is large: in a narrow network such
    roundings add up to 9 % of the answer. `entering` and `leaving` have, by node, the rounding of its first
    input and of its output.
    """
    rounded = clone_of_graph(module)
    by_node = {node: scales[source] for node, source in plan.tensors.items()}
    biases = {}
    for name, node in layer_nodes(rounded):
        if name in quantized:
            layer = quantized[name]
            set_tensor(rounded, str(argument(node, 1).target), torch.from_numpy(layer.dequantized_weight()))
            scale = by_node[argument(node, 0).name]
            if _bias_is_rounded(node) and not scale.signed:
                bias = get_tensor(rounded, str(argument(node, 2).target)).detach().numpy()
                biases[node.name] = torch.from_numpy(layer.rounded_bias(bias, scale.scale))
    if device != CPU:
        move(rounded, device)
    with torch.inference_mode(), full_precision(device):
        run = _FakeQuantized(rounded, by_node, entering, leaving, on(biases, device)).run
        return on(run(*on(inputs, device)), CPU)


def _bias_is_rounded(node: fx.Node) -> bool:
    """Whether the file adds the bias to the sums of products: behind a product of more dimensions it is added
    in float32 (qdq.py).
    """
    has_bias = argument(node, 2) is not None and argument(node, 2).op == "get_attr"
    return has_bias and (operation(node) in CONVOLUTIONS or len(shape_of(argument(node, 0))) == 2)
