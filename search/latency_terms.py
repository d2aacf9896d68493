"""What a candidate's latency adds up from: parts of the model, the slots that each depends on, and numbers that describe it.

A *part* is a layer, the boundary between two layers that run one after the other, or what remains of every candidate. Its *states*
are what it can be (removed; 16 to 32 channels in int8; …), each a row of features: a kernel, elements, multiplications, rounded
up to whole vectors as kernels do. A feature has a name, which different models share. `search/latency.py` learns what each costs.

Boundaries: where precision changes, tensors are converted and kernels cannot be fused; a residual sum runs in int8 only between
int8 layers. When blocks are removed, the layers on both sides meet; up to `JUMPS` removed blocks in a row are followed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..compress.layers import Layer
from ..compress.low_rank import saves
from ..compress.network import Network
from ..compress.recipe import INTEGER, Precision
from .sampling.problem import Slot
from .space import SearchSpace

LARGEST_SCOPE = 20_000
JUMPS = 2
VECTOR = 16
_GONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`states` has for all levels of the slots in `scope` the row of `rows` (states × features) and of `sizes` (bytes).

    `columns` are the features' positions among all names; `held` the groups that stay at their original level here, because the
    scope would be too large.
    """

    name: str
    scope: tuple[int, ...]
    states: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    sizes: np.ndarray
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTerms:
    """The parts of a network over the slots of its search space; `names` are those of the features."""

    slots: tuple[Slot, ...]
    parts: tuple[Part, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, network: Network, space: SearchSpace) -> "LatencyTerms":
        """The parts of a network."""
        return _Reader(network, space).read()


def slots_of(space: SearchSpace) -> tuple[Slot, ...]:
    """The slots of a space in the order of its parameters; a slot's gates are the blocks that take all its layers away."""
    blocks = list(space.blocks.items())

    def gates(layers: Sequence[str], inside: str = "") -> tuple[tuple[int, int], ...]:
        return tuple((at, 1) for at, (name, gone) in enumerate(blocks) if name != inside and set(layers) <= set(gone))

    slots = [Slot(name=f"skip/{name}", levels=2, original=0, gates=_outer(blocks, name)) for name, _ in blocks]
    slots += [
        Slot(name=f"keep/{group.name}", levels=len(group.levels), original=len(group.levels) - 1, gates=gates(group.layers))
        for group in space.groups
    ]
    slots += [
        Slot(name=f"precision/{name}", levels=len(found), original=0, gates=gates((name,)))
        for name, found in space.precisions.items()
    ]
    slots += [
        Slot(name=f"rank/{name}", levels=len(found) + 1, original=len(found), gates=gates((name,)))
        for name, found in space.ranks.items()
    ]
    return tuple(slots)


def _outer(blocks: Sequence[tuple[str, tuple[str, ...]]], inner: str) -> tuple[tuple[int, int], ...]:
    """The blocks that a block lies in."""
    layers = set(dict(blocks)[inner])
    return tuple((at, 1) for at, (_, gone) in enumerate(blocks) if layers < set(gone))


class _Reader:
    """Reads the parts of one network."""

    def __init__(self, network: Network, space: SearchSpace):
        self.network, self.space, self.slots = network, space, slots_of(space)
        self.index = {slot.name: position for position, slot in enumerate(self.slots)}
        self.names: dict[str, int] = {}
        self.layers = network.layers
        self.blocks_of = {
            layer.name: tuple(name for name, gone in space.blocks.items() if layer.name in gone) for layer in self.layers
        }
        self.summed = {block.layers[-1]: block.layers[0] for block in network.blocks}

    def read(self) -> LatencyTerms:
        parts = [self._part("constant", (), np.zeros((), np.int64), [{"constant": 1.0}], [0])]
        parts += [self._layer(layer) for layer in self.layers]
        parts += [part for at in range(len(self.layers)) for part in self._boundaries(at)]
        return LatencyTerms(slots=self.slots, parts=tuple(parts), names=tuple(self.names))

    def _part(
        self,
        name: str,
        scope: tuple[int, ...],
        states: np.ndarray,
        rows: Sequence[Mapping[str, float]],
        sizes: Sequence[int],
        held: tuple[str, ...] = (),
    ) -> Part:
        used = list(dict.fromkeys(feature for row in rows for feature in row))
        matrix = np.array([[row.get(feature, 0.0) for feature in used] for row in rows]).reshape(len(rows), len(used))
        columns = np.array([self.names.setdefault(feature, len(self.names)) for feature in used], np.int64)
        return Part(
            name=name, scope=scope, states=states, rows=matrix, columns=columns, sizes=np.array(sizes, np.float64), held=held
        )

    def _layer(self, layer: Layer) -> Part:
        along = [self.network.groups_along(layer, dim) for dim in (layer.out_dim, 1 - layer.out_dim)]
        groups = [group for group in self.space.groups if any(group.name in found for found in along)]
        fixed = [self.index[f"skip/{name}"] for name in self.blocks_of[layer.name]]
        fixed += [self.index[name] for name in (f"precision/{layer.name}", f"rank/{layer.name}") if name in self.index]
        kept, held = self._affordable(fixed, [(group, sum(found.get(group.name, 0) for found in along)) for group in groups])
        scope = tuple(sorted([*fixed, *(self.index[f"keep/{name}"] for name in kept)]))
        grids = dict(zip(scope, np.indices([self.slots[slot].levels for slot in scope]), strict=True))
        shape = tuple(self.slots[slot].levels for slot in scope)
        out, into = (
            layer.weight_shape[dim]
            - sum((self._lost(group.name, grids) * found.get(group.name, 0) for group in groups), np.zeros(shape, int))
            for dim, found in zip((layer.out_dim, 1 - layer.out_dim), along, strict=True)
        )
        precision, rank = (
            grids.get(self.index.get(f"{kind}/{layer.name}", _GONE), np.zeros(shape, int)) for kind in ("precision", "rank")
        )
        gone = np.zeros(shape, bool)
        for name in self.blocks_of[layer.name]:
            gone |= grids[self.index[f"skip/{name}"]] == 1
        stacked = np.stack([np.where(gone, _GONE, values).ravel() for values in (out, into, precision, rank)], axis=1)
        unique, inverse = np.unique(stacked, axis=0, return_inverse=True)
        states = [self._state(layer, *map(int, row)) for row in unique]
        rows, sizes = [row for row, _ in states], [size for _, size in states]
        return self._part(layer.name, scope, inverse.reshape(shape), rows, sizes, held)

    def _lost(self, group: str, grids: Mapping[int, np.ndarray]) -> np.ndarray | int:
        levels = next(item.levels for item in self.space.groups if item.name == group)
        grid = grids.get(self.index[f"keep/{group}"])
        return 0 if grid is None else levels[-1] - np.array(levels)[grid]

    def _affordable(self, fixed: Sequence[int], groups: Sequence[tuple[object, int]]) -> tuple[list[str], tuple[str, ...]]:
        """The groups that fit into the largest scope, those that weigh most first, and the others."""
        entries = math.prod(self.slots[slot].levels for slot in fixed)
        kept, held = [], []
        for group, weight in sorted(groups, key=lambda pair: -pair[1] * pair[0].channels):  # type: ignore[attr-defined]
            entries *= len(group.levels)  # type: ignore[attr-defined]
            (kept if entries <= LARGEST_SCOPE else held).append(group.name)  # type: ignore[attr-defined]
        return kept, tuple(held)

    def _state(self, layer: Layer, out: int, into: int, precision: int, rank: int) -> tuple[dict[str, float], int]:
        """Features and bytes of a layer's state."""
        if out == _GONE:
            return {}, 0
        chosen: Precision = self.space.precisions.get(layer.name, ("float32",))[precision]
        ranks = self.space.ranks.get(layer.name, ())
        factor = ranks[rank] if rank < len(ranks) else None
        cost = self.network.layer_cost(layer, out=out, into=into, precision=chosen, rank=factor)
        if factor is None or not saves(factor, out, into):
            return layer_features(layer, out, into, kernel_class(chosen)), cost.bytes
        first = layer_features(layer, factor, into, kernel_class(chosen))
        second = layer_features(layer, out, factor, kernel_class(chosen))
        return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in {**first, **second}}, cost.bytes

    def _boundaries(self, at: int) -> Iterator[Part]:
        """The boundaries of a layer with those that can follow it."""
        layer, jumped = self.layers[at], set[str]()
        for other in self.layers[at + 1 :]:
            if (part := self._boundary(layer, other, jumped)) is not None:
                yield part
            jumped |= {name for name in self.blocks_of[other.name] if name not in self.blocks_of[layer.name]}
            if not self._can_vanish(other, layer) or len(jumped) > JUMPS:
                return

    def _can_vanish(self, other: Layer, layer: Layer) -> bool:
        return any(name not in self.blocks_of[layer.name] for name in self.blocks_of[other.name])

    def _boundary(self, layer: Layer, other: Layer, jumped: set[str]) -> Part | None:
        """The boundary between two layers when the blocks in `jumped` are removed; None where they never meet.

        At the end of a residual block stands a sum, whose other operand is what the block's first layer reads.
        """
        blocks = {name for item in (layer, other) for name in self.blocks_of[item.name]}
        if blocks & jumped:
            return None  # the layer before it is there whenever this one is
        first = self.summed.get(layer.name)
        layers = [item for item in (layer.name, other.name, first) if f"precision/{item}" in self.index]
        scope = tuple(
            sorted(self.index[name] for name in {f"skip/{n}" for n in blocks | jumped} | {f"precision/{n}" for n in layers})
        )
        if not layers:
            return None
        shape = tuple(self.slots[slot].levels for slot in scope)
        grids = dict(zip(scope, np.indices(shape), strict=True))
        there = np.ones(shape, bool)
        for name in blocks | jumped:
            there &= grids[self.index[f"skip/{name}"]] == int(name in jumped)
        ends = [self._is_int8(item, grids, shape) for item in (first, layer.name, other.name) if item is not None]
        codes = sum(end << bit for bit, end in enumerate(reversed(ends)))
        elements = 1e-4 * output_elements(layer)
        rows = [_boundary_features(code, elements, is_sum=first is not None) for code in range(2 ** len(ends))]
        return self._part(f"{layer.name} > {other.name}", scope, np.where(there, 1 + codes, 0), [{}, *rows], [0] * (1 + len(rows)))

    def _is_int8(self, layer: str, grids: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        grid = grids.get(self.index.get(f"precision/{layer}", _GONE))
        if grid is None:
            return np.zeros(shape, int)
        return np.array([name in INTEGER for name in self.space.precisions[layer]], int)[grid]


def _boundary_features(code: int, elements: float, *, is_sum: bool) -> dict[str, float]:
    """What happens to a tensor of so many elements (in 10⁴) between two layers, or at a residual sum between them.

    Bits of `code`: the next layer is int8; the one before is; and, at a sum, the first of its block. A sum runs in int8 when all
    three are; in float32 it is part of the kernel before it when that is float32, too.
    """
    after, before, first = code & 1, code >> 1 & 1, code >> 2 & 1
    if not is_sum:
        counts = {"quantize": after and not before, "dequantize": before and not after}
    else:
        whole = after and before and first
        counts = {
            "quantize": after and not whole,
            "dequantize": (before + first) * (not whole),
            "int8 sum": whole,
            "float32 sum": before and not whole,
            "fused sum": not before,
        }
    found = {f"{name} kernel": float(count) for name, count in counts.items() if count}
    return found | {f"{name} elements": elements * count for name, count in counts.items() if count}


def kernel_class(precision: Precision) -> str:
    """Which kernels a precision runs: weights of fewer than 8 bits run those of int8."""
    return "int8" if precision in INTEGER else precision


def output_elements(layer: Layer) -> int:
    """Elements that the layer computes for one sample in the original model."""
    return layer.macs // max(1, layer.weight_numel // layer.weight_shape[layer.out_dim])


def layer_features(layer: Layer, out: int, into: int, kernels: str) -> dict[str, float]:
    """What a layer of these sizes (of its weight) is for its kernels; elements in 10⁴, multiplications in 10⁶."""
    kernel = layer.weight_numel // (layer.weight_shape[0] * layer.weight_shape[1])
    places = output_elements(layer) / layer.weight_shape[layer.out_dim]
    depthwise = layer.channels_in > layer.weight_shape[1 - layer.out_dim]
    kind = f"{kernels} {'depthwise' if depthwise else layer.kind}{' pointwise' if kernel == 1 and layer.kind == 'conv' else ''}"
    wide, deep = VECTOR * -(-out // VECTOR), VECTOR * -(-into // VECTOR)
    return {
        f"{kind} kernel": 1.0,
        f"{kind} elements": 1e-4 * places * out,
        f"{kind} columns": 1e-4 * places * into * kernel,
        f"{kind} macs": 1e-6 * places * kernel * into * out,
        f"{kind} padded macs": 1e-6 * places * kernel * (into if depthwise else deep) * wide,
    }
