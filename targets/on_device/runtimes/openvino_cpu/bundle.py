"""run.py of a bundle for OpenVINO: it needs openvino and numpy."""

from __future__ import annotations

from ..script import RunScript

SCRIPT = RunScript(
    imports="""\

sys.modules["openvino_telemetry"] = None  # importing openvino would send a message to its maker
import openvino as ov""",
    opening="""\
options = {**manifest["session"]["options"], "INFERENCE_NUM_THREADS": str(manifest["session"]["threads"])}
core = ov.Core()
model = core.read_model(str(here / "model.onnx"))
""",
    running="""\
# kernels for known shapes are faster
model.reshape({name: list(array.shape) for name, array in feeds.items()})
results = core.compile_model(model, "CPU", options)(feeds)
for output, value in results.items():
    print(shown(output.any_name), value.shape, value.dtype, value, sep="\\n")
""",
)
