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
compiled = {}


def run_shapes(feeds):
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    if str(shapes) not in compiled:  # kernels for fixed shapes are faster
        model.reshape(shapes)
        compiled[str(shapes)] = core.compile_model(model, "CPU", options)
    return list(compiled[str(shapes)](feeds).values())


return run_shapes
""",
)
