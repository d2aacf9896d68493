"""run.py of a bundle for ONNX Runtime: it needs onnxruntime and numpy."""

from __future__ import annotations

from ..script import RunScript

SCRIPT = RunScript(
    imports="import onnxruntime as ort",
    opening="""\
options = ort.SessionOptions()
options.intra_op_num_threads = manifest["session"]["threads"]
for key, value in manifest["session"]["options"].items():
    options.add_session_config_entry(key, value)
session = ort.InferenceSession(str(here / "model.onnx"), options, providers=["CPUExecutionProvider"])
""",
    running="""\
return lambda feeds: session.run(None, feeds)
""",
)
