"""The bytes of what is stored beside the layers, as far as levels change them."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...compress.graph.network import Network
from ...compress.graph.rest import Remainder
from ..space.problem import Slot
from ..space.space import SearchSpace

Scope = tuple[int, ...]


def rest_sizes(
    network: Network, space: SearchSpace, slots: Sequence[Slot], *, largest_scope: int
) -> Iterator[tuple[Scope, np.ndarray]]:
    """Slots, and the bytes over their levels, of all tensors that the same slots change."""
    index = {slot.name: at for at, slot in enumerate(slots)}
    totals: dict[Scope, np.ndarray] = {}
    for one in network.rest:
        blocks = [f"skip/{name}" for name in network.blocks_with(one) if f"skip/{name}" in index]
        groups = {name for name in network.groups_of_rest(one) if f"keep/{name}" in index}
        scope = tuple(sorted(index[name] for name in [*blocks, *(f"keep/{name}" for name in groups)]))
        shape = tuple(slots[slot].levels for slot in scope)
        if scope and math.prod(shape) <= largest_scope:
            keeps = {index[f"keep/{name}"]: name for name in groups}
            totals[scope] = totals.get(scope, 0) + _sizes(network, space, one, (scope, shape, keeps))
    yield from totals.items()


def _sizes(
    network: Network,
    space: SearchSpace,
    one: Remainder,
    over: tuple[Scope, tuple[int, ...], Mapping[int, str]],
) -> np.ndarray:
    """Bytes at each level of the slots: none where a block is removed that the tensor is in."""
    scope, shape, keeps = over
    levels = {group.name: group.levels for group in space.groups}
    sizes = np.zeros(shape)
    for at in np.ndindex(shape):
        chosen = dict(zip(scope, at, strict=True))
        keep = {name: levels[name][chosen[slot]] for slot, name in keeps.items()}
        if not any(level for slot, level in chosen.items() if slot not in keeps):
            sizes[at] = network.rest_bytes(one, keep)
    return sizes
