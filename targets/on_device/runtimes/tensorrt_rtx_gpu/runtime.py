"""TensorRT for RTX on an NVIDIA RTX GPU; tensorrt_gpu/engines.py has the code."""

from __future__ import annotations

from ..tensorrt_gpu.engines import opened

_RUNTIME = opened("tensorrt_rtx", compiles=True)
ERRORS = _RUNTIME.ERRORS
version, facts, prepare = _RUNTIME.version, _RUNTIME.facts, _RUNTIME.prepare
open_session, peak_memory, details = _RUNTIME.open_session, _RUNTIME.peak_memory, _RUNTIME.details
optimized, profile = _RUNTIME.optimized, _RUNTIME.profile
