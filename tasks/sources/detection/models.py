"""`ultralytics`: the task of a detector."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....errors import TaskError
from ...checkpoint import load_weights, loaded_state
from ...outputs.kinds import boxes
from ...task import Task
from .annotations import Annotated, Annotations, cut_splits
from .average_precision import METRICS
from .checkpoint import StoredModel, stored_model
from .coco_format import coco_annotations
from .images import GREY, ObjectImages, mirrored
from .library import head_of, keep_grid, library, named_architecture, network_of
from .loss import DetectionLoss
from .yolo_format import yolo_annotations

_USUAL_SIZE = 640
_UNIT = 0.02  # of the size: a box that is off by this much counts 1 in the distance of two answers
_SHARE = 0.5  # of the memory may go to a split
_PREPROCESSING = {
    "layout": "NCHW",
    "channels": "RGB",
    "input": "uint8",
    "scale": 1 / 255,
    "resize": "longer side, bilinear from the four nearest pixels, in the middle of a square of `fill`",
    "fill": GREY,
    "boxes": "center x, center y, width, height in pixels of the input, then a probability for each class",
}


def ultralytics(
    model: str,
    data: Path,
    *,
    weights: Path | None = None,
    images: Path | None = None,
    size: int | None = None,
    metric: str = "map",
    flip: bool = True,
    limit: int | None = None,
    seed: int = 0,
) -> Task:
    """The task: `model` is a .pt file of ultralytics, or an architecture (`yolov8n.yaml`) with `weights`.

    `data` is a data.yaml as ultralytics reads it, a JSON file as COCO's, or a folder with one for each split
    (`images`: where its images are). Images get `size` pixels on each side, by default those of the training.
    `metric` is map (of overlaps of 50 to 95 %) or map50. `flip`: recovery mirrors half of the images. `limit`
    cuts each split. Raises TaskError.
    """
    if metric not in METRICS:
        raise TaskError(f"There is no metric {metric!r}: give metric={' or '.join(METRICS)}.")
    if limit is not None and limit < 1:
        raise TaskError(f"limit={limit}: a limit above 0 is needed.")
    stored = _stored(model, weights)
    annotations = _annotations(data, images, seed)
    names = stored.names if stored else annotations.names
    annotations = cut_splits(_labelled_as(names, annotations, data), limit)
    size = size or (stored.size if stored else None) or _USUAL_SIZE
    needed = library()
    if stored is None:
        described = named_architecture(needed, model)
        network = network_of(needed, described, classes=len(names))
        assert weights is not None
        load_weights(network, weights)
    else:
        network = loaded_state(
            network_of(needed, stored.architecture, classes=len(names)), stored.state, Path(model)
        )
    task = _task(network, annotations.splits, needed, size=size, classes=len(names))
    return replace(
        task,
        name=f"ultralytics-{Path(model).stem}",
        metric=METRICS[metric],
        augment=mirrored if flip else None,
        preprocessing={**_PREPROCESSING, "size": [size, size], "classes": list(names)},
        seed=seed,
    )


def _stored(model: str, weights: Path | None) -> StoredModel | None:
    """What a .pt file holds; None for the name of an architecture, which has weights of its own."""
    kind = Path(model).suffix
    if kind == ".pt":
        if weights is not None:
            raise TaskError(f"{model} has weights: leave out weights=…, or give an architecture (.yaml).")
        return stored_model(Path(model))
    if kind not in (".yaml", ".yml"):
        hint = " For an .onnx file there is the task onnx." if kind == ".onnx" else ""
        raise TaskError(
            f"ultralytics:{model} is no .pt file and no architecture: write "
            "ultralytics:FILE.pt, or ultralytics:yolov8n.yaml with --task-arg weights=FILE.safetensors."
            f"{hint}"
        )
    if weights is None:
        raise TaskError(
            f"{model} is an architecture without weights: give --task-arg weights=FILE.safetensors."
        )
    if not weights.is_file():
        raise TaskError(f"There are no weights {str(weights)!r}: give a file, weights are not downloaded.")
    return None


def _annotations(data: Path, images: Path | None, seed: int) -> Annotations:
    if not data.exists():
        raise TaskError(
            f"There is no data {str(data)!r}: give a data.yaml as ultralytics reads it, a JSON file as "
            "COCO's, or a folder with one for each split; data are not downloaded."
        )
    inside = [data / name for name in ("data.yaml", "data.yml") if (data / name).is_file()]
    file = inside[0] if inside else data
    if file.suffix in (".yaml", ".yml"):
        return yolo_annotations(file, seed)
    if file.is_file() and file.suffix != ".json":
        raise TaskError(
            f"{data} has the ending {data.suffix!r}: give a .yaml file, a .json file or a folder."
        )
    return coco_annotations(data, images, seed)


def _labelled_as(names: Sequence[str], annotations: Annotations, data: Path) -> Annotations:
    """The annotations with the model's indices of the classes, by their names or else by their order."""
    known = {name.casefold(): index for index, name in enumerate(names)}
    given = [name.casefold() for name in annotations.names]
    if set(given) <= set(known) and len(known) == len(names):
        order = [known[name] for name in given]
    elif len(given) == len(names):
        order = list(range(len(names)))
    else:
        strange = next(name for name in annotations.names if name.casefold() not in known)
        raise TaskError(
            f"{data} has {len(given)} classes and the model {len(names)}, and {strange!r} is none of the "
            f"model's ({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): give the data of this model."
        )
    train, validation, test = (
        [
            replace(image, boxes=tuple(replace(box, label=order[box.label]) for box in image.boxes))
            for image in split
        ]
        for split in annotations.splits
    )
    return Annotations(names=tuple(names), splits=(train, validation, test))


def _task(
    network: nn.Module, splits: Sequence[Annotated], ultralytics: Any, *, size: int, classes: int
) -> Task:
    head = head_of(network)
    coarsest = int(max(head.stride))
    if size < coarsest or size % coarsest:
        nearest = max(coarsest, round(size / coarsest) * coarsest)
        raise TaskError(f"size={size} is no multiple of {coarsest}: give --task-arg size={nearest}.")
    positions = sum((size // int(stride)) ** 2 for stride in head.stride)
    _require_memory(splits, 4 * (3 * size * size + (4 + classes) * positions))
    keep_grid(network, size)
    train, validation, test = (ObjectImages(split, size=size) for split in splits)
    return Task(
        name="ultralytics",
        model=network,
        train=train,
        validation=validation,
        test=test,
        loss=DetectionLoss(ultralytics, network, size=size, gains=ultralytics.utils.DEFAULT_CFG),
        metric=METRICS["map"],
        example_inputs=(torch.stack([validation[0][0]] * 2),),
        outputs=(boxes(dim=1, coordinates=4, probabilities=True, scale=_UNIT * size),),
    )


def _require_memory(splits: Sequence[Annotated], image_bytes: int) -> None:
    """TaskError where the images and answers of a split that is scored do not fit into half of the memory."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = int(_SHARE * whole / image_bytes)
    largest = max(len(split) for split in splits[1:])
    if largest > most:
        raise TaskError(
            f"{largest} images to score, with the model's answers, need {largest * image_bytes / 2**30:.1f} "
            f"GB of this machine's {whole / 2**30:.1f} GB: give --task-arg limit={max(1, most)} or less."
        )
