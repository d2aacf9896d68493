"""Recipe: what to do to a model. Data only; its digest is its identity.

Precisions: `int8` weights and activations; `int6` to `int2` store the weight in fewer bits, which the runtime
expands when it loads, so that the layer computes as in int8; `block4` is a linear layer with float32
activations whose weights have 4 bits and one scale per block of 32. `float16` and `fp8` (E4M3) have weights
and activations of 16 and 8 bits with an exponent. `int8_24` and `float16_24` are sparse 2:4: of four
neighbouring input channels each weight has two at most.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..files import digest_of

Precision = Literal[
    "float32", "int8", "int6", "int4", "int3", "int2", "block4", "float16", "fp8", "float16_24", "int8_24"
]
BITS: Mapping[Precision, int] = {
    **{"float32": 32, "int8": 8, "int6": 6, "int4": 4, "int3": 3, "int2": 2, "block4": 4},
    **{"float16": 16, "fp8": 8, "float16_24": 16, "int8_24": 8},
}
BLOCK = 32  # weights that share a scale in block4
INTEGER: frozenset[Precision] = frozenset({"int8", "int6", "int4", "int3", "int2", "int8_24"})
HALF: frozenset[Precision] = frozenset({"float16", "float16_24"})
SPARSE: frozenset[Precision] = frozenset({"float16_24", "int8_24"})


def executes_as(precision: Precision) -> Precision:
    """What a layer of this precision should compute in: weights stored in fewer bits, or sparse, run by the
    kernels of these.
    """
    if precision in HALF:
        return "float16"
    return "int8" if precision in INTEGER else precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Distillation from the original model: loss = (1 - weight) · task loss + weight · T² · KL(teacher_T ‖
    student_T).

    With `hardness` h > 0 each sample's KL counts by its own size to the power h. `features` weighs the
    relative squared error of residual sums, which is added (Romero et al., "FitNets", 2015). Layers with
    fewer than 8 bits are rounded in every step (`fake_quantize`).

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """

    steps: int
    learning_rate: float
    temperature: float
    weight: float
    hardness: float = 0.0
    features: float = 0.0

    def __post_init__(self) -> None:
        positive = self.steps >= 1 and self.learning_rate > 0 and self.temperature > 0
        if not positive or not 0 <= self.weight <= 1 or self.hardness < 0 or self.features < 0:
            needed = (
                "steps ≥ 1, learning_rate > 0, temperature > 0, 0 ≤ weight ≤ 1, hardness ≥ 0 and features ≥ 0"
            )
            raise ValueError(f"{needed} are needed: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Per coupled channel group the channels kept, per layer a precision, and how the model is recovered.

    `keep` names only the groups that lose channels; `precision` only the layers that are not float32; `rank`
    only the layers that become a product of two (in → rank → out); `skip` the residual blocks that are
    removed, sorted.
    """

    keep: Mapping[str, int] = field(default_factory=dict)
    precision: Mapping[str, Precision] = field(default_factory=dict)
    rank: Mapping[str, int] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    recovery: Recovery | None = None

    def __post_init__(self) -> None:
        for layer, found in self.precision.items():
            if found not in BITS:
                raise ValueError(f"{layer} cannot be {found!r}: the precisions are {', '.join(BITS)}")

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal recipe."""
        recovery = asdict(self.recovery) if self.recovery else None
        rank, skip = dict(self.rank), sorted(self.skip)
        return {
            "keep": dict(self.keep),
            "precision": dict(self.precision),
            "rank": rank,
            "skip": skip,
            "recovery": recovery,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_json` described."""
        recovery = Recovery(**value["recovery"]) if value["recovery"] else None
        rank, skip = value.get("rank", {}), tuple(value.get("skip", ()))
        return cls(keep=value["keep"], precision=value["precision"], rank=rank, skip=skip, recovery=recovery)

    @property
    def changes_layers(self) -> bool:
        """Whether any layer has other weights than in the original, precision and recovery aside."""
        return bool(self.keep or self.rank or self.skip)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return digest_of(self.to_json())
