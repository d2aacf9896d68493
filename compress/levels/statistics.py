"""Second moments of every layer's inputs on calibration batches, which reconstruction needs.

A layer's weight, reshaped to groups × rows × columns, multiplies vectors x of inputs: patches of a
convolution's input, or rows of a linear layer's. `InputMoments.second` is E[x xᵀ] (half the Hessian of the
layer's squared output error), `mean` is E[x].
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ...tasks.plain.devices import device_of, full_precision, on
from ...tasks.plain.parts import fixed_batch
from ..graph.graph import CONVOLUTIONS, argument, layer_nodes, operation
from ..stages import halving
from .running import channels_last
from .wide import affordable_rows, blocks_of, rows_for_moments, second_sum

ROWS_PER_BATCH = 8192  # of each layer and batch; patches overlap, so that a sample of them is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMoments:
    """Moments of one layer, float32: `second` groups × columns × columns (of a wide layer in blocks:
    wide.py), `mean` groups × columns.
    """

    second: Tensor
    mean: Tensor


def input_moments(
    module: fx.GraphModule,
    batches: Sequence[tuple[Tensor, ...]],
    *,
    layers: Collection[str] | None = None,
    seed: int = 0,
) -> dict[str, InputMoments]:
    """The moments of the named layers (None: of all) that ran; all calls of a layer count together."""
    collecting = Collecting(module, batches, layers=layers, seed=seed)
    return collecting.finished()


class Collecting:
    """`input_moments` that may be interrupted: what the batches so far gave is kept. It computes where the
    module is; what it gives is on the CPU. Where memory runs out it starts again with batches of half
    the size.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        batches: Sequence[tuple[Tensor, ...]],
        *,
        layers: Collection[str] | None,
        seed: int = 0,
    ):
        self._module, self._layers, self._seed = module, layers, seed
        self._batches = batches
        self._at_once = max((len(inputs[0]) for inputs in batches), default=1)
        self._start(self._at_once)

    def _start(self, at_once: int) -> None:
        parts: list[tuple[Tensor, ...]] = []
        for inputs in self._batches:
            parts += zip(*(torch.split(x, at_once) for x in inputs), strict=True)
        self._collector = _Collector(self._module, self._layers, self._seed, batches=len(parts))
        self._left = iter(parts)

    def finished(self, between: Callable[[], None] = lambda: None) -> dict[str, InputMoments]:
        """The moments after all batches. `between` is called in front of each and may raise: the next call
        goes on there.
        """
        run, least = partial(self._run, between), fixed_batch(self._module) or 1
        what = "a batch for moments"
        made, self._at_once = halving(self._at_once, run, what=what, stage="reconstruct", least=least)
        return made

    def _run(self, between: Callable[[], None], at_once: int) -> dict[str, InputMoments]:
        if at_once != self._at_once:
            self._at_once = at_once
            self._start(at_once)
        device = device_of(self._module)
        while True:
            between()
            inputs = next(self._left, None)
            if inputs is None:
                return self._collector.moments()
            with torch.inference_mode(), full_precision(device):
                self._collector.run(*map(channels_last, on(inputs, device)))


def columns_of(weight: Tensor, groups: int) -> Tensor:
    """The weight (out × in/groups × …) as groups × rows × columns."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def groups_of_layer(node: fx.Node) -> int:
    """Groups of a convolution, 1 for a linear layer."""
    return int(argument(node, 6, 1)) if operation(node) in CONVOLUTIONS else 1


def chosen_rows(available: int, rows: int, generator: torch.Generator) -> Tensor:
    """Indices of all rows, or of `rows` random ones when there are more: drawn on the CPU, so that they
    are the same for every device.
    """
    if available <= rows:
        return torch.arange(available)
    return torch.randint(available, (rows,), generator=generator)


def input_vectors(
    node: fx.Node, x: Tensor, weight: Tensor, *, rows: int, generator: torch.Generator
) -> Tensor:
    """groups × rows × columns, float32: at most `rows` of the vectors that the layer multiplies its weight
    with.
    """
    if operation(node) in CONVOLUTIONS:
        return _patches(node, x, weight, rows, generator).float()
    vectors = x.reshape(-1, x.shape[-1])
    return vectors[chosen_rows(len(vectors), rows, generator).to(x.device)].unsqueeze(0).float()


def output_vectors(node: fx.Node, y: Tensor, *, rows: int, generator: torch.Generator) -> Tensor:
    """rows × channels, float32: outputs where `input_vectors` takes inputs with an equal generator."""
    channels_last_view = y.movedim(1, -1) if operation(node) in CONVOLUTIONS else y
    vectors = channels_last_view.reshape(-1, channels_last_view.shape[-1])
    return vectors[chosen_rows(len(vectors), rows, generator).to(y.device)].float()


class _Collector(fx.Interpreter):
    """Sums x xᵀ and x of each layer while it runs the graph."""

    def __init__(self, module: fx.GraphModule, layers: Collection[str] | None, seed: int, *, batches: int):
        super().__init__(module)
        self.batches = batches
        self.layers = {node: name for name, node in layer_nodes(module) if layers is None or name in layers}
        # Each layer has its own generator: its sample does not depend on which other layers are wanted.
        self.generators = {
            name: torch.Generator().manual_seed(seed + index)
            for index, name in enumerate(dict(layer_nodes(module)))
        }
        self.sums: dict[str, tuple[Tensor, Tensor, int]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if (name := self.layers.get(n)) is not None:
            x, weight = (self.env[argument(n, index)] for index in (0, 1))
            columns, groups = weight[0].numel(), groups_of_layer(n)
            blocks = blocks_of(weight, groups)
            rows = min(ROWS_PER_BATCH, -(-rows_for_moments(columns, blocks, groups) // self.batches))
            vectors = input_vectors(
                n, x, weight, rows=affordable_rows(rows, columns), generator=self.generators[name]
            )
            self._add(name, vectors, blocks)
        return super().run_node(n)

    def _add(self, name: str, vectors: Tensor, blocks: int) -> None:
        second, mean, count = second_sum(vectors, blocks), vectors.sum(1), vectors.shape[1]
        if name in self.sums:
            total = self.sums[name]
            second, mean, count = total[0].add_(second), total[1].add_(mean), total[2] + count
        self.sums[name] = (second, mean, count)

    def moments(self) -> dict[str, InputMoments]:
        """The sums divided by the counts."""
        return {
            name: InputMoments(second=(second / count).cpu(), mean=(mean / count).cpu())
            for name, (second, mean, count) in self.sums.items()
        }


def _patches(node: fx.Node, x: Tensor, weight: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Patches at random positions; channels come before kernel offsets, as in the weight's columns."""
    spatial = weight.dim() - 2
    stride, dilation = (_each(argument(node, index, 1), spatial) for index in (3, 5))
    extents = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    amounts: list[int] = []
    for before_and_after in reversed(_padding(argument(node, 4, 0), extents)):
        amounts.extend(before_and_after)
    view = F.pad(x, amounts) if any(amounts) else x
    for dim, extent in enumerate(extents):
        view = view.unfold(2 + dim, extent, stride[dim])[..., :: dilation[dim]]
    positions = [view.shape[0], *view.shape[2 : 2 + spatial]]
    flat = chosen_rows(torch.Size(positions).numel(), rows, generator).to(x.device)
    picked = view.movedim(1, 1 + spatial)[torch.unravel_index(flat, positions)]  # rows × channels × kernel
    return picked.reshape(len(flat), groups_of_layer(node), -1).transpose(0, 1)


def _padding(value: Any, extents: list[int]) -> list[tuple[int, int]]:
    """Padding before and after each dimension; `same` puts an odd pixel behind, as torch does."""
    if value == "same":
        return [((extent - 1) // 2, extent - 1 - (extent - 1) // 2) for extent in extents]
    amounts = _each(0 if value == "valid" else value, len(extents))
    return [(amount, amount) for amount in amounts]


def _each(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, Iterable) else [value]
    return values * count if len(values) == 1 else values
