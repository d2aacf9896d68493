"""The most sensitive slots: what each loses at a level that compares; `~` marks what was estimated from other
levels.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median_low
from typing import Any

from ..formats import Run

KINDS = ("precision", "keep", "skip", "rank")


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
        """`precision`, `keep`, `skip` or `rank`."""
        return self.slot.partition("/")[0]

    @property
    def name(self) -> str:
        """The layer, group or block."""
        return self.slot.partition("/")[2]

    @property
    def words(self) -> str:
        """`at 2 bits`, `with 16 of 64 channels`, `removed`, `at rank 8`."""
        if self.kind == "precision":
            bits = re.fullmatch(r"int(\d+)", self.label)
            return f"at {bits[1]} bits" if bits else f"in {self.label}"
        if self.kind == "keep":
            return f"with {self.label} of {self.original} channels"
        return "removed" if self.kind == "skip" else f"at rank {self.label}"


def sensitive_layers(run: Run) -> dict[str, Any] | None:
    """Each slot at a level that compares, the most sensitive first, and a sentence; None without
    `run["sensitivity"]`.

    Slots compare within their kind: at the coarsest level that a point of the front uses anywhere, or at the
    middle one when the front uses none. A slot without that very level is taken at its nearest.
    """
    sensitivity = run.get("sensitivity")
    if not sensitivity:
        return None
    slots = _slots(sensitivity)
    chosen = []
    for kind in KINDS:
        own = {slot: levels for slot, levels in slots.items() if slot.startswith(f"{kind}/")}
        if own:
            share = _comparable(own, _used(run, kind))
            chosen += [
                min(levels, key=lambda level: (abs(level.share - share), level.share))
                for levels in own.values()
            ]
    if not chosen:
        return None
    ranked = sorted(chosen, key=lambda level: -level.loss)
    return {"ranked": [_row(level) for level in ranked], "text": _sentence(ranked)}


def _slots(sensitivity: Mapping[str, Any]) -> dict[str, list[Level]]:
    """By slot its levels that change something and have a finite loss; slots without any are left out."""
    found = {}
    measured = sensitivity.get("measured", {})
    for slot, losses in sensitivity["losses"].items():
        labels = sensitivity["labels"].get(slot) or [str(index) for index in range(len(losses))]
        kind = slot.partition("/")[0]
        original = labels[0] if kind in ("precision", "skip") else labels[-1]
        levels = [
            Level(
                slot=slot,
                share=_left(kind, index, labels),
                loss=loss,
                label=label,
                original=original,
                measured=measured.get(slot, [True] * len(losses))[index],
            )
            for index, (loss, label) in enumerate(zip(losses, labels, strict=False))
            if label != original and loss is not None and math.isfinite(loss)
        ]
        if levels:
            found[slot] = levels
    return found


def _left(kind: str, index: int, labels: Sequence[str]) -> float:
    """The share of the original that a level leaves: bits of 32, channels of all, else by its place among the
    levels.
    """
    if kind == "precision":
        digits = re.search(r"\d+", labels[index])
        return int(digits[0]) / 32 if digits else 1.0
    if kind == "skip":
        return 1.0 - index / (len(labels) - 1)
    if labels[index].isdigit() and labels[-1].isdigit():
        return int(labels[index]) / int(labels[-1])
    return (index + 1) / len(labels)


def _comparable(slots: Mapping[str, Sequence[Level]], used: set[tuple[str, str]]) -> float:
    """The share left at which to compare: the coarsest that is used, else the middle one."""
    levels = [level for own in slots.values() for level in own]
    shares = [level.share for level in levels if (level.slot, level.label) in used]
    return min(shares) if shares else median_low(sorted({level.share for level in levels}))


def _used(run: Run, kind: str) -> set[tuple[str, str]]:
    """The (slot, label) pairs of a kind in the recipes of the front; a removed block has the second label of
    its slot.
    """
    labels = run["sensitivity"]["labels"]
    used = set()
    for point in run["front"]:
        part = point["recipe"].get(kind) or {}
        if kind == "skip":
            used |= {(f"skip/{name}", labels.get(f"skip/{name}", ["0", "1"])[-1]) for name in part}
        else:
            used |= {(f"{kind}/{name}", str(value)) for name, value in part.items()}
    return used


def _row(level: Level) -> dict[str, Any]:
    return asdict(level) | {"kind": level.kind, "name": level.name, "words": level.words}


def _sentence(ranked: Sequence[Level]) -> str:
    """`Most sensitive: layer3.2.conv2 at 2 bits (KL 0.31), …; least: …`: the first of each kind, or three of
    an only kind.
    """
    first = {level.kind: level for level in reversed(ranked)}
    leading = [level for level in ranked if first[level.kind] is level] if len(first) > 1 else ranked[:3]
    told = ", ".join(
        f"{level.name} {level.words} (KL {kl_text(level.loss, measured=level.measured)})" for level in leading
    )
    least = ranked[-1]
    rest = (
        ""
        if least in leading
        else f"; least: {least.name} {least.words} (KL {kl_text(least.loss, measured=least.measured)})"
    )
    return f"Most sensitive: {told}{rest}."


def kl_text(loss: float, *, measured: bool = True) -> str:
    """Two significant digits without an exponent: `0.31`, `<0.0001`; `~0.31` of an estimate."""
    return ("" if measured else "~") + (f"{loss:.2g}" if loss >= 1e-4 else "<0.0001")
