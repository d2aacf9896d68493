"""Finding: what the doctor saw. And what the doctor of a runtime is given: see `doctor.py` in each folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping, Protocol, Sequence


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was seen, and, if it is not well, what mends it.

    `needed`: without it the target cannot be used at all.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False


class CheckedProfile(Protocol):
    """What a runtime's doctor may ask of a profile; profiles.Profile has it."""

    @property
    def name(self) -> str: ...
    @property
    def opset(self) -> int: ...
    @property
    def precisions(self) -> Sequence[str]: ...
    @property
    def int8_weights(self) -> str: ...
    @property
    def fused_operators(self) -> bool: ...
    @property
    def runtime_options(self) -> Mapping[str, str]: ...


class CheckedEnvironment(Protocol):
    """What a runtime's doctor may ask of a worker's environment; profiles.Environment has it."""

    @property
    def runtime(self) -> str: ...
    @property
    def runtime_version(self) -> str: ...
    @property
    def device(self) -> str | None: ...
    @property
    def flags(self) -> Sequence[str]: ...


class RuntimeDoctor(Protocol):
    """A runtime's module doctor.py."""

    def findings(self, profile: CheckedProfile, environment: CheckedEnvironment) -> Iterable[Finding]:
        """What is to be said of this runtime once its worker has answered. With a finding that is `needed`
        and not ok, nothing is measured.
        """
        ...
