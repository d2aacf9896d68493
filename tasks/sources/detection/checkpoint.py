"""What is in a .pt file of ultralytics: architecture, class names, weights. Nothing in it is run.

Such a file is a pickled module. torch's restricted unpickler makes it, and every class that the file names
and torch does not know is an inert record here: it takes attributes, and does nothing. The weights are found
in them where torch.nn.Module keeps its own.
"""

import logging
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ....errors import TaskError
from ...checkpoint import require_whole

log = logging.getLogger(__name__)

Architecture: TypeAlias = Mapping[str, Any]  # the content of a model's .yaml file

_SAVED = "give the best.pt or last.pt of a training by ultralytics, or a model that it offers for detection"
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError)
_DEEPEST = 50  # modules within modules


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model as data: the architecture, class names, tensors by name, and the size of the images that it was
    trained with, where that is known.
    """

    architecture: Architecture
    names: tuple[str, ...]
    state: Mapping[str, Tensor]
    size: int | None


class Inert:
    """In place of an object whose class a file names: its attributes are those of the file."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def stored_model(path: Path) -> StoredModel:
    """The model in a checkpoint of ultralytics; the averaged weights (ema) where it has both.

    TaskError if it is missing, damaged, or something else.
    """
    if not path.is_file():
        raise TaskError(f"There is no model {str(path)!r}: {_SAVED}; nothing is downloaded.")
    loaded = _loaded(path)
    model = (loaded.get("ema") or loaded.get("model")) if isinstance(loaded, dict) else None
    attributes = vars(model) if isinstance(model, Inert) else {}
    architecture, names = attributes.get("yaml"), attributes.get("names")
    if not isinstance(architecture, Mapping) or not isinstance(names, Mapping | list):
        raise TaskError(f"{path} holds no model of ultralytics with its architecture: {_SAVED}.")
    listed = list(names.values()) if isinstance(names, Mapping) else names
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in _state(model)}
    trained = loaded.get("train_args")
    size = trained.get("imgsz") if isinstance(trained, Mapping) else None
    return StoredModel(
        architecture=dict(architecture),
        names=tuple(map(str, listed)),
        state=state,
        size=size if isinstance(size, int) else None,
    )


def _loaded(path: Path) -> Any:
    require_whole(path)
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        records: list[Any] = [(type("Inert", (Inert,), {}), name) for name in unknown]
        with torch.serialization.safe_globals(records):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_DAMAGED) as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise TaskError(f"{path} cannot be read as a checkpoint ({reason}): {_SAVED}.") from error


def _state(module: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The tensors of what was a module, with the names that its state_dict() had."""
    if depth > _DEEPEST:
        raise TaskError(f"The model in the checkpoint has more than {_DEEPEST} modules within each other.")
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _entries(module, kind):
            if isinstance(tensor, Tensor) and name not in getattr(module, "_non_persistent_buffers_set", ()):
                yield f"{prefix}{name}", tensor.detach()
    for name, child in _entries(module, "_modules"):
        yield from _state(child, f"{prefix}{name}.", depth + 1)


def _entries(module: Any, kind: str) -> list[tuple[str, Any]]:
    """What a module has of one kind, by name; nothing where it is no record of a module."""
    entries = vars(module).get(kind) if isinstance(module, Inert) else None
    return [(str(name), value) for name, value in entries.items()] if isinstance(entries, Mapping) else []
