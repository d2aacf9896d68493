"""run.py of a bundle for TensorRT. An engine is bound to its GPU, so that run.py builds it where it runs.

The code that built and ran it in the measurement is copied beside run.py: the engine is built in the same
way, and kept in the same cache. The first run for a batch size takes seconds to minutes.
"""

from __future__ import annotations

from ..script import RunScript

SCRIPT = RunScript(
    imports="""\

sys.path.insert(0, str(Path(__file__).resolve().parent))
from on_device.runtime import RefusedError
from on_device.runtimes.listed import load_runtime""",
    opening="""\
options = {"runtime_options": manifest["session"]["options"]}
model = str(here / "model.onnx")
""",
    running="""\
try:
    runtime = load_runtime(manifest["session"]["runtime"])
except RefusedError as refusal:
    refuse(str(refusal))
sessions = {}


def run_shapes(feeds):
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    try:
        if str(shapes) not in sessions:
            sessions[str(shapes)] = runtime.open_session(model, {**options, "shapes": shapes})
        return sessions[str(shapes)].run(feeds)
    except (RefusedError, *runtime.ERRORS) as error:
        refuse(str(error))


return run_shapes
""",
    restore="restored_path",
    restoring='''\
def restored_path(file):
    """The path of the restored model, beside the packed one: TensorRT reads files."""
    path = file.with_suffix(".onnx")
    path.write_bytes(restored(file))
    return str(path)


''',
    files=(
        "__init__.py",
        "inputs.py",
        "runtime.py",
        "runtimes/*.py",
        "runtimes/*.json",
        "runtimes/tensorrt_gpu/*",
    ),
)
