"""What a candidate's latency adds up from: parts of the model, the slots that each depends on, and numbers
that describe it.

A *part* is a layer, the boundary between two layers that run one after the other, tensors beside the layers,
a resize of the images, or what remains of every candidate. Its *states* are what it can be (removed; 16 to
32 channels in int8; …), each a row of features: a kernel, elements, multiplications, rounded up to whole
vectors as kernels do. A feature has a name, which different models share. `explore/latency/model.py` learns
what each costs.

Boundaries: where precision changes, tensors are converted and kernels cannot be fused; a residual sum runs in
int8 only between int8 layers. When blocks are removed, the layers on both sides meet; up to `JUMPS` removed
blocks in a row are followed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...compress.graph.factors import saves
from ...compress.graph.layers import Layer
from ...compress.graph.network import Network
from ...compress.recipe import Precision
from ..space.problem import Slot
from ..space.space import FUSED, RESOLUTION, USED_ROWS, SearchSpace
from .features import (
    FUSED_ATTENTION,
    FUSED_REST,
    boundary_features,
    kernel_class,
    layer_features,
    output_elements,
    resize_features,
    tensor_class,
)
from .rest_terms import rest_sizes

LARGEST_SCOPE = 20_000
JUMPS = 2
_GONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`states` has for all levels of the slots in `scope` the row of `rows` (states × features) and of
    `sizes` (bytes).

    `columns` are the features' positions among all names; `held` the groups that stay at their original level
    here, because the scope would be too large.
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
    """The slots of a space in the order of its parameters; a slot's gates are the blocks that take all its
    layers away.
    """
    blocks = list(space.blocks.items())

    def gates(layers: Sequence[str], inside: str = "") -> tuple[tuple[int, int], ...]:
        return tuple(
            (at, 1) for at, (name, gone) in enumerate(blocks) if name != inside and set(layers) <= set(gone)
        )

    slots = [
        Slot(name=f"skip/{name}", levels=2, original=0, gates=_outer(blocks, name)) for name, _ in blocks
    ]
    slots += [
        Slot(
            name=f"keep/{group.name}",
            levels=len(group.levels),
            original=len(group.levels) - 1,
            gates=gates(group.layers),
        )
        for group in space.groups
    ]
    slots += [
        Slot(name=f"precision/{name}", levels=len(choices), original=0, gates=gates((name,)))
        for name, choices in space.precisions.items()
    ]
    slots += [
        Slot(name=f"rank/{name}", levels=len(ranks) + 1, original=len(ranks), gates=gates((name,)))
        for name, ranks in space.ranks.items()
    ]
    if space.fusable:
        slots.append(Slot(name=FUSED, levels=2, original=0))
    if space.unused_rows:
        slots.append(Slot(name=USED_ROWS, levels=2, original=0))
    if space.resolutions:
        slots.append(Slot(name=RESOLUTION, levels=1 + len(space.resolutions), original=0))
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
        self.groups = {group.name: group for group in space.groups}
        self.names: dict[str, int] = {}
        self.layers = network.layers
        self.networks = [network.at(size) for size in (None, *space.resolutions)]
        self.forms = {  # of each layer on images of all sizes
            forms[0].name: forms for forms in zip(*(one.layers for one in self.networks), strict=True)
        }
        self.blocks_of: dict[str, tuple[str, ...]] = {}
        for layer in self.layers:
            self.blocks_of[layer.name] = tuple(n for n, gone in space.blocks.items() if layer.name in gone)
        classes = (tensor_class(name) for choices in space.precisions.values() for name in choices)
        self.classes = tuple(dict.fromkeys(("float32", *classes)))
        self.summed = {block.layers[-1]: block.layers[0] for block in network.blocks}

    def read(self) -> LatencyTerms:
        parts = [
            self._part("constant", (), states=np.zeros((), np.int64), rows=[{"constant": 1.0}], sizes=[0])
        ]
        parts += [self._layer(layer) for layer in self.layers]
        parts += [part for at in range(len(self.layers)) for part in self._boundaries(at)]
        parts += list(self._fused()) if self.space.fusable else []
        parts += [self._resize()] if self.space.resolutions else []
        for scope, sizes in rest_sizes(self.network, self.space, self.slots, largest_scope=LARGEST_SCOPE):
            states = np.arange(sizes.size).reshape(sizes.shape)
            parts.append(
                self._part("rest", scope, states=states, rows=[{}] * sizes.size, sizes=sizes.ravel().tolist())
            )
        return LatencyTerms(slots=self.slots, parts=tuple(parts), names=tuple(self.names))

    def _part(
        self,
        name: str,
        scope: tuple[int, ...],
        *,
        states: np.ndarray,
        rows: Sequence[Mapping[str, float]],
        sizes: Sequence[int],
        held: tuple[str, ...] = (),
    ) -> Part:
        used = list(dict.fromkeys(feature for row in rows for feature in row))
        matrix = np.zeros((len(rows), len(used)))
        for at, row in enumerate(rows):
            matrix[at] = [row.get(feature, 0.0) for feature in used]
        columns = np.array([self.names.setdefault(feature, len(self.names)) for feature in used], np.int64)
        return Part(
            name=name,
            scope=scope,
            states=states,
            rows=matrix,
            columns=columns,
            sizes=np.array(sizes, np.float64),
            held=held,
        )

    def _layer(self, layer: Layer) -> Part:
        """The states are the layer's sizes, precision and rank that some levels lead to."""
        along = [self.network.groups_along(layer, dim) for dim in (layer.out_dim, 1 - layer.out_dim)]
        fixed = [self.index[f"skip/{name}"] for name in self.blocks_of[layer.name]]
        fixed += [
            self.index[name]
            for name in (f"precision/{layer.name}", f"rank/{layer.name}")
            if name in self.index
        ]
        changing, held = self._affordable(fixed, along)
        fixed += self._resolution_of(layer)
        used = self.network.used_rows.get(layer.name)
        fixed += [] if used is None else [self.index[USED_ROWS]]
        scope = tuple(sorted([*fixed, *(self.index[f"keep/{name}"] for name in changing)]))
        grids, shape = self._grids(scope), tuple(self.slots[slot].levels for slot in scope)
        columns = []
        for dim, groups in zip((layer.out_dim, 1 - layer.out_dim), along, strict=True):
            lost = [self._lost(name, grids) * groups[name] for name in changing if name in groups]
            columns.append(layer.weight_shape[dim] - sum(lost, np.zeros(shape, int)))
        if used is not None:
            columns[1] = np.where(grids[self.index[USED_ROWS]] == 1, len(used.rows), columns[1])
        columns += [
            grids.get(self.index.get(f"{kind}/{layer.name}", _GONE), np.zeros(shape, int))
            for kind in ("precision", "rank")
        ]
        columns.append(grids.get(self.index.get(RESOLUTION, _GONE), np.zeros(shape, int)))
        there = self._there(grids, shape, self.blocks_of[layer.name], ())
        stacked = np.stack([np.where(there, column, _GONE).ravel() for column in columns], axis=1)
        unique, inverse = np.unique(stacked, axis=0, return_inverse=True)
        forms = self.forms[layer.name]
        states = [self._state(forms[max(0, size)], *map(int, row)) for *row, size in unique]
        rows, sizes = [row for row, _ in states], [size for _, size in states]
        return self._part(layer.name, scope, states=inverse.reshape(shape), rows=rows, sizes=sizes, held=held)

    def _resolution_of(self, *layers: Layer) -> list[int]:
        """The slot of the resolution, if any of these layers depends on it."""
        depends = any(len(set(self.forms[layer.name])) > 1 for layer in layers)
        return [self.index[RESOLUTION]] if RESOLUTION in self.index and depends else []

    def _resize(self) -> Part:
        """The resize that stands in front, for images of each size."""
        channels = self.network.example_inputs[0].shape[1]
        rows = [resize_features(1e-4 * channels * math.prod(size)) for size in self.space.resolutions]
        scope, count = (self.index[RESOLUTION],), 1 + len(rows)
        return self._part("resize", scope, states=np.arange(count), rows=[{}, *rows], sizes=[0] * count)

    def _grids(self, scope: tuple[int, ...]) -> dict[int, np.ndarray]:
        """By slot, its level at each entry of an array over the scope."""
        return dict(zip(scope, np.indices([self.slots[slot].levels for slot in scope]), strict=True))

    def _there(
        self,
        grids: Mapping[int, np.ndarray],
        shape: tuple[int, ...],
        present: Iterable[str],
        removed: Iterable[str],
    ) -> np.ndarray:
        """Where the blocks are as they should be."""
        matches = np.ones(shape, bool)
        for name in present:
            matches &= grids[self.index[f"skip/{name}"]] == 0
        for name in removed:
            matches &= grids[self.index[f"skip/{name}"]] == 1
        return matches

    def _lost(self, group: str, grids: Mapping[int, np.ndarray]) -> np.ndarray:
        """How many channels of a group are gone."""
        levels = np.array(self.groups[group].levels)
        return np.asarray(levels[-1] - levels[grids[self.index[f"keep/{group}"]]])

    def _affordable(
        self, fixed: Sequence[int], along: Sequence[Mapping[str, int]]
    ) -> tuple[list[str], tuple[str, ...]]:
        """The groups that fit into the largest scope, those with most indices first, and the others."""
        weight: dict[str, int] = {}
        for name, group in self.groups.items():
            if any(name in groups for groups in along):
                weight[name] = group.channels * sum(groups.get(name, 0) for groups in along)
        entries = math.prod(self.slots[slot].levels for slot in fixed)
        changing: list[str] = []
        held: list[str] = []
        for name in sorted(weight, key=lambda name: -weight[name]):
            larger = entries * len(self.groups[name].levels)
            if larger <= LARGEST_SCOPE:
                changing.append(name)
                entries = larger
            else:
                held.append(name)
        return changing, tuple(held)

    def _state(
        self, layer: Layer, out: int, into: int, precision: int, rank: int
    ) -> tuple[dict[str, float], int]:
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
        return {
            name: first.get(name, 0.0) + second.get(name, 0.0) for name in {**first, **second}
        }, cost.bytes

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
        """The boundary between two layers when the blocks in `jumped` are removed; None where they never
        meet.

        At the end of a residual block stands a sum, whose other operand is what the block's first layer
        reads.
        """
        blocks = {*self.blocks_of[layer.name], *self.blocks_of[other.name]}
        if blocks & jumped:
            return None  # the layer before it is there whenever this one is
        first = self.summed.get(layer.name)
        ends = [name for name in (layer.name, other.name, first) if name is not None]
        layers = [name for name in ends if f"precision/{name}" in self.index]
        if not layers:
            return None
        parameters = {f"skip/{name}" for name in blocks | jumped} | {f"precision/{name}" for name in layers}
        scope = tuple(sorted([*(self.index[name] for name in parameters), *self._resolution_of(layer)]))
        grids, shape = self._grids(scope), tuple(self.slots[slot].levels for slot in scope)
        there = self._there(grids, shape, blocks, jumped)
        codes, count = np.zeros(shape, int), len(self.classes)
        for name in ends:
            codes = codes * count + self._class_of(name, grids, shape)
        rows = []
        for form in self.forms[layer.name] if self._resolution_of(layer) else (layer,):
            elements = 1e-4 * output_elements(form)
            for before, after, *other_operand in itertools.product(self.classes, repeat=len(ends)):
                operand = other_operand[0] if other_operand else None
                rows.append(boundary_features(before, after, operand, elements))
        codes += count ** len(ends) * grids.get(self.index.get(RESOLUTION, _GONE), np.zeros(shape, int))
        states = np.where(there, 1 + codes, 0)
        name = f"{layer.name} > {other.name}"
        return self._part(name, scope, states=states, rows=[{}, *rows], sizes=[0] * (1 + len(rows)))

    def _class_of(self, layer: str, grids: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """The positions in `classes`."""
        grid = grids.get(self.index.get(f"precision/{layer}", _GONE))
        if grid is None:
            return np.zeros(shape, int)
        positions = [self.classes.index(tensor_class(name)) for name in self.space.precisions[layer]]
        return np.asarray(np.array(positions, int)[grid])

    def _fused(self) -> Iterator[Part]:
        """What fusing adds: for each attention, by its heads, and for all the rest."""
        fused = self.index[FUSED]
        readers = [layer for layer in self.layers if layer.name in self.network.attention_readers]
        for layer in readers:
            along = self.network.groups_along(layer, 1 - layer.out_dim)
            fixed = [fused, *(self.index[f"skip/{name}"] for name in self.blocks_of[layer.name])]
            changing, held = self._affordable(fixed, [along])
            scope = tuple(sorted([*fixed, *(self.index[f"keep/{name}"] for name in changing)]))
            grids, shape = self._grids(scope), tuple(self.slots[slot].levels for slot in scope)
            whole = layer.weight_shape[1 - layer.out_dim]
            lost = sum((self._lost(name, grids) * along[name] for name in changing), np.zeros(shape, int))
            there = self._there(grids, shape, self.blocks_of[layer.name], ()) & (grids[fused] == 1)
            counts, states = np.unique(np.where(there, whole - lost, 0), return_inverse=True)
            rows = [{FUSED_ATTENTION: float(count) / whole / len(readers)} for count in counts]
            yield self._part(
                f"fused {layer.name}",
                scope,
                states=states.reshape(shape),
                rows=rows,
                sizes=[0] * len(rows),
                held=held,
            )
        rows = [{}, {FUSED_REST: 1.0}]
        yield self._part("fused rest", (fused,), states=np.arange(2), rows=rows, sizes=[0, 0])
