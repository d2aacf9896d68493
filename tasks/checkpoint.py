"""Weights and states in files. Only data are loaded: a checkpoint that could run code is refused, and so is
one that is damaged, as far as the file can tell.

torch.save writes a zip archive with a checksum for each part. The format before torch 1.6 has none: such a
file is loaded only if its name ends with its SHA-256, as those of torch.hub do. A .safetensors file has none
either, and nothing better can be made of it: that its values are no numbers is all that can be noticed.
"""

import hashlib
import io
import logging
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import TaskError
from ..files import write_bytes
from .fitting import mismatches, widened

log = logging.getLogger(__name__)

# Exceptions of torch's unpickler on damaged bytes, beside UnpicklingError.
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError)
_ARCHIVE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError, zlib.error)
_WRAPPER_NAMES = ("module", "_orig_mod")  # DataParallel, AveragedModel; torch.compile
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_HUB_NAME = re.compile(r".*-(?P<digest>[0-9a-f]{8,64})")  # resnet50-0676ba61.pth


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """The same model, in eval mode, with the weights of a `.safetensors` file or a torch checkpoint.

    A state dictionary may be wrapped as `{"state_dict": …}`, and its keys may carry the names of wrappers:
    DataParallel's and AveragedModel's "module.", the "_orig_mod." of torch.compile. Narrower floats are
    widened. Raises TaskError if the file is missing or damaged, could run code, or does not fit the model in
    keys, shapes or types.
    """
    path = Path(path)
    if not path.is_file():
        raise TaskError(f"There is no checkpoint {str(path)!r}: give a .safetensors or .pt file.")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else load_checkpoint(path)
    return loaded_state(model, _state(loaded, path), path)


def loaded_state(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The same model, in eval mode, with these tensors, which are those of the file `path`.

    Raises TaskError if they do not fit the model in keys, shapes or types.
    """
    wanted = model.state_dict()
    state = _named_as(wanted, state)
    problems = mismatches(wanted, state, parameters={name for name, _ in model.named_parameters()})
    if problems:
        raise TaskError(
            f"Checkpoint {path} does not fit the model: {'; '.join(problems)}. Give those of this network."
        )
    if names := widened(wanted, state):
        log.warning("Checkpoint %s: %s, which lose nothing as what the model has.", path, names)
    model.load_state_dict(state)
    return model.eval()


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values atomically, as a torch checkpoint. OSError when the disk is full."""
    content = io.BytesIO()  # into a file on a full disk torch.save raises a RuntimeError
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def load_checkpoint(path: Path) -> Any:
    """What torch.save wrote: tensors and plain values. TaskError when it is damaged, or could run code."""
    require_whole(path)
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


def require_whole(path: Path) -> None:
    """TaskError when a checksum of the archive does not match, or it expands to more than it is."""
    if not zipfile.is_zipfile(path):
        _require_named(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise zipfile.BadZipFile("its parts are larger than the file")
            broken = archive.testzip()
    except _ARCHIVE as error:
        raise _damaged(path, str(error)) from error
    if broken is not None:
        raise _damaged(path, f"the checksum of {broken!r} differs")


def _require_named(path: Path) -> None:
    """TaskError for a file in torch's old format, unless its name says which SHA-256 it has."""
    with path.open("rb") as file:
        old = file.read(1) == b"\x80"
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest() if old else ""
    named = _HUB_NAME.fullmatch(path.stem)
    if old and named is None:
        raise TaskError(
            f"Checkpoint {path} has the format of torch before 1.6, in which damage cannot be noticed: "
            "where you trust it, save it again with torch.save(torch.load(path, weights_only=True), path)."
        )
    if old and named is not None and not digest.startswith(named["digest"]):
        raise _damaged(path, "its SHA-256 is not that in its name")


def _damaged(path: Path, reason: str) -> TaskError:
    return TaskError(f"Checkpoint {path} is damaged, copy or save it again: {reason}.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, *_DAMAGED) as error:
        raise TaskError(f"Checkpoint {path} cannot be read, it may be damaged: {error}.") from error


def _state(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The dictionary of tensors in what was loaded."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    good = isinstance(loaded, Mapping) and len(loaded) > 0
    good = good and all(isinstance(key, str) and isinstance(each, Tensor) for key, each in loaded.items())
    if not good:
        raise TaskError(
            f"Checkpoint {path} holds no state dictionary: save torch.save(model.state_dict(), path)."
        )
    return dict(loaded)


def _named_as(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the model's own names: either side may have been wrapped, as a whole or in part."""
    names = {_without_wrappers(name): name for name in wanted}
    renamed = {names.get(_without_wrappers(name), name): value for name, value in state.items()}
    if len(names) < len(wanted) or len(renamed) < len(state):  # "module" means something else here
        return dict(state)
    if "n_averaged" not in wanted:
        renamed.pop("n_averaged", None)
    return renamed


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_NAMES)
