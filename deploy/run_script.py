"""run.py of a bundle: it runs the model with nothing but the runtime and numpy.

Whoever runs it has nothing of this package. So it checks by itself that the model is that of manifest.json,
and says what is wrong in one sentence, with exit code 2.
"""

import inspect
import textwrap

from ..targets.runtimes import script_of
from . import packed as packing

# What run.py is made of for every runtime; the runtime adds an import, how a model is opened and how it runs.
HEAD = '''\
"""Runs the model as manifest.json describes it: python run.py [INPUT.npy ...]

Without files: random inputs, batch 1.
"""
import hashlib
import json
import lzma
import sys
from pathlib import Path

import numpy as np
IMPORT


def shown(text):
    """The text with escapes in place of control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def refuse(message):
    """Ends the program with one sentence."""
    print(shown(" ".join(message.split())), file=sys.stderr)
    sys.exit(2)


here = Path(__file__).resolve().parent
try:
    manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
    inputs, digest = manifest["inputs"], str(manifest["model"]["sha256"])
    size = int(manifest["model"]["size_bytes"])
    names = [str(i["name"]) for i in inputs]
    dtypes = [np.dtype(i["dtype"]) for i in inputs]
    shapes = [[n if isinstance(n, int) else 1 for n in i["shape"]] for i in inputs]
except Exception as error:
    refuse(f"{here / 'manifest.json'} cannot be read ({error!r}): copy the bundle again.")


'''
WHOLE = '''\
def whole(file):
    """The file's bytes, which are those that manifest.json describes."""
    if file.stat().st_size != size or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        refuse(f"{file} is not the model of manifest.json, its SHA-256 differs: copy the bundle again.")
    return file


'''
RESTORED = '''\
def restored(file):
    """The packed model's bytes, which are those that manifest.json describes."""
    try:
        model = unpack(file.read_bytes(), size)
    except ValueError as error:
        refuse(f"{file} is damaged, its model cannot be restored ({error}): copy the bundle again.")
    if hashlib.sha256(model).hexdigest() != digest:
        refuse(f"{file} is not the model of manifest.json, its SHA-256 differs: copy the bundle again.")
    return model


'''
INPUTS = """\
files, random = sys.argv[1:], np.random.default_rng(0)
if files and len(files) != len(inputs):
    refuse(f"The model has {len(inputs)} inputs ({', '.join(names)}): give as many .npy files.")
arrays = [np.load(file) for file in files] or [random.random(shape) for shape in shapes]
feeds = {name: array.astype(dtype) for name, array, dtype in zip(names, arrays, dtypes)}
"""
END = """

try:
    main()
except Exception as error:
    refuse(f"The model cannot be run ({error}): give inputs, options and a runtime as in manifest.json.")
"""


def run_script(runtime: str, *, packed: bool) -> str:
    """The content of run.py; for a packed model with `unpack` in it."""
    script = script_of(runtime)
    opening, model = script.opening, 'str(here / "model.onnx")'
    if packed:
        sources = [inspect.getsource(part) for part in (packing.unpack, packing.expand)]
        parts = "\n\n".join([*sources, RESTORED]) + script.restoring
        opening = opening.replace(model, f'{script.restore}(here / "model.packed")')
    else:
        parts = WHOLE
        opening = opening.replace(model, 'str(whole(here / "model.onnx"))')
    parts_of_main = (opening, INPUTS, script.running)
    body = textwrap.indent("".join(part.rstrip("\n") + "\n" for part in parts_of_main), "    ").rstrip("\n")
    return f"{HEAD.replace('IMPORT', script.imports)}{parts}def main():\n{body}{END}"
