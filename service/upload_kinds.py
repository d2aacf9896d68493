"""The kinds of files that may be uploaded: told by their content, looked at as data, never loaded.

A file of safetensors or of ONNX is numbers and names. What torch saves (.pt, .pt2) is not among them: loading
it unpickles, and evaluates expressions that it holds.
"""

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..tasks.names import BUILT_IN, FAMILIES
from .onnx_scan import require_onnx

SAFETENSORS, ONNX = KINDS = ("safetensors", "onnx")
_ZIP_BEGINS, _ZIP_ENDS = b"PK\x03\x04", b"PK\x05\x06"
_ZIP_TAIL = 128 << 10  # how far from the end readers look for the mark, and more
# What the arguments of built-in tasks take. Of the others some are folders, and `exported` runs its model.
_BUILT_IN: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("onnx", "model"): (ONNX,),
    ("image-folder", "checkpoint"): (SAFETENSORS,),
    ("timm", "checkpoint"): (SAFETENSORS,),
}


def kinds_of(spec: str, argument: str) -> tuple[str, ...]:
    """The kinds of uploads that an argument of a task takes; a path of an administrator's function takes all.
    `spec` is what `search` calls the task.
    """
    family = spec.partition(":")[0]
    if spec in BUILT_IN or family in FAMILIES:
        return _BUILT_IN.get((family, argument), ())
    return KINDS


def kind_of(path: Path) -> str:
    """The kind of a file that was looked at when it arrived."""
    return SAFETENSORS if _begins_as_safetensors(path) else ONNX


def require_whole(path: Path) -> str:
    """The kind of a file. InputError for one of none, one that is not whole, or is an archive, too."""
    with path.open("rb") as file:
        begins = file.read(len(_ZIP_BEGINS))
    if begins == _ZIP_BEGINS:
        raise InputError(
            "What arrived is a ZIP archive, as torch saves .pt and .pt2: loading one can run code. Save the "
            "weights with safetensors, or export the model to ONNX."
        )
    if _ends_as_zip(path):
        raise InputError(
            "What arrived can be read as a ZIP archive, too: its last 128 KB have the mark of one. Save the "
            "model anew with its tensors in another order."
        )
    kind = kind_of(path)
    if kind == SAFETENSORS:
        _require_safetensors(path)
    else:
        require_onnx(path)
    return kind


def _begins_as_safetensors(path: Path) -> bool:
    """Whether the size of a header in JSON comes first, and then its beginning."""
    with path.open("rb") as file:
        begins = file.read(9)
    return begins[8:] == b"{" and begins[4:8] == bytes(4)


def _ends_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ZIP_TAIL))
        return _ZIP_ENDS in file.read()


def _require_safetensors(path: Path) -> None:
    """InputError for a file that safetensors does not read, or that has no tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"What arrived is no whole file of safetensors ({error}).") from error
    if not names:
        raise InputError("What arrived is a file of safetensors without a tensor.")
