"""What a task may be called on the command line. No torch: a wrong name is refused at once."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from ..errors import TaskError

# Where the function of each is: its module in this folder, and its name there.
BUILT_IN: Mapping[str, tuple[str, str]] = {
    "digits": ("digits", "digits"),
    "image-folder": ("image_folder", "image_folder"),
    "exported": ("sources.exported", "exported"),
    "onnx": ("sources.onnx_file", "onnx_file"),
}
FAMILIES: Mapping[str, tuple[str, str]] = {  # `timm:NAME`: the name comes first
    "timm": ("sources.timm_images", "timm_images"),
    "hf": ("sources.hf.models", "hf"),
    "ultralytics": ("sources.detection.models", "ultralytics"),
}
MEMBERS: Mapping[str, tuple[str, str]] = {
    "timm": ("the name of a model", "NAME"),
    "hf": ("a directory", "DIRECTORY"),
    "ultralytics": ("a model", "FILE.pt"),
}
WITHOUT_ARGUMENTS = ("digits",)  # the built-in tasks that need none


def require_task(spec: str) -> None:
    """Raises TaskError when there is no task `spec`: neither a built-in one nor a file."""
    if spec in BUILT_IN:
        return
    family, _, member = spec.partition(":")
    if family in FAMILIES:
        if not member:
            what, word = MEMBERS[family]
            raise TaskError(f"{spec} needs {what}: write {family}:{word}.")
        return
    if ":" not in spec and not spec.endswith(".py"):
        near = difflib.get_close_matches(spec, BUILT_IN, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        names = ", ".join([*BUILT_IN, *(f"{name}:{word}" for name, (_, word) in MEMBERS.items())])
        raise TaskError(
            f"There is no task {spec!r}{hint}: give a built-in one ({names}) or path/to/file.py:function."
        )
    file, _ = file_and_function(spec)
    if not file.is_file():
        raise TaskError(
            f"There is no task file {str(file)!r}: give the path of a Python file and one of its functions."
        )


def is_user_file(spec: str) -> bool:
    """Whether a task is a function of the user's own file."""
    return spec not in BUILT_IN and spec.partition(":")[0] not in FAMILIES


def file_and_function(spec: str) -> tuple[Path, str]:
    """The parts of `path/to/file.py:function`; the function is empty where none is given."""
    path, colon, name = spec.rpartition(":")
    return (Path(path), name) if colon else (Path(spec), "")
