"""OriginalOn: the original on a target; which of them compete for the same device."""

from dataclasses import dataclass

from ...profiles import Environment
from .facts import RunTarget
from .point import Measured

_DEVICE = ("machine", "device", "cpu_model", "flags", "power_mode")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalOn:
    """The original on a target of a run."""

    target: RunTarget
    measured: Measured

    @property
    def in_float32(self) -> bool:
        """Whether no layer is known to compute in less than float32 there."""
        return all(row.precision_executed in (None, "float32") for row in self.measured.layers)

    def competes_on(self, target: RunTarget) -> bool:
        """Whether who uses this target could use the original here instead: another runtime of the same
        device, with as many threads and the same inference, that computes in float32.
        """
        other = self.target
        alike = (other.threads, other.batch, other.sizes) == (target.threads, target.batch, target.sizes)
        return (
            other.name != target.name
            and alike
            and self.in_float32
            and _one_device(other.environment, target.environment)
        )


def _one_device(first: Environment | None, second: Environment | None) -> bool:
    """Whether both are known, and the same machine and processor. Where the system has no identity, equal
    processors with equal systems pass for one: a comparison too many takes nothing slower.
    """
    if first is None or second is None or first.emulated or second.emulated:
        return False
    same = all(getattr(first, name) == getattr(second, name) for name in _DEVICE)
    return same and (first.machine is not None or first.os == second.os)
