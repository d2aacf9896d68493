"""ultralytics without network, telemetry, settings and downloads; an architecture as a network."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ....errors import TaskError
from ....scratch import temporary_folder
from ...boundary import user_code
from ..extra_library import extra_library
from .checkpoint import Architecture

_TASK = "A task ultralytics:MODEL"
_OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
_HEADS = ("Detect", "v10Detect")
# ultralytics evaluates this text: only a module of torch.nn with numbers is passed on.
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Z]\w*\(((\w+=)?(\d*\.?\d+|True|False))?\)")
_LARGEST = 1 << 14  # channels or repetitions of a layer
_DOWNLOADING = ("TorchVision", "Index")  # layers that fetch weights, and what belongs to them


def library() -> Any:
    """The module ultralytics, which must not ask the network, install packages or write into the home.

    TaskError if it is not installed, or too old.
    """
    with _left_as_it_was(), temporary_folder() as folder:
        os.environ.update(_OFFLINE, YOLO_CONFIG_DIR=str(folder))  # it writes settings when it is imported
        library = extra_library(
            "ultralytics",
            "ultralytics.nn.modules",
            "ultralytics.nn.tasks",
            "ultralytics.utils.loss",
            "ultralytics.utils.tal",
            task=_TASK,
            remedy="Install a torchvision that fits torch",
        )
    if tuple(map(int, library.__version__.split(".")[:2])) < (8, 4):
        raise TaskError(f"{_TASK} needs ultralytics 8.4, but {library.__version__} is installed: update it.")
    return library


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """ultralytics changes the environment, torch.save, how numbers are printed and warnings: for the rest of
    the process, and for those that it starts, they are restored.
    """
    environment, save = dict(os.environ), torch.save
    with np.printoptions(), warnings.catch_warnings():
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(environment)
            torch.save = save
            torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]


def named_architecture(ultralytics: Any, name: str) -> Architecture:
    """The content of a model's .yaml file, of this machine or one that comes with ultralytics."""
    known = [path.stem for path in _configurations(ultralytics)]
    unscaled = re.sub(r"(\d+)[nslmx]", r"\1", Path(name).stem)
    if not Path(name).is_file() and unscaled not in known:
        raise TaskError(
            f"There is no architecture {name!r}: give a .yaml file, or the name of one that ultralytics has "
            "(yolov8n.yaml, yolo11s.yaml, …)."
        )
    with user_code(f"Reading the architecture {name}"):
        described = ultralytics.nn.tasks.yaml_model_load(name)
    if not isinstance(described, dict):
        raise TaskError(f"{name} is no architecture of ultralytics: it has no backbone and head.")
    return described


def network_of(ultralytics: Any, architecture: Architecture, *, classes: int) -> nn.Module:
    """The network with random weights, in the form that ultralytics exports without suppression of boxes.

    TaskError for an architecture that is no detector, or that would run or download something.
    """
    _require_plain(ultralytics, architecture)
    with user_code("Making the network by ultralytics"):
        model: nn.Module = ultralytics.nn.tasks.DetectionModel(
            deepcopy(dict(architecture)), ch=architecture.get("channels", 3), nc=classes, verbose=False
        )
    head = head_of(model)
    head.end2end = False  # the head whose boxes are suppressed afterwards, which all models have
    head.export = True  # one output
    return model.eval()


def head_of(network: nn.Module) -> Any:
    """The last layer, which makes boxes."""
    return list(network.get_submodule("model").children())[-1]


def keep_grid(network: nn.Module, size: int) -> None:
    """Makes the head's grid for images of this size. It keeps it: torch.export lets no attribute change."""
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    head_of(network).shape = _AnyShape()


class _AnyShape:
    """In place of the shape for which the grid was made: no other one differs from it."""

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def _require_plain(ultralytics: Any, architecture: Architecture) -> None:
    """TaskError where making the network would do more than putting layers together.

    ultralytics evaluates the activation, and calls what a layer's name says.
    """
    activation = architecture.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
        raise TaskError(f"The activation {str(activation)[:80]!r} of the architecture is code, not run.")
    parts = [architecture.get(part) for part in ("backbone", "head")]
    layers = [layer for part in parts if isinstance(part, list) for layer in part]
    for layer in layers:
        if not _is_layer(ultralytics, layer):
            raise TaskError(f"The architecture has {str(layer)[:80]}, which is no layer of a detector.")
    if not layers or layers[-1][2] not in _HEADS:
        end = layers[-1][2] if layers else "nothing"
        raise TaskError(
            f"The model ends in {end}, but only detectors are compressed ({' or '.join(_HEADS)}): write a "
            "task in Python for others (docs/tasks.md)."
        )


def _is_layer(ultralytics: Any, layer: Any) -> bool:
    """Whether it is [from, repeats, name, arguments], with the name of a module that only computes."""
    if not isinstance(layer, list) or len(layer) != 4:
        return False
    _, repeats, name, arguments = layer
    if not isinstance(name, str) or name in _DOWNLOADING or not isinstance(arguments, list):
        return False
    sizes = [value for value in (repeats, *arguments) if isinstance(value, int | float)]
    home = nn if name.startswith("nn.") else ultralytics.nn.modules
    kind = getattr(home, name.removeprefix("nn."), None)
    known = isinstance(kind, type) and issubclass(kind, nn.Module)
    return known and all(abs(value) <= _LARGEST for value in sizes)


def _configurations(ultralytics: Any) -> list[Path]:
    return sorted((Path(ultralytics.__file__).parent / "cfg/models").glob("*/*.yaml"))
