"""Recipe: what to do to a model. Data only; its digest is its identity.

A precision says two things: how a layer's weights are stored (`BITS`), and in what it computes
(`executes_as`).

    stored in             computed in int8                     computed in float32
    8, 6, 4, 3, 2 bits    int8, int6, int4, int3, int2         w8, w6, w4, w3, w2
    8 bits                 dynamic8
    blocks of 4 bits                                           block4

The runtime expands what has other bits than it computes in when it loads the file. Only `block4`, linear
layers with 4 bits and one scale per block of 32, is expanded in every inference. `float16` and `fp8` (E4M3)
are floating-point weights and activations of 16 and 8 bits. `int8_24` and `float16_24` are sparse 2:4: of
four neighbouring input channels at most two weights are not zero.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..files import digest_of

Precision = Literal[
    "float32", "int8", "int6", "int4", "int3", "int2", "dynamic8", "block4", "float16", "fp8",
    "float16_24", "int8_24",
    "w8", "w6", "w4", "w3", "w2",
]  # fmt: skip
BITS: Mapping[Precision, int] = {
    **{"float32": 32, "int8": 8, "int6": 6, "int4": 4, "int3": 3, "int2": 2, "dynamic8": 8, "block4": 4},
    **{"float16": 16, "fp8": 8, "float16_24": 16, "int8_24": 8},
    **{"w8": 8, "w6": 6, "w4": 4, "w3": 3, "w2": 2},
}
BLOCK = 32  # weights that share a scale in block4
INTEGER: frozenset[Precision] = frozenset({"int8", "int6", "int4", "int3", "int2", "int8_24"})
DYNAMIC: frozenset[Precision] = frozenset({"dynamic8"})
STORED: frozenset[Precision] = frozenset({"w8", "w6", "w4", "w3", "w2"})
HALF: frozenset[Precision] = frozenset({"float16", "float16_24"})
SPARSE: frozenset[Precision] = frozenset({"float16_24", "int8_24"})
_OPTIONAL = ("fused", "used_rows", "resolution")  # fields of a recipe that JSON may lack


def executes_as(precision: Precision) -> Precision:
    """The precision in which a layer should compute, whether stored in fewer bits or sparse."""
    if precision in HALF:
        return "float16"
    if precision in STORED:
        return "float32"
    return "int8" if precision in INTEGER | DYNAMIC else precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Distillation from the original model, with the loss

        (1 - weight) · task loss + weight · distance of the answers

    where the distance of class scores is T² · KL(teacher_T ‖ student_T) (`student/distance.py`). With
    `hardness` h > 0 each sample's distance is weighted by its own size to the power h. `features` is the
    weight of the relative squared error of residual sums, which is added (Romero et al., "FitNets", 2015).
    Layers whose weights are integers are rounded in every step (`fake_quantize`).

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """

    steps: int
    learning_rate: float
    temperature: float
    weight: float
    hardness: float = 0.0
    features: float = 0.0

    def __post_init__(self) -> None:
        _require_count("recovery.steps", self.steps)
        for name in ("learning_rate", "temperature"):
            _require_number(f"recovery.{name}", getattr(self, name), above_zero=True)
        for name in ("weight", "hardness", "features"):
            _require_number(f"recovery.{name}", getattr(self, name))
        if self.weight > 1:
            raise ValueError(f"recovery.weight is {self.weight}, but must be at most 1")

    @classmethod
    def from_json(cls, value: Any) -> "Recovery":
        """The recovery that `asdict` described. ValueError names the place of what is wrong."""
        names = [one.name for one in fields(cls)]
        return cls(**_object("recovery", value, names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The channels that each coupled group keeps, the precision of each layer, and how the model is
    recovered.

    `keep` names only groups that lose channels, `precision` only layers that are not float32, `rank` only
    layers that become a product of two (in → rank → out). `skip` are the residual blocks to remove, sorted.
    `fused`: what the target has one kernel for (attention, normalizations) is one node in its file; the
    function is the same. `used_rows`: tables have only the rows that `Task.used_tokens` lists. `resolution`
    is the height and width to which the model first resizes its images.
    """

    keep: Mapping[str, int] = field(default_factory=dict)
    precision: Mapping[str, Precision] = field(default_factory=dict)
    rank: Mapping[str, int] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    fused: bool = False
    used_rows: bool = False
    resolution: tuple[int, int] | None = None
    recovery: Recovery | None = None

    def __post_init__(self) -> None:
        for place, counts in (("keep", self.keep), ("rank", self.rank)):
            for name, count in counts.items():
                _require_count(f"{place}[{name!r}]", count)
        for layer, precision in self.precision.items():
            if not isinstance(precision, str) or precision not in BITS:
                expected = f"one of {', '.join(BITS)}"
                raise ValueError(f"precision[{layer!r}] is {precision!r}, but must be {expected}")
        for index, block in enumerate(self.skip):
            if not isinstance(block, str):
                raise ValueError(f"skip[{index}] is {block!r}, but must be the name of a block")
        for name in ("fused", "used_rows"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be true or false")
        if self.resolution is not None:
            if not isinstance(self.resolution, tuple) or len(self.resolution) != 2:
                raise ValueError(f"resolution is {self.resolution!r}, but must be a height and a width")
            for index, size in enumerate(self.resolution):
                _require_count(f"resolution[{index}]", size)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal recipe. It has `fused`, `used_rows` and
        `resolution` only where they say something.
        """
        flags = {"fused": self.fused, "used_rows": self.used_rows}
        added: dict[str, Any] = {name: True for name, said in flags.items() if said}  # others keep digests
        if self.resolution is not None:
            added["resolution"] = list(self.resolution)
        return added | {
            "keep": dict(self.keep),
            "precision": dict(self.precision),
            "rank": dict(self.rank),
            "skip": sorted(self.skip),
            "recovery": None if self.recovery is None else asdict(self.recovery),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Recipe":
        """The recipe that `to_json` described.

        ValueError for what is missing, unknown, of another type or out of range; its text names the place.
        """
        names = [one.name for one in fields(cls) if one.name not in _OPTIONAL]
        if isinstance(value, dict):
            names += [name for name in _OPTIONAL if name in value]
        parts = _object("recipe", value, names)
        for place in ("keep", "precision", "rank"):
            if not isinstance(parts[place], dict):
                raise ValueError(f"{place} is {parts[place]!r}, but must be an object")
        if not isinstance(parts["skip"], list):
            raise ValueError(f"skip is {parts['skip']!r}, but must be a list of block names")
        if "resolution" in parts:
            if not isinstance(parts["resolution"], list):
                raise ValueError(f"resolution is {parts['resolution']!r}, but must be [height, width]")
            parts = {**parts, "resolution": tuple(parts["resolution"])}
        recovery = None if parts["recovery"] is None else Recovery.from_json(parts["recovery"])
        return cls(**{**parts, "skip": tuple(parts["skip"]), "recovery": recovery})

    @property
    def changes_layers(self) -> bool:
        """Whether any layer has other weights than in the original, precision and recovery aside."""
        return bool(self.keep or self.rank or self.skip)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return digest_of(self.to_json())


def _object(place: str, value: Any, names: list[str]) -> dict[str, Any]:
    """The value, if it is a JSON object with exactly these keys."""
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {value!r}, but must be an object with {', '.join(names)}")
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{place} has no {missing[0]!r}: it must have {', '.join(names)}")
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(f"{place} has an unknown key {unknown[0]!r}: it must have {', '.join(names)}")
    return value


def _require_count(place: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{place} is {value!r}, but must be a whole number of at least 1")


def _require_number(place: str, value: object, *, above_zero: bool = False) -> None:
    """A finite number, not negative, and not zero where it must be `above_zero`."""
    expected = "a finite number above 0" if above_zero else "a finite number of at least 0"
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{place} is {value!r}, but must be {expected}")
    if value < 0 or (above_zero and value == 0):
        raise ValueError(f"{place} is {value!r}, but must be {expected}")
