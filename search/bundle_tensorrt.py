"""What a bundle for TensorRT has beside its model: an engine is bound to its GPU, so that run.py builds it where it runs.

The code that built and ran it in the measurement is copied, so that it is built in the same way, and kept in the same cache.
"""

import shutil
from pathlib import Path

from ..targets.transport import WORKER

FOLDER = "on_device"
RUN_SCRIPT = '''\
"""Runs the model as it was measured: python run.py [INPUT.npy ...]  (without files: random inputs, batch 1).

The first run for a batch size builds an engine, which takes seconds to minutes, and keeps it in ~/.cache/autocompress/tensorrt.
"""
import json
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
from on_device.runtime import RefusedError, load_runtime

manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
options = {"runtime_options": manifest["session"]["options"]}
model = str(here / "model.onnx")

inputs, files, random = manifest["inputs"], sys.argv[1:], np.random.default_rng(0)
if files and len(files) != len(inputs):
    sys.exit(f"The model has {len(inputs)} inputs ({', '.join(i['name'] for i in inputs)}): give as many .npy files.")
shapes = [[size if isinstance(size, int) else 1 for size in i["shape"]] for i in inputs]
arrays = [np.load(file) for file in files] or [random.random(shape) for shape in shapes]
feeds = {i["name"]: array.astype(i["dtype"]) for i, array in zip(inputs, arrays)}
try:
    runtime = load_runtime(manifest["session"]["runtime"])
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    session = runtime.open_session(model, {**options, "shapes": shapes})
except RefusedError as refusal:
    sys.exit(str(refusal))
for output, value in zip(manifest["outputs"], session.run(feeds)):
    print(output["name"], value.shape, value.dtype, value, sep="\\n")
'''
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
