"""What `targets doctor` says of TensorRT: which GPU it is, and whether this TensorRT reads our files."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from .eight import OPSET, lines_for


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor."""
    yield gpu(environment)
    yield from _unfit_files(profile, environment)


def gpu(environment: CheckedEnvironment) -> Finding:
    """The GPU's name, the library and its version."""
    detail = f"{environment.device}: {environment.runtime} {environment.runtime_version}"
    return Finding(name="GPU", ok=True, detail=detail)


def _unfit_files(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """Files that this TensorRT would read wrongly or refuse."""
    lines = lines_for(environment.runtime_version)
    integers = "int8" in profile.precisions and profile.int8_weights == "int8"
    if lines is None or (profile.opset <= OPSET and not integers):
        return
    reads = f"TensorRT 8 reads opset {OPSET} and int8 weights in float32"
    written = f"this target has opset {profile.opset}" + " and weights in int8" * integers
    yield Finding(
        name="files",
        ok=False,
        detail=f"{reads}; {written}",
        remedy=f"say {lines} in a TOML file that inherits from '{profile.name}', and use that target",
        needed=True,
    )
