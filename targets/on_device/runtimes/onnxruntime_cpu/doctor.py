"""What `targets doctor` says of ONNX Runtime."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from ..int8_kernels import int8_finding

EXACT_SUMS = "session.x64quantprecision"
FUSING_SINCE = (1, 23)  # has kernels for Attention and RMSNormalization


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor."""
    yield int8_finding(environment, exact_sums=profile.runtime_options.get(EXACT_SUMS) == "1")
    if profile.fused_operators and _numbers(environment.runtime_version) < FUSING_SINCE:
        yield Finding(
            name="fused operators",
            ok=False,
            detail=f"onnxruntime {environment.runtime_version} has no kernels for whole attentions",
            remedy="candidates with them fail: pip install 'onnxruntime>=1.23' there, or set "
            "fused_operators = false in the profile",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; 0 for what is none."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
