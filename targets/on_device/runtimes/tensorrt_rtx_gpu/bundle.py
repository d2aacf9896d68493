"""run.py of a bundle for TensorRT for RTX: that of TensorRT with this folder beside it."""

from __future__ import annotations

from ..tensorrt_gpu.bundle import SCRIPT as TENSORRT

SCRIPT = TENSORRT._replace(files=(*TENSORRT.files, "runtimes/tensorrt_rtx_gpu/*"))
