"""run.py of a bundle for LiteRT: it needs ai-edge-litert and numpy."""

from __future__ import annotations

from ..script import RunScript

SCRIPT = RunScript(
    imports="from ai_edge_litert.interpreter import Interpreter",
    opening="""\
threads = int(manifest["session"]["threads"])
model = str(here / "model.tflite")
""",
    running="""\
opened_for = {}


def run_shapes(feeds):
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    if str(shapes) not in opened_for:  # kernels are prepared for the shapes
        source = {"model_content" if isinstance(model, bytes) else "model_path": model}
        interpreter = Interpreter(num_threads=threads, **source)
        for details in interpreter.get_input_details():
            interpreter.resize_tensor_input(details["index"], shapes[details["name"]])
        interpreter.allocate_tensors()
        opened_for[str(shapes)] = interpreter
    interpreter = opened_for[str(shapes)]
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


return run_shapes
""",
)
