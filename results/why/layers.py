"""The most sensitive slots: the loss of each at a comparable level. `~` marks a loss that was estimated from
other levels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from ..records.progress import SlotSensitivity
from ..view import RunOn

KINDS = ("precision", "keep", "skip", "rank", "resolution")
_ORIGINAL_FIRST = ("precision", "skip", "resolution")  # the others' last level is the original's


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a slot: the share of the original that it leaves (0..1), its loss (KL in nats), its label,
    whether measured.
    """

    slot: str
    share: float
    loss: float
    label: str
    original: str
    measured: bool = True

    @property
    def kind(self) -> str:
        """`precision`, `keep`, `skip`, `rank` or `resolution`."""
        return self.slot.partition("/")[0]

    @property
    def name(self) -> str:
        """The layer, group or block; `images` of their resolution."""
        return self.slot.partition("/")[2] or "images"

    @property
    def words(self) -> str:
        """`at 2 bits`, `with 16 of 64 channels`, `removed`, `at rank 8`, `of 168 × 168`."""
        if self.kind == "precision":
            bits = re.fullmatch(r"(?:int|w)(\d+)", self.label)
            return f"at {bits[1]} bits" if bits else f"in {self.label}"
        if self.kind == "keep":
            return f"with {self.label} of {self.original} channels"
        if self.kind == "resolution":
            return f"of {self.label}"
        return "removed" if self.kind == "skip" else f"at rank {self.label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSlot:
    """A slot at the level at which it is compared, in words (`conv1`, `at 4 bits`), and its loss there."""

    slot: str
    share: float
    label: str
    original: str
    kind: str
    name: str
    words: str
    loss: float
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitiveLayers:
    """The slots, the most sensitive first, and a sentence."""

    ranked: tuple[RankedSlot, ...]
    text: str


def sensitive_layers(run: RunOn) -> SensitiveLayers | None:
    """Each slot at a comparable level, the most sensitive first; None when no sensitivity was measured.

    Slots compare within their kind: at the coarsest level that a point of the front uses anywhere, or at the
    middle one when the front uses none. A slot without that very level is taken at its nearest.
    """
    slots = _slots(run.run.search.sensitivity)
    chosen = []
    for kind in KINDS:
        levels_by_slot = {slot: levels for slot, levels in slots.items() if slot.partition("/")[0] == kind}
        if not levels_by_slot:
            continue
        share = _comparable(levels_by_slot, _used(run, kind))
        for levels in levels_by_slot.values():
            chosen.append(min(levels, key=lambda level: (abs(level.share - share), level.share)))
    if not chosen:
        return None
    ranked = sorted(chosen, key=lambda level: -level.loss)
    return SensitiveLayers(ranked=tuple(map(_ranked, ranked)), text=_sentence(ranked))


def _slots(sensitivity: Mapping[str, SlotSensitivity]) -> dict[str, list[Level]]:
    """By slot its levels that change something; slots without any are left out."""
    slots = {}
    for slot, values in sensitivity.items():
        kind = slot.partition("/")[0]
        original = values.labels[0] if kind in _ORIGINAL_FIRST else values.labels[-1]
        levels = [
            Level(
                slot=slot,
                share=_share(kind, index, values.labels),
                loss=loss,
                label=label,
                original=original,
                measured=values.measured[index],
            )
            for index, (loss, label) in enumerate(zip(values.losses, values.labels, strict=True))
            if label != original
        ]
        if levels:
            slots[slot] = levels
    return slots


def _share(kind: str, index: int, labels: Sequence[str]) -> float:
    """The share of the original that a level leaves: bits of 32, channels of all, else by its place among the
    levels.
    """
    if kind == "precision":
        digits = re.search(r"\d+", labels[index])
        return int(digits[0]) / 32 if digits else 1.0
    if kind in ("skip", "resolution"):
        return 1.0 - index / (len(labels) - 1)
    if labels[index].isdigit() and labels[-1].isdigit():
        return int(labels[index]) / int(labels[-1])
    return (index + 1) / len(labels)


def _comparable(slots: Mapping[str, Sequence[Level]], used: set[tuple[str, str]]) -> float:
    """The share left at which to compare: the coarsest that is used, else the middle one."""
    levels = [level for levels in slots.values() for level in levels]
    shares = [level.share for level in levels if (level.slot, level.label) in used]
    return min(shares) if shares else median_low(sorted({level.share for level in levels}))


def _used(run: RunOn, kind: str) -> set[tuple[str, str]]:
    """The (slot, label) pairs of a kind in the recipes of the front; a removed block has the second label of
    its slot.
    """
    sensitivity, used = run.run.search.sensitivity, set()
    for point in run.front:
        recipe = point.recipe
        if kind == "skip":
            slots = [f"skip/{name}" for name in recipe.skip]
            used |= {(slot, sensitivity[slot].labels[-1]) for slot in slots if slot in sensitivity}
            continue
        if kind == "resolution":
            if recipe.resolution is not None:
                used.add((kind, " × ".join(map(str, recipe.resolution))))
            continue
        parts = {"precision": recipe.precision, "keep": recipe.keep, "rank": recipe.rank}
        used |= {(f"{kind}/{name}", str(value)) for name, value in parts[kind].items()}
    return used


def _ranked(level: Level) -> RankedSlot:
    return RankedSlot(
        slot=level.slot,
        share=level.share,
        label=level.label,
        original=level.original,
        kind=level.kind,
        name=level.name,
        words=level.words,
        loss=level.loss,
        measured=level.measured,
    )


def _sentence(ranked: Sequence[Level]) -> str:
    """`Most sensitive: layer3.2.conv2 at 2 bits (KL 0.31), …; least: …`: the first of each kind, or three of
    an only kind.
    """
    first = {level.kind: level for level in reversed(ranked)}
    leading = [level for level in ranked if first[level.kind] is level] if len(first) > 1 else ranked[:3]
    text = f"Most sensitive: {', '.join(map(_level_text, leading))}"
    if ranked[-1] not in leading:
        text += f"; least: {_level_text(ranked[-1])}"
    return f"{text}."


def _level_text(level: Level) -> str:
    return f"{level.name} {level.words} (KL {kl_text(level.loss, measured=level.measured)})"


def kl_text(loss: float, *, measured: bool = True) -> str:
    """Two significant digits without an exponent: `0.31`, `<0.0001`; `~0.31` of an estimate."""
    return ("" if measured else "~") + (f"{loss:.2g}" if loss >= 1e-4 else "<0.0001")
