"""Images with their objects, and their splits, whatever form they are stored in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from ....errors import TaskError
from ...data import chosen
from ..one_set import parts_of_one_set

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An object: the index of its class; its center and size as shares of the image's width and height."""

    label: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImage:
    """An image file and its objects."""

    path: Path
    boxes: tuple[Box, ...]


Annotated: TypeAlias = list[AnnotatedImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Training, validation and test, and the names of the classes in the order of the labels."""

    names: tuple[str, ...]
    splits: tuple[Annotated, Annotated, Annotated]


def require_box(label: int, shares: Sequence[float], classes: int, where: str) -> Box:
    """The object, cut to the image. TaskError for a class that there is not, and for a box without a place
    in the image; `where` names its file and line.
    """
    if not 0 <= label < classes:
        raise TaskError(f"{where} has the class {label}, but the names are those of 0 to {classes - 1}.")
    x, y, width, height = shares
    left, right = (min(max(x + sign * width / 2, 0.0), 1.0) for sign in (-1, 1))
    top, bottom = (min(max(y + sign * height / 2, 0.0), 1.0) for sign in (-1, 1))
    if not (right > left and bottom > top):  # NaN, too
        raise TaskError(f"{where} has a box without an area in the image: {x:g} {y:g} {width:g} {height:g}.")
    return Box(
        label=label, x=(left + right) / 2, y=(top + bottom) / 2, width=right - left, height=bottom - top
    )


def parted(images: Annotated, seed: int, source: str) -> tuple[Annotated, Annotated, Annotated]:
    """One set as training, validation and test, 60 : 20 : 20 at random."""
    train, validation, test = parts_of_one_set(len(images), seed=seed, source=source, of="images")
    return [images[i] for i in train], [images[i] for i in validation], [images[i] for i in test]


def halved(images: Annotated, seed: int, source: str) -> tuple[Annotated, Annotated]:
    """Validation images where there are none for the test: half validates, half is for the test."""
    if len(images) < 2:
        raise TaskError(
            f"{source} has {len(images)} images for validation: give a test split, or 2 and more."
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    middle = (len(images) + 1) // 2
    return [images[i] for i in order[:middle]], [images[i] for i in order[middle:]]


def cut_splits(annotations: Annotations, limit: int | None) -> Annotations:
    """At most `limit` images of each split, always the same ones. TaskError for a split without images."""
    for name, split in zip(SPLITS, annotations.splits, strict=True):
        if not split:
            raise TaskError(f"The split {name} has no images.")
    train, validation, test = (
        [split[index] for index in chosen(len(split), limit)] for split in annotations.splits
    )
    return Annotations(names=annotations.names, splits=(train, validation, test))


def existing(candidates: Sequence[Path], missing: Callable[[], str]) -> Path:
    """The first of these paths that there is. TaskError with the message for none."""
    for path in candidates:
        if path.exists():
            return path
    raise TaskError(missing())
