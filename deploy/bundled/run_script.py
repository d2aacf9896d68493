"""run.py of a bundle: it runs the model with nothing but the runtime and numpy.

Whoever runs it has nothing of this package. So it checks by itself that the model is that of manifest.json,
and says what is wrong in one sentence, with exit code 2.
"""

import inspect
import textwrap

from ...results.records.manifest import model_name
from ...targets.runtimes import script_of
from ...tasks.sources.detection import geometry
from . import packed as packing

# What run.py is made of for every runtime; the runtime adds an import, how a model is opened and how it runs.
HEAD = '''\
"""Runs the model as manifest.json describes it.

    python run.py [INPUT ...] [--benchmark [SECONDS]] [--monitor LOG]

INPUT: one .npy file for each input of the model, prepared as the model takes it; or, for a model of images,
one image (which needs Pillow), prepared as manifest.json says. Without any: random inputs, batch 1.
--benchmark times them: wall-clock seconds of single inferences.

--monitor sums up in LOG what the model is given and answers: counts, no inputs.

In a program: `from run import predict`, then `predict(image)`. Before that, `from run import monitor`, then
`monitor("LOG.jsonl")` does what --monitor does.
"""
import argparse
import hashlib
import json
import lzma
import os
import sys
import time
import types
from pathlib import Path

import numpy as np
IMPORT


def shown(text):
    """The text with escapes in place of control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def refuse(message):
    """Ends the program with one sentence; a program that imports this one gets it as a ValueError."""
    if __name__ != "__main__":
        raise ValueError(shown(message))
    print(shown(" ".join(message.split())), file=sys.stderr)
    sys.exit(2)


here = Path(__file__).resolve().parent
try:
    manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
    inputs, digest = manifest["inputs"], str(manifest["model"]["sha256"])
    size = int(manifest["model"]["size_bytes"])
    names = [str(i["name"]) for i in inputs]
    dtypes = [np.dtype(i["dtype"]) for i in inputs]
    shapes = [list(i["shape"]) for i in inputs]
    outputs = [str(o["name"]) for o in manifest["outputs"]]
    how = dict(manifest["preprocessing"])
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
PREDICTING = '''\
opened, monitors = [], []


def run(feeds):
    """The outputs for the inputs, by name; the model is opened once."""
    if not opened:
        opened.append(open_model())
    if not monitors:
        return dict(zip(outputs, opened[0](feeds)))
    watching = monitors[0]
    began = time.perf_counter()
    answers = dict(zip(outputs, opened[0](feeds)))
    took = time.perf_counter() - began
    watching.took.append(took if len(feeds[names[0]]) == watching.batch else -took)
    if len(watching.took) >= watching.due:
        watching.look(feeds, answers)
    return answers


def monitor(log, **options):
    """From now on sums up in the file `log` what the model is given and answers, and returns the Monitor of
    monitor.py, whose `close()` writes at once. The options are its, such as every_s=60.
    """
    file = here / "monitor.py"
    module = types.ModuleType("monitor of " + here.name)
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
    monitors[:] = [module.Monitor(log, manifest, **options)]
    return monitors[0]


def checked(arrays, sources=None):
    """The arrays by input. A wrong number, rank, shape or type is refused in a sentence."""
    if len(arrays) != len(names):
        plural = "" if len(names) == 1 else "s"
        refuse(f"The model has {len(names)} input{plural} ({', '.join(names)}), not {len(arrays)}.")
    feeds, free = {}, {}
    for name, dtype, shape, array, source in zip(names, dtypes, shapes, arrays, sources or arrays):
        array = np.asarray(array)
        fits = len(shape) == array.ndim
        for wanted, there in zip(shape, array.shape):
            known = there if wanted == "dynamic" else free.setdefault(wanted, there)
            fits = fits and there == (wanted if isinstance(wanted, int) else known)
        if not fits or not (array.dtype == dtype or np.can_cast(array.dtype, dtype, "same_kind")):
            there = f"{list(array.shape)} of {array.dtype}"
            file = f"{source}: " if sources else ""
            refuse(f"{file}input {name} takes [{', '.join(map(str, shape))}] of {dtype}, not {there}.")
        feeds[name] = np.ascontiguousarray(array, dtype)
    return feeds


def prepared(image):
    """A batch of one for an image, height x width (x channels): resized, cropped and scaled as manifest.json
    says.
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    height, width = how.get("size", image.shape[:2])
    if image.shape[:2] != (height, width):
        image = resized(image, height, width)
    pixels = image.astype(np.float32) * np.float32(how.get("scale", 1)) + np.float32(how.get("offset", 0))
    pixels = (pixels - np.float32(how.get("mean", 0))) / np.float32(how.get("std", 1))
    pixels = np.moveaxis(pixels, -1, 0) if how.get("layout") == "NCHW" else pixels
    return pixels[None].astype(dtypes[0])


def resized(image, height, width):
    """An image of bytes: the shorter side resized, the center cropped."""
    if image.dtype != np.uint8:
        pixels = f"{image.shape[0]} x {image.shape[1]} pixels of {image.dtype}"
        refuse(f"The image has {pixels}: give uint8, which can be resized, or {height} x {width} pixels.")
    pil = pillow()
    one = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    kind = getattr(pil.Resampling, str(how.get("interpolation", "bilinear")).upper(), pil.Resampling.BILINEAR)
    scale = int(min(height, width) / float(how.get("crop_pct", 1))) / min(one.size)
    wide, high = max(width, round(one.width * scale)), max(height, round(one.height * scale))
    x, y = (wide - width) // 2, (high - height) // 2
    cropped = np.asarray(one.resize((wide, high), kind).crop((x, y, x + width, y + height)))
    return cropped[..., None] if cropped.ndim == 2 else cropped


def pillow():
    try:
        from PIL import Image
    except ImportError:
        refuse("Images need Pillow (pip install pillow), or give .npy files of prepared inputs.")
    return Image


def predict(*raw):
    """The outputs by name: of one image, which is prepared, or of an array for each input, as the model
    takes it.
    """
    image = len(raw) == 1 and how.get("layout") in ("NCHW", "NHWC") and np.ndim(raw[0]) in (2, 3)
    return run(checked([prepared(raw[0])] if image else raw))


def classes_of(array):
    """The name of the class with the largest value for each sample; None where the task has no names."""
    listed = how.get("classes")
    if not isinstance(listed, list) or array.ndim != 2 or array.shape[1] != len(listed):
        return None
    return [(str(listed[row.argmax()]), float(row.max())) for row in array]


def benchmark(feeds, seconds):
    """Prints wall-clock times of single inferences, and how far the machine drifts meanwhile."""
    for _ in range(3):
        run(feeds)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 30 or time.perf_counter() < end:
        began = time.perf_counter()
        run(feeds)
        times.append(time.perf_counter() - began)
    p50, p90, p99 = np.percentile(times, [50, 90, 99]) * 1e3
    parts = [np.median(part) * 1e3 for part in np.array_split(times, 10)]
    print(f"{len(times)} inferences of batch {len(next(iter(feeds.values())))}, wall-clock")
    print(f"p50 {p50:.4g} ms, p90 {p90:.4g} ms, p99 {p99:.4g} ms")
    print(f"medians of ten parts: {min(parts):.4g} to {max(parts):.4g} ms (the machine's drift)")


def read(file):
    """The array of an .npy file, or an image."""
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False)
        if len(names) > 1 or how.get("layout") not in ("NCHW", "NHWC"):
            refuse(f"{file} is no .npy file, and the manifest does not say how an image becomes an input.")
        gray = str(how.get("channels", "RGB")).lower() in ("gray", "grey", "l")
        return prepared(np.asarray(pillow().open(file).convert("L" if gray else "RGB")))
    except (OSError, ValueError, EOFError) as error:
        refuse(f"{file} cannot be read ({error}): give .npy files, or an image to a model of images.")


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="a .npy file, or an image")
    timing = {"nargs": "?", "type": float, "const": 3.0, "metavar": "SECONDS"}
    parser.add_argument("--benchmark", help="time the model, for 3 s if not given", **timing)
    parser.add_argument("--monitor", metavar="LOG", help="sum up in this file what the model does")
    asked = parser.parse_args()
    if asked.inputs and len(asked.inputs) != len(names):
        refuse(f"The model has the inputs {', '.join(names)}: give {len(names)} files, or none.")
    random = np.random.default_rng(0)
    sizes = [[n if isinstance(n, int) else 1 for n in shape] for shape in shapes]
    arrays = [read(file) for file in asked.inputs] or [
        random.random(shape).astype(dtype) for shape, dtype in zip(sizes, dtypes)
    ]
    feeds = checked(arrays, [str(file) for file in asked.inputs])
    if asked.monitor:
        monitor(asked.monitor)
    if asked.benchmark is not None:
        return benchmark(feeds, asked.benchmark)
    for name, value in run(feeds).items():
        print(shown(name), value.shape, value.dtype, value, sep="\\n")
        for label, score in classes_of(value) or []:
            print(f"class: {shown(label)} ({score:.4g})")


'''
# For a model of boxes: an image is not cropped, and what it shows is told in its own pixels.
CROPPED, WHOLE_IMAGE = "resized(image, height, width)", "in_square(image, height)"
SHOWN = """\
        for label, score in classes_of(value) or []:
            print(f"class: {shown(label)} ({score:.4g})")
"""
SHOWN_BOXES = """\
        picture = asked.inputs and asked.inputs[0].suffix.lower() != ".npy"
        for row in objects_of(value, *(pillow().open(asked.inputs[0]).size if picture else ())):
            print(row_text(row))
"""
DETECTING = '''\
def in_square(image, size):
    """An image of bytes, as a whole in a square."""
    if image.dtype != np.uint8:
        refuse(f"The image has pixels of {image.dtype}: give uint8, or {size} x {size} pixels.")
    one = pillow().fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return letterboxed(one, size, int(how["fill"]))


def objects_of(array, width=None, height=None, least=0.25):
    """The objects in the answer to one image, the most certain first: the name of the class, the probability,
    left, top, right and bottom; in pixels of the image if its size is given, else of the input.
    """
    boxes, scores, classes = kept_boxes(np.asarray(array[0], np.float32), least=least)
    if width is not None:
        wide, high, left, top = fitted(width, height, int(how["size"][0]))
        boxes = (boxes - (left, top, left, top)) * np.tile((width / wide, height / high), 2)
        boxes = boxes.clip(0, (width, height, width, height))
    listed = [str(name) for name in how["classes"]]
    return [(listed[c], float(s), *b.tolist()) for b, s, c in zip(boxes, scores, classes)]


def detect(image):
    """The objects in an image (height x width x 3 of uint8), in its pixels, as objects_of gives them."""
    (answer,) = predict(image).values()
    return objects_of(answer, image.shape[1], image.shape[0])


def row_text(row):
    name, score, *sides = row
    return f"object: {shown(name)} ({score:.2f}) " + " ".join(f"{side:.1f}" for side in sides)


'''
END = """\
if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, as in `run.py | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        refuse(f"The model cannot be run ({error}): give inputs, options and a runtime as in manifest.json.")
"""
OPENING = '''\
def open_model():
    """A function from the inputs by name to the outputs in their order."""
'''


def run_script(runtime: str, *, packed: bool, detector: bool = False) -> str:
    """The content of run.py; of a packed model with `unpack` in it, of a `detector` with what tells objects.

    The task of a detector says so by the entry `boxes` of its preprocessing.
    """
    script = script_of(runtime)
    name = model_name(runtime)
    opening, model = script.opening, f'str(here / "{name}")'
    if packed:
        sources = [inspect.getsource(part) for part in (packing.unpack, packing.expand)]
        parts = "\n\n".join([*sources, RESTORED]) + script.restoring
        opening = opening.replace(model, f'{script.restore}(here / "model.packed")')
    else:
        parts = WHOLE
        opening = opening.replace(model, f'str(whole(here / "{name}"))')
    body = textwrap.indent("".join(part.rstrip("\n") + "\n" for part in (opening, script.running)), "    ")
    predicting = _of_detector() if detector else PREDICTING
    return f"{HEAD.replace('IMPORT', script.imports)}{parts}{OPENING}{body}\n\n{predicting}{END}"


def _of_detector() -> str:
    parts = (geometry.fitted, geometry.letterboxed, geometry.kept_boxes, geometry.corners, geometry.overlaps)
    sources = "\n\n".join(inspect.getsource(part) for part in parts)
    changed = PREDICTING.replace(CROPPED, WHOLE_IMAGE, 1).replace(SHOWN, SHOWN_BOXES)
    return f"{sources}\n\n{DETECTING}{changed}"
