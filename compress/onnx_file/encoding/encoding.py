"""The numbers of a student in one format: writes them into the file, and computes with them in torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from ....tasks.plain.devices import CPU, on
from ....tasks.quality import as_tuple, outputs_of
from ...graph.devices import on_device
from ...graph.graph import argument, layer_nodes
from ...graph.quantized import Plan, plan_quantization
from ...graph.used_rows import UsedRows, cut
from ...levels.activations import Observed, Scale, rounded_by_own_range
from ...levels.value_grids import BlockQuantized, round_to_blocks
from ...options import Activations, Int8Weights
from ...recipe import DYNAMIC, HALF, INTEGER, STORED, Precision
from ..export import Template
from .block4 import write_blocks
from .dynamic import write_dynamic
from .fake_outputs import Change, fake_quantized_outputs
from .fp8 import Fp8Layer, round_to_fp8, round_values, write_fp8
from .half import round_to_half, write_half
from .qdq import write_qdq
from .quantize import QuantizedLayer, quantize_layers
from .stored import StoredWeight, round_stored, write_stored

Ranges = Mapping[str, Observed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The layers of a folded graph by kind of number; `plan`, `scales`, `quantized`: of integer layers."""

    folded: fx.GraphModule
    plan: Plan
    scales: Mapping[str, Scale]
    quantized: Mapping[str, QuantizedLayer]
    blocks: Mapping[str, BlockQuantized]
    fp8: Mapping[str, Fp8Layer]
    stored: Mapping[str, StoredWeight]
    dynamic: Mapping[str, StoredWeight]
    half: frozenset[str]

    def write(
        self,
        model: onnx.ModelProto,
        template: Template,
        weight_of: Callable[[str], str],
        *,
        int8_weights: Int8Weights = "int8",
    ) -> None:
        """Changes the filled template in place. `weight_of` gives the parameter of a layer's weight."""
        integers = {name: (weight_of(name), layer) for name, layer in self.quantized.items()}
        write_qdq(model, template, self.plan, self.scales, integers, int8_weights=int8_weights)
        write_blocks(model, template, {name: (weight_of(name), layer) for name, layer in self.blocks.items()})
        write_fp8(model, template, {name: (weight_of(name), layer) for name, layer in self.fp8.items()})
        write_stored(model, template, {name: (weight_of(name), one) for name, one in self.stored.items()})
        write_dynamic(model, template, {name: (weight_of(name), one) for name, one in self.dynamic.items()})
        write_half(model, template, {name: weight_of(name) for name in sorted(self.half)})

    def with_used_rows(self, used: Mapping[str, UsedRows]) -> "Encoding":
        """The same of tables that have only these rows in the file, by layer."""
        stored = {
            name: replace(one, integers=cut(one.integers, used, name), steps=cut(one.steps, used, name))
            for name, one in self.stored.items()
        }
        return replace(self, stored=stored)

    def outputs(self, inputs: tuple[Tensor, ...], device: torch.device = CPU) -> tuple[Tensor, ...]:
        """The outputs that the file should give, computed on the device."""
        entering: dict[str, Change] = {}
        leaving: dict[str, Change] = {}
        for name, node in layer_nodes(self.folded):
            if name in self.fp8:
                entering[node.name] = partial(round_values, scale=self.fp8[name].input_scale)
            elif name in self.dynamic:
                entering[node.name] = rounded_by_own_range
            elif name in self.half:
                entering[node.name] = leaving[node.name] = _half_values
        outputs: Any = fake_quantized_outputs(
            self.folded,
            self.plan,
            self.scales,
            self.quantized,
            inputs,
            entering=entering,
            leaving=leaving,
            device=device,
        )
        return as_tuple(outputs)

    def unrounded_outputs(self, inputs: tuple[Tensor, ...], device: torch.device = CPU) -> tuple[Tensor, ...]:
        """Those of the folded graph itself, in which no activation is rounded, computed on the device."""
        outputs: tuple[Tensor, ...] = on(outputs_of(on_device(self.folded, device), inputs), CPU)
        return outputs

    @property
    def rounds_activations(self) -> bool:
        """Whether any layer computes with rounded activations of 8 bits."""
        return bool(self.plan.layers or self.fp8 or self.dynamic)


def encode(
    folded: fx.GraphModule,
    precision: Mapping[str, Precision],
    activations: Activations,
    *,
    ranges_of: Callable[[Sequence[str]], Ranges],
    steps: Mapping[str, np.ndarray],
) -> Encoding:
    """The encoding of a folded graph; weights that do not become integers are rounded in place.

    `ranges_of` gives the ranges of nodes, `steps` the steps of layers whose weights are on a grid already.
    """
    half = frozenset(name for name, kind in precision.items() if kind in HALF)
    integers = {name for name, kind in precision.items() if kind in INTEGER}
    blocks = round_to_blocks(folded, {name for name, kind in precision.items() if kind == "block4"})
    by_kind = [
        {name: kind for name, kind in precision.items() if kind in kinds} for kinds in (STORED, DYNAMIC)
    ]
    stored, dynamic = (round_stored(folded, layers, steps) for layers in by_kind)
    round_to_half(folded, half)
    plan = plan_quantization(folded, integers, activations)
    inputs = {
        name: argument(node, 0).name for name, node in layer_nodes(folded) if precision.get(name) == "fp8"
    }
    wanted = sorted({*plan.tensors.values(), *inputs.values()})
    ranges = ranges_of(wanted) if wanted else {}
    ends = {name: (ranges[node].low, ranges[node].high) for name, node in inputs.items()}
    fp8 = round_to_fp8(folded, ends)
    scales = {name: ranges[name].scale(activations) for name in set(plan.tensors.values())}
    quantized = quantize_layers(folded, plan, scales, precision, steps)
    return Encoding(
        folded=folded,
        plan=plan,
        scales=scales,
        quantized=quantized,
        blocks=blocks,
        fp8=fp8,
        stored=stored,
        dynamic=dynamic,
        half=half,
    )


def _half_values(x: Tensor) -> Tensor:
    return x.half().float()
