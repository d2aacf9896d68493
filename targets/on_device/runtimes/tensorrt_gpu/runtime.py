"""TensorRT on an NVIDIA GPU; engines.py has the code."""

from __future__ import annotations

from .engines import opened

_RUNTIME = opened("tensorrt")
ERRORS = _RUNTIME.ERRORS
version, facts, prepare = _RUNTIME.version, _RUNTIME.facts, _RUNTIME.prepare
open_session, peak_memory, details = _RUNTIME.open_session, _RUNTIME.peak_memory, _RUNTIME.details
optimized, profile = _RUNTIME.optimized, _RUNTIME.profile
