"""What `targets doctor` says of OpenVINO."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from ..int8_kernels import int8_finding

_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # the last is Arm's
_FALLS_BACK = "OpenVINO leaves float32 layers in float32 then: the same as target cpu-openvino"


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor."""
    yield int8_finding(environment)
    if profile.runtime_options.get("INFERENCE_PRECISION_HINT") == "bf16":
        yield _bfloat16(environment)


def _bfloat16(environment: CheckedEnvironment) -> Finding:
    flags = sorted(_BFLOAT16_FLAGS & set(environment.flags))
    if flags:
        return Finding(name="bfloat16 kernels", ok=True, detail=f"products in hardware: {', '.join(flags)}")
    detail = "the CPU has neither AMX nor AVX512_BF16"
    return Finding(name="bfloat16 kernels", ok=False, detail=detail, remedy=_FALLS_BACK)
