"""Environment: where a measurement was taken, and what tells two environments apart."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from ..files import digest_of

CIRCUMSTANCES = frozenset({"load_1m", "clock_mhz"})  # fields that say nothing of which environment it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Machine and software of a measurement, as the worker on the device reports them.

    `flags` are the CPU features that decide which kernels run. `cores` are those the worker is pinned to.
    `load_1m` (the 1-minute load average) and `clock_mhz` change from minute to minute: kept, not
    fingerprinted. `device` is the board's or the GPU's model, `machine` the SHA-256 of the system's own
    identity (/etc/machine-id, and the serial number where a board tells it), `power_mode` that of a board
    that has several, `emulated` whether another processor is being imitated: such latencies mean nothing.
    """

    cpu_model: str
    flags: tuple[str, ...]
    governor: str | None
    threads: int
    cores: tuple[int, ...]
    runtime: str
    runtime_version: str
    python_version: str
    os: str
    load_1m: float | None = None
    clock_mhz: float | None = None
    device: str | None = None
    machine: str | None = None
    power_mode: str | None = None
    emulated: bool = False

    @property
    def saturates(self) -> bool:
        """Whether int8 kernels add pairs of products in 16 bits, which overflows: x86 without VNNI
        (vpmaddubsw).
        """
        return "avx2" in self.flags and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(self.flags)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything but the circumstances (load, clock)."""
        return digest_of({key: value for key, value in asdict(self).items() if key not in CIRCUMSTANCES})

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal environment."""
        return {**asdict(self), "flags": list(self.flags), "cores": list(self.cores)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Environment":
        """The environment that `to_json` described; ValueError when a key is unknown, or one without a
        default missing.
        """
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if unknown := (set(value) - {field.name for field in fields(cls)}) | (required - set(value)):
            raise ValueError(f"An environment does not fit this version: {', '.join(sorted(unknown))}")
        return cls(**{**value, "flags": tuple(value["flags"]), "cores": tuple(value["cores"])})

    def differences(self, other: "Environment") -> dict[str, tuple[Any, Any]]:
        """By field name, (own value, other's value) of the fingerprinted fields that differ."""
        names = [field.name for field in fields(self) if field.name not in CIRCUMSTANCES]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if mine != theirs}
