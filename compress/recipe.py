"""Recipe: what to do to a model. Data only; its digest is its identity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..files import digest_of

Precision = Literal["float32", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Distillation from the original model: loss = (1 - weight) · task loss + weight · T² · KL(teacher_T ‖ student_T).

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """

    steps: int
    learning_rate: float
    temperature: float
    weight: float

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0 or self.temperature <= 0 or not 0 <= self.weight <= 1:
            raise ValueError(f"steps ≥ 1, learning_rate > 0, temperature > 0 and 0 ≤ weight ≤ 1 are needed: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Per coupled channel group the channels kept, per layer a precision, and how the model is recovered.

    `keep` names only the groups that lose channels; `precision` only the layers that are not float32.
    """

    keep: Mapping[str, int] = field(default_factory=dict)
    precision: Mapping[str, Precision] = field(default_factory=dict)
    recovery: Recovery | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal recipe."""
        recovery = asdict(self.recovery) if self.recovery else None
        return {"keep": dict(self.keep), "precision": dict(self.precision), "recovery": recovery}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_json` described."""
        recovery = Recovery(**value["recovery"]) if value["recovery"] else None
        return cls(keep=value["keep"], precision=value["precision"], recovery=recovery)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return digest_of(self.to_json())
