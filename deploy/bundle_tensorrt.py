"""What a bundle for TensorRT has beside its model: an engine is bound to its GPU, so that run.py builds it
where it runs.

The code that built and ran it in the measurement is copied, so that it is built in the same way, and kept in
the same cache.
"""

import shutil
from pathlib import Path

from ..targets.transport import WORKER

FOLDER = "on_device"
# The parts of run.py: see bundle.RUNNERS. The first run for a batch size builds an engine: seconds to
# minutes.
IMPORTS = """\

sys.path.insert(0, str(Path(__file__).resolve().parent))
from on_device.runtime import RefusedError, load_runtime"""
OPENING = """\
options = {"runtime_options": manifest["session"]["options"]}
model = str(here / "model.onnx")
"""
RUNNING = """\
try:
    runtime = load_runtime(manifest["session"]["runtime"])
except RefusedError as refusal:
    sys.exit(str(refusal))
try:
    session = runtime.open_session(model, {**options, "shapes": {name: list(array.shape) for name, array in feeds.items()}})
    outputs = session.run(feeds)
except (RefusedError, *runtime.ERRORS) as error:
    sys.exit(str(error))
for output, value in zip(manifest["outputs"], outputs):
    print(output["name"], value.shape, value.dtype, value, sep="\\n")
"""
# Behind `restored`: TensorRT reads files.
RESTORING_PATH = '''\
def restored_path(file):
    """The path of the restored model, beside the packed one."""
    path = file.with_suffix(".onnx")
    path.write_bytes(restored(file))
    return str(path)


'''


def copy_runtime(folder: Path, runtime: str) -> None:
    """Copies what run.py imports into the bundle: the runtime's part of what measures on a device."""
    (folder / FOLDER).mkdir()
    names = ["__init__", "cuda", "inputs", "runtime", f"runtime_{runtime.replace('-', '_')}"]
    for path in [*(WORKER / f"{name}.py" for name in names), *sorted(WORKER.glob("tensorrt_*.py"))]:
        shutil.copyfile(path, folder / FOLDER / path.name)
