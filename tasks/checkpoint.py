"""Weights and states in files. Only data are loaded: a checkpoint that could run code is refused."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import TaskError
from ..files import write_bytes
from .quality import shape_text

# Exceptions of torch's unpickler on damaged bytes, beside UnpicklingError.
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError)
_SHOWN = 3
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """The same model, in eval mode, with the weights of a `.safetensors` file or a torch checkpoint.

    A state dictionary may be wrapped as `{"state_dict": …}`, and its keys may carry DataParallel's "module."
    prefix. Raises TaskError if the file is missing or damaged, could run code, or does not fit the model.
    """
    path = Path(path)
    if not path.is_file():
        raise TaskError(f"There is no checkpoint {str(path)!r}.")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = _state(loaded, path)
    problems = _mismatches(model.state_dict(), state)
    if problems:
        raise TaskError(f"Checkpoint {path} does not fit the model: {'; '.join(problems)}.")
    model.load_state_dict(state)
    return model.eval()


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values atomically, as a torch checkpoint. OSError when the disk is full."""
    content = io.BytesIO()  # into a file on a full disk torch.save raises a RuntimeError
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and not path.read_bytes()[:1] == b"\x80":
            raise TaskError(
                f"{path} is no torch checkpoint: save one with torch.save(model.state_dict(), path)."
            ) from error
        raise TaskError(
            f"Checkpoint {path} holds pickled objects, and loading those can run code: "
            "where you trust it, load it once yourself and save its weights alone with "
            "torch.save(model.state_dict(), path)."
        ) from error
    except _DAMAGED as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise TaskError(f"Checkpoint {path} cannot be read, it may be damaged: {reason}.") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise TaskError(f"Checkpoint {path} cannot be read, it may be damaged: {error}.") from error


def _state(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The dictionary of tensors in what was loaded."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    is_mapping = isinstance(loaded, Mapping) and len(loaded) > 0
    if not is_mapping or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise TaskError(
            f"Checkpoint {path} holds no state dictionary: save torch.save(model.state_dict(), path)."
        )
    if all(key.startswith("module.") for key in loaded):
        return {key.removeprefix("module."): value for key, value in loaded.items()}
    return dict(loaded)


def _mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The first missing, unexpected and differently shaped keys, a phrase for each kind."""
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    misshaped = [
        f"{key} is {shape_text(given[key])} instead of {shape_text(value)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    return [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in kinds.items() if keys]


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "")
