"""The built-in tasks `timm:NAME`: a model of timm with a local checkpoint, images in class folders."""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import TaskError
from ..boundary import user_code
from ..checkpoint import load_weights
from ..image_folder import class_names, image_splits, image_task
from ..task import Task
from .extra_library import extra_library

_DESCRIBED = ("mean", "std", "interpolation", "crop_pct", "crop_mode")


def timm_images(
    name: str,
    root: Path,
    checkpoint: Path,
    *,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    crop: float | None = None,
    flip: bool = True,
    seed: int = 0,
) -> Task:
    """The task: `name` is timm's (`resnet18`, `resnet18.a1_in1k`), folders are those of `image-folder`.

    `checkpoint` is a file of this machine; nothing is downloaded. Images are prepared as timm does for this
    model, unless `size`, `mean`, `std` or `crop` (the share of the shorter side that is kept) say otherwise.
    `flip`: recovery mirrors half of the training images. Raises TaskError.
    """
    _require_numbers(size, mean, std, crop)
    classes = class_names(root)
    if not checkpoint.is_file():
        raise TaskError(
            f"There is no checkpoint {str(checkpoint)!r}: give a file, weights are not downloaded."
        )
    timm = _library(name)
    network = _network(timm, name, size, classes=len(classes))
    given = {"mean": mean, "std": std, "crop_pct": crop, "input_size": size and (3, size, size)}
    with user_code(f"Asking timm how images for {name} are prepared"):
        config = timm.data.resolve_data_config(
            {key: value for key, value in given.items() if value is not None}, model=network
        )
        prepare = timm.data.create_transform(**config, is_training=False)
    splits = image_splits(root, classes, prepare)
    task = image_task(f"timm-{name}", load_weights(network, checkpoint), splits, flip=flip, seed=seed)
    return replace(
        task,
        preprocessing={
            "layout": "NCHW",
            "channels": "RGB",
            "input": "uint8",
            "scale": 1 / 255,
            "size": list(config["input_size"][1:]),
            "classes": classes,
            **{key: config[key] for key in _DESCRIBED},
        },
    )


def _require_numbers(
    size: int | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, crop: float | None
) -> None:
    three = all(values is None or len(values) == 3 for values in (mean, std))
    if (
        not three
        or min(std or (1,)) <= 0
        or (size or 1) < 1
        or not 0 < (crop or 1) <= 1
        or crop == 0
        or size == 0
    ):
        raise TaskError(
            f"size={size}, mean={mean}, std={std}, crop={crop}: size ≥ 1, three means, three positive "
            "deviations and a crop in 0..1 are needed."
        )


def _library(name: str) -> Any:
    """The module timm; TaskError if it is not installed, or has no model `name`."""
    timm = extra_library(
        "timm", "timm.data", task=f"The task timm:{name}", remedy="Install a torchvision that fits torch"
    )
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TaskError(f"timm has no model {name!r}{hint}: timm.list_models() names all.")
    return timm


def _network(timm: Any, name: str, size: int | None, *, classes: int) -> nn.Module:
    """The model without weights of its own; one whose input size is fixed is made for `size`."""
    with user_code(f"Making the model {name} by timm"):
        fixed = size is not None and timm.get_pretrained_cfg(name).fixed_input_size
        sized = {"img_size": size} if fixed else {}
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **sized)
    return network
