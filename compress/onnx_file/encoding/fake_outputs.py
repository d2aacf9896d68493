"""Outputs of a model with rounded numbers: runs the folded graph in torch and rounds where the file does."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ...graph.graph import argument, clone, layer_nodes, set_tensor
from .quantize import Plan, QuantizedLayer, Scale

Change = Callable[[Tensor], Tensor]


class _FakeQuantized(fx.Interpreter):
    """Runs a graph and rounds: planned tensors to their grid, other first inputs and outputs as given."""

    def __init__(
        self,
        module: fx.GraphModule,
        scales: Mapping[str, Scale],
        entering: Mapping[str, Change],
        leaving: Mapping[str, Change],
    ):
        super().__init__(module)
        self.scales, self.entering, self.leaving = scales, entering, leaving

    def run_node(self, n: fx.Node) -> Any:
        if (change := self.entering.get(n.name)) is not None:
            arguments, keywords = self.fetch_args_kwargs_from_env(n)
            result = self.call_function(n.target, (change(arguments[0]), *arguments[1:]), keywords)
        else:
            result = super().run_node(n)
        if (change := self.leaving.get(n.name)) is not None:
            result = change(result)
        scale = self.scales.get(n.name)
        if scale is None:
            return result
        return torch.fake_quantize_per_tensor_affine(result, scale.scale, scale.zero_point, *scale.limits)


def fake_quantized_outputs(
    module: fx.GraphModule,
    plan: Plan,
    scales: Mapping[str, Scale],
    quantized: Mapping[str, QuantizedLayer],
    inputs: tuple[Tensor, ...],
    *,
    entering: Mapping[str, Change],
    leaving: Mapping[str, Change],
) -> Any:
    """Outputs of the folded graph with rounded weights and activations.

    Biases are not rounded: the error is at most half a unit of the sum of integer products. `entering` and
    `leaving` have, by node, the rounding of its first input and of its output.
    """
    rounded = clone(module)
    for name, node in layer_nodes(rounded):
        if name in quantized:
            weight = torch.from_numpy(quantized[name].dequantized_weight())
            set_tensor(rounded, str(argument(node, 1).target), weight)
    by_node = {node: scales[source] for node, source in plan.tensors.items()}
    with torch.inference_mode():
        return _FakeQuantized(rounded, by_node, entering, leaving).run(*inputs)
