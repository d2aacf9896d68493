"""JSON files as COCO's: images, categories and annotations with `bbox` (left, top, width, height in pixels).

One file is split at random. A folder has one for each split, where COCO itself, Roboflow and others put them:

    train.json                      or annotations/train.json
    annotations/instances_train2017.json
    train/_annotations.coco.json

and likewise `val`, `valid` or `validation`, and `test`; without test, half of the validation is for it.
Annotations of crowds (`iscrowd`) are left out.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from ....errors import TaskError
from .annotations import Annotated, AnnotatedImage, Annotations, Box, existing, halved, parted, require_box

Entry: TypeAlias = Mapping[str, Any]  # an object of a JSON file

_ALIASES = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
_PATTERNS = (
    "{}.json",
    "annotations/{}.json",
    "annotations/instances_{}.json",
    "annotations/instances_{}20*.json",
    "{}/_annotations.coco.json",
    "{}/annotations.json",
)
_LARGEST = 1 << 30  # bytes of a file
_FORM = "COCO's form is needed: images, categories and annotations"


def coco_annotations(data: Path, images: Path | None, seed: int) -> Annotations:
    """What the file or the folder describes; `images` is the folder of images where it is none of the usual.

    TaskError names the file, the entry and what is wrong.
    """
    if data.is_file():
        content = _content(data)
        names, indices = _categories(data, content)
        whole = _annotated(data, content, indices, _folders(data, images, ()))
        return Annotations(names=names, splits=parted(whole, seed, str(data)))
    files = {split: _split_file(data, split) for split in _ALIASES}
    stated: dict[str, tuple[tuple[str, ...], Annotated]] = {}
    for split, file in files.items():
        if file is not None:
            content = _content(file)
            names, indices = _categories(file, content)
            folders = _folders(file, images, _ALIASES[split])
            stated[split] = names, _annotated(file, content, indices, folders)
    for split in ("train", "validation"):
        if split not in stated:
            shown = ", ".join(pattern.format(split) for pattern in _PATTERNS)
            raise TaskError(f"{data} has no file for {split}: it would be one of {shown}.")
    names, train = stated["train"]
    for split, (others, _) in stated.items():
        if others != names:
            raise TaskError(
                f"{files[split]} has other categories than {files['train']}: they must be the same."
            )
    validation = stated["validation"][1]
    if "test" in stated:
        return Annotations(names=names, splits=(train, validation, stated["test"][1]))
    return Annotations(names=names, splits=(train, *halved(validation, seed, str(data))))


def _split_file(folder: Path, split: str) -> Path | None:
    for alias in _ALIASES[split]:
        for pattern in _PATTERNS:
            matches = sorted(folder.glob(pattern.format(alias)))
            if matches:
                return matches[0]
    return None


def _content(path: Path) -> Entry:
    try:
        if path.stat().st_size > _LARGEST:
            raise TaskError(f"{path} has more than {_LARGEST >> 30} GB.")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise TaskError(f"{path} cannot be read as JSON: {error}.") from error
    for key in ("images", "categories", "annotations"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise TaskError(f"{path} has no list of {key!r}: {_FORM}.")
    return dict(content)


def _categories(path: Path, content: Entry) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names by ascending id, and the index of each id."""
    ids = [_field(path, "category", entry, "id", int) for entry in content["categories"]]
    entries = zip(ids, content["categories"], strict=True)
    named = {number: str(entry.get("name", number)) for number, entry in entries}
    used = sorted(named)
    if not used:
        raise TaskError(f"{path} has no categories: {_FORM}.")
    return tuple(named[number] for number in used), {number: index for index, number in enumerate(used)}


def _folders(path: Path, images: Path | None, aliases: Sequence[str]) -> list[Path]:
    """Where the images of a file may be."""
    if images is not None:
        return [images, *(images / alias for alias in aliases)]
    here, stem = path.parent, path.stem.removeprefix("instances_")
    roots = [here, here.parent] if here.name == "annotations" else [here]
    names = dict.fromkeys((stem, *aliases))
    places = [place for root in roots for place in (root, root / "images")]
    return [folder for place in places for folder in (place, *(place / name for name in names))]


def _annotated(path: Path, content: Entry, indices: Mapping[Any, int], folders: Sequence[Path]) -> Annotated:
    boxes: dict[int, list[Box]] = {}
    sizes = {_field(path, "image", entry, "id", int): entry for entry in content["images"]}
    for entry in content["annotations"]:
        if entry.get("iscrowd"):
            continue
        where = f"{path}, annotation {entry.get('id')},"
        number = _field(path, "annotation", entry, "image_id", int)
        label = indices.get(_field(path, "annotation", entry, "category_id", int))
        if number not in sizes or label is None:
            raise TaskError(f"{where} is of an image or a category that is not in the file.")
        width, height = (_field(path, "image", sizes[number], side, int) for side in ("width", "height"))
        x, y, w, h = _corner(where, entry.get("bbox"))
        shares = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
        boxes.setdefault(number, []).append(require_box(label, shares, len(indices), where))
    return [
        AnnotatedImage(path=_file(path, entry, folders), boxes=tuple(boxes.get(number, ())))
        for number, entry in sizes.items()
    ]


def _corner(where: str, box: Any) -> tuple[float, float, float, float]:
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) for x in box)
    if not numbers or not all(map(math.isfinite, box)):
        raise TaskError(f"{where} has no bbox of four numbers: {str(box)[:60]}.")
    x, y, width, height = map(float, box)
    return x, y, width, height


def _field(path: Path, what: str, entry: Entry, name: str, kind: type[int]) -> Any:
    value = entry.get(name)
    if type(value) is not kind or (name in ("width", "height") and value < 1):
        raise TaskError(f"{path} has a {what} whose {name} is {str(value)[:40]!r}: {_FORM}.")
    return value


def _file(path: Path, entry: Entry, folders: Sequence[Path]) -> Path:
    name = str(entry.get("file_name", ""))
    places = [folder / part for folder in folders for part in dict.fromkeys((name, PurePosixPath(name).name))]

    def missing() -> str:
        return (
            f"{path}: there is no image {name!r} (looked for {places[0]}): give --task-arg images=DIR, the "
            "folder of the images."
        )

    if not PurePosixPath(name).name:
        raise TaskError(f"{path} has an image without file_name: {_FORM}.")
    return existing(places, missing)
