"""Coupled channel groups, exact to the index, from one pass over the ATen graph.

Every channel of every tensor has a *slot*. An operation either passes slots on (ReLU), makes new ones (a
convolution's output), joins two (the sum of a residual block: channel i of one operand cannot go without
channel i of the other) or pins them, which forbids their removal (an operation without a rule). Joined slots
are one *unit*: the smallest thing that can be removed. Units that touch the same parameters in the same way
form a *group*; the search chooses how many units of a group are kept.

Example, a zero-padded shortcut from 16 to 32 channels: the sum joins channel i of the first stage with
channel i + 8 of the second; the 16 outer channels of the second stage meet only padding, so that they are a
group of their own. Torch-Pruning's DependencyGraph, which this replaces, joins i with i there and then fails
on the shapes.
"""

import math
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np

Slots = np.ndarray  # int64, one slot per channel


@dataclass(frozen=True, slots=True)
class Use:
    """`slots` index dimension `dim` of a parameter. `writes`: the parameter produces these channels."""

    parameter: str
    dim: int
    slots: Slots
    writes: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """A constant of a node depends on how many of `slots` remain along dimension `dim`; `kind` says which
    one.
    """

    node: str
    kind: str
    dim: int
    slots: tuple[Slots, ...]


@dataclass(slots=True)
class ChannelMap:
    """The slots of a graph while it is being read, and the units and groups when it is done."""

    parents: list[int] = field(default_factory=list)
    pinned: dict[int, str] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def new(self, count: int) -> Slots:
        """`count` fresh slots."""
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, slot: int) -> int:
        """The unit that the slot belongs to."""
        while self.parents[slot] != slot:
            self.parents[slot] = self.parents[self.parents[slot]]
            slot = self.parents[slot]
        return slot

    def roots(self, slots: Slots) -> Slots:
        """The units of many slots."""
        return np.array([self.root(int(slot)) for slot in slots], dtype=np.int64)

    def join(self, slots: Slots, others: Slots) -> None:
        """Makes slots[i] and others[i] one unit."""
        for a, b in zip(slots, others, strict=True):
            root_a, root_b = self.root(int(a)), self.root(int(b))
            if root_a == root_b:
                continue
            low, high = min(root_a, root_b), max(root_a, root_b)
            self.parents[high] = low
            if high in self.pinned:
                self.pinned.setdefault(low, self.pinned.pop(high))

    def pin(self, slots: Slots, reason: str) -> None:
        """Forbids the removal of the slots' units."""
        for unit in set(self.roots(slots).tolist()):
            self.pinned.setdefault(unit, reason)

    def remaining(self, slots: Slots, removed: Set[int]) -> np.ndarray:
        """True for each slot that remains when the `removed` units are gone."""
        return np.array([unit not in removed for unit in self.roots(slots).tolist()], dtype=bool)

    def use(self, parameter: str, dim: int, slots: Slots, *, writes: bool) -> None:
        """Records a use; a second use of the same dimension (a shared module) joins the slots of both."""
        for other in self.uses:
            if (other.parameter, other.dim) == (parameter, dim):
                self.join(other.slots, slots)
                return
        self.uses.append(Use(parameter, dim, slots, writes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One removable channel: for each (parameter, dimension) the indices that go with it."""

    number: int
    indices: dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Units that touch the same parameters. Any number of them can be kept, from 1 to `channels`.

    `layers` are the layers whose output channels belong to the group, or the embedding if its columns meet no
    layer's output.
    """

    name: str
    layers: tuple[str, ...]
    units: tuple[Unit, ...]

    @property
    def channels(self) -> int:
        """How many channels the group has in the original model."""
        return len(self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A layer whose output channels stay whole, or that stays float32, and why."""

    name: str
    reason: str


def keep_counts(group: Group, multiple: int) -> tuple[int, ...]:
    """The counts of units that may be kept, ascending: those that leave multiples of `multiple` channels, and
    all.

    A unit may be several channels of each of its layers, such as an attention head. Then smaller counts leave
    such multiples already.
    """
    width = math.gcd(*(len(index) for index in group.units[0].indices.values())) or 1
    step = multiple // math.gcd(multiple, width)
    return (*range(step, group.channels, step), group.channels)


def groups_of(
    channels: ChannelMap, layers: dict[str, str]
) -> tuple[tuple[Group, ...], tuple[Exclusion, ...]]:
    """Groups and exclusions of a finished map; `layers`: the layer of each weight, in order of execution."""
    units = _units(channels)
    by_signature: dict[tuple[tuple[str, int, int], ...], list[Unit]] = {}
    for unit in units:
        signature = tuple(sorted((name, dim, len(index)) for (name, dim), index in unit.indices.items()))
        by_signature.setdefault(signature, []).append(unit)
    written = {(use.parameter, use.dim) for use in channels.uses if use.writes}
    groups: list[Group] = []
    for signature, members in by_signature.items():
        made = {name for name, dim, _ in signature if (name, dim) in written}
        writers = tuple(layers[parameter] for parameter in layers if parameter in made)
        writers = writers or tuple(sorted({parameter.removesuffix(".weight") for parameter in made}))
        if writers:
            name = writers[0] + "'" * sum(group.layers[0] == writers[0] for group in groups)
            groups.append(Group(name=name, layers=writers, units=tuple(members)))
    return tuple(groups), _exclusions(channels, layers)


def _units(channels: ChannelMap) -> list[Unit]:
    indices: dict[int, dict[tuple[str, int], list[int]]] = {}
    for use in channels.uses:
        for position, unit in enumerate(channels.roots(use.slots).tolist()):
            if unit not in channels.pinned:
                indices.setdefault(unit, {}).setdefault((use.parameter, use.dim), []).append(position)
    units = []
    for number, positions in sorted(indices.items()):
        arrays = {key: np.array(values) for key, values in positions.items()}
        units.append(Unit(number=number, indices=arrays))
    return units


def _exclusions(channels: ChannelMap, layers: dict[str, str]) -> tuple[Exclusion, ...]:
    exclusions = []
    for use in channels.uses:
        if use.writes and use.parameter in layers:
            units = channels.roots(use.slots).tolist()
            reasons = [channels.pinned[unit] for unit in units if unit in channels.pinned]
            if reasons:
                exclusions.append(Exclusion(name=layers[use.parameter], reason=reasons[0]))
    return tuple(exclusions)


Layout = tuple[int, Slots]  # the channel dimension of a tensor, and its slots
