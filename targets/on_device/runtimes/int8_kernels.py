"""Whether the CPU multiplies 8-bit integers fast: the same for every runtime on a CPU."""

from __future__ import annotations

from .finding import CheckedEnvironment, Finding

_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
_SLOW = "expect little or no speed from int8 here; it still saves size"
_EXACT = (
    "int8 sums are exact all the same, which takes time: expect little speed from int8 here; "
    "it still saves size"
)
_SATURATES = (
    "int8 sums saturate here, which costs quality; those of 6 bits do not, "
    "nor do those of target cpu-avx2, slower"
)


def int8_finding(environment: CheckedEnvironment, *, exact_sums: bool = False) -> Finding:
    """The finding on dot products of 8-bit integers; `exact_sums`: the profile asks for sums that cannot
    saturate.
    """
    flags = sorted(_FLAGS & set(environment.flags))
    if flags:
        return Finding(name="int8 kernels", ok=True, detail=f"dot products in hardware: {', '.join(flags)}")
    remedy = _SATURATES if "avx2" in environment.flags else _SLOW
    return Finding(
        name="int8 kernels",
        ok=False,
        detail="the CPU has no int8 dot products",
        remedy=_EXACT if exact_sums else remedy,
    )
