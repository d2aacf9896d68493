"""data.yaml as ultralytics reads it: folders (or lists) of images, for each image a file of labels.

    path: ../shapes          # optional; from the folder of this file
    train: images/train      # a folder, a list of folders, or a .txt file that lists images
    val: images/val
    test: images/test        # optional: else half of val is for the test
    names: [circle, square]  # or {0: circle, 1: square}

The labels of images/val/7.jpg are in labels/val/7.txt, one object a line: the index of its class, then the
center and the size as shares of the image, or the corners of a polygon. No file: no objects. A `download` in
the file is ignored.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ....errors import TaskError
from ...image_folder import SUFFIXES
from ..extra_library import extra_library
from .annotations import Annotated, AnnotatedImage, Annotations, Box, existing, halved, require_box

Described: TypeAlias = Mapping[str, Any]  # the content of data.yaml

_LONGEST = 1 << 20  # bytes of data.yaml
_WANTED = "train, val and names are needed, as ultralytics reads them"


def yolo_annotations(path: Path, seed: int) -> Annotations:
    """What a data.yaml names. TaskError names the file, the line and what is wrong."""
    described = _described(path)
    names = _names(path, described.get("names"))
    train, validation = (_split(path, described, key, names) for key in ("train", "val"))
    if described.get("test"):
        test = _split(path, described, "test", names)
    else:
        validation, test = halved(validation, seed, str(path))
    return Annotations(names=names, splits=(train, validation, test))


def _described(path: Path) -> Described:
    yaml = extra_library("yaml", task=f"Reading {path}", extra="ultralytics")
    try:
        if path.stat().st_size > _LONGEST:
            raise TaskError(f"{path} has more than {_LONGEST >> 20} MB: give the data.yaml of a data set.")
        described = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise TaskError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(described, dict):
        raise TaskError(f"{path} describes no data: {_WANTED}.")
    for key in ("train", "val", "names"):
        if not described.get(key):
            raise TaskError(f"{path} has no {key!r}: {_WANTED}.")
    return described


def _names(path: Path, names: Any) -> tuple[str, ...]:
    """The names by index, from a list or from a mapping of 0, 1, … to names."""
    if isinstance(names, Mapping):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise TaskError(f"{path}: names are not numbered 0 to {len(names) - 1} without gaps.")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise TaskError(f"{path}: names is no list of names, and no mapping of 0, 1, … to names.")
    return tuple(map(str, names))


def _split(path: Path, described: Described, key: str, names: tuple[str, ...]) -> Annotated:
    given = described[key]
    places = given if isinstance(given, list) else [given]
    images = [image for place in places for image in _images(path, described, key, str(place))]
    if not images:
        raise TaskError(f"{path}: {key} ({', '.join(map(str, places))}) has no images.")
    return [AnnotatedImage(path=image, boxes=tuple(_boxes(image, len(names)))) for image in images]


def _images(path: Path, described: Described, key: str, place: str) -> list[Path]:
    """The images of a folder, or those that a .txt file lists (from its own folder on)."""
    roots = [path.parent / str(described.get("path") or "."), path.parent]
    places = [place, place.removeprefix("../")]  # Roboflow writes ../train/images and means train/images
    candidates = [root / one for root in roots for one in places]
    if Path(place).is_absolute():
        candidates = [Path(place)]
    found = existing(candidates, lambda: f"{path}: there is no {key} {place!r} (looked for {candidates[0]}).")
    if found.is_dir():
        return sorted(file for file in found.rglob("*") if file.suffix.lower() in SUFFIXES)
    try:
        lines = found.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise TaskError(f"{found} cannot be read as a list of images: {error}.") from error
    return [found.parent / line.strip() for line in lines if line.strip()]


def _boxes(image: Path, classes: int) -> Iterator[Box]:
    labels = _labels(image)
    if not labels.is_file():
        return
    try:
        lines = labels.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise TaskError(f"{labels} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _box(f"{labels}, line {number},", line, classes)


def _labels(image: Path) -> Path:
    """The file of labels: the last folder `images` of the path is `labels`; without one it is beside."""
    parts = list(image.parts)
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _box(where: str, line: str, classes: int) -> Box:
    try:
        label, *values = map(float, line.split())
    except ValueError:
        raise TaskError(f"{where} is no list of numbers: {line[:60]!r}.") from None
    if not label.is_integer() or not all(map(math.isfinite, values)):
        raise TaskError(f"{where} has no whole number as its class, or no finite numbers: {line[:60]!r}.")
    if len(values) == 4:
        return require_box(int(label), values, classes, where)
    if len(values) < 6 or len(values) % 2:
        raise TaskError(f"{where} has {len(values)} numbers behind the class: 4 for a box, or a polygon.")
    left, right, top, bottom = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return require_box(int(label), shares, classes, where)
