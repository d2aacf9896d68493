"""Loads a task by its name on the command line: a built-in one, or a function in the user's own file."""

import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import TaskError
from .arguments import resolved
from .boundary import user_code
from .digits import digits
from .image_folder import image_folder
from .sources.exported import exported
from .sources.timm_images import timm_images
from .task import Task
from .user_file import function_of, importable

BUILT_IN: Mapping[str, Callable[..., Task]] = {
    "digits": digits,
    "image-folder": image_folder,
    "exported": exported,
}
FAMILIES: Mapping[str, Callable[..., Task]] = {"timm": timm_images}  # `timm:NAME`: the name comes first
WITHOUT_ARGUMENTS = ("digits",)  # the built-in tasks that need none


def load_task(spec: str, arguments: Mapping[str, str]) -> Task:
    """The task that `spec` names: a built-in one or `path/to/file.py:function`.

    The function gets `arguments` by keyword. Its annotations say how each string is converted: str, int,
    float, bool, Path, a tuple of those (`0.5,0.5`), or one of them with `| None`. `env:NAME` is the value of
    that environment variable. The task is not checked yet (`check_task` does that). Raises TaskError.
    """
    arguments = resolved(arguments)
    if spec in BUILT_IN:
        return _call(spec, BUILT_IN[spec], arguments)
    family, _, member = spec.partition(":")
    if family in FAMILIES:
        if not member:
            raise TaskError(f"{spec} needs the name of a model: write {family}:NAME.")
        return _call(spec, functools.partial(FAMILIES[family], member), arguments)
    path, colon, name = spec.rpartition(":")
    if not colon and not spec.endswith(".py"):
        near = difflib.get_close_matches(spec, BUILT_IN, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        remedy = f"give a built-in one ({', '.join(BUILT_IN)}, timm:NAME) or path/to/file.py:function."
        raise TaskError(f"There is no task {spec!r}{hint}: {remedy}")
    file = Path(path if colon else spec)
    if not file.is_file():
        raise TaskError(
            f"There is no task file {str(file)!r}: give the path of a Python file and one of its functions."
        )
    with importable(file.resolve().parent):
        return _call(spec, function_of(file, name if colon else ""), arguments)


def _call(spec: str, function: Callable[..., Any], arguments: Mapping[str, str]) -> Task:
    values = converted(spec, function, arguments)
    with user_code(f"Making the task {spec}"):
        task = function(**values)
    if not isinstance(task, Task):
        raise TaskError(
            f"{spec} returned a {type(task).__name__}: it must return a Task (autocompress.tasks.Task)."
        )
    return task


def converted(spec: str, function: Callable[..., Any], arguments: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments of `function`, converted from strings.

    Raises TaskError that names an unknown, missing or wrong argument.
    """
    with user_code(f"Reading the signature of {spec}"):
        parameters = inspect.signature(function, eval_str=True).parameters
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {name: one for name, one in parameters.items() if one.kind in by_keyword}
    signature = f"{spec} takes {', '.join(accepted) or 'no arguments'}"
    for name in arguments:
        if name not in accepted:
            raise TaskError(f"Unknown task argument {name!r}: {signature}.")
    missing = [name for name, one in accepted.items() if one.default is one.empty and name not in arguments]
    if missing:
        hints = " ".join(f"--task-arg {name}=…" for name in missing)
        listed = ", ".join(map(repr, missing))
        raise TaskError(f"Missing task argument {listed}: {signature}; add {hints}.")
    return {name: _convert(name, text, accepted[name].annotation) for name, text in arguments.items()}


def _convert(name: str, text: str, annotation: Any) -> Any:
    choices = [one for one in typing.get_args(annotation) if one is not types.NoneType]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return _convert(name, text, choices[0])
    if typing.get_origin(annotation) is tuple:
        return tuple(_convert(name, part.strip(), choices[0]) for part in text.split(","))
    kind = str if annotation in (inspect.Parameter.empty, Any) else annotation
    converter = _CONVERTERS.get(kind)
    if converter is None:
        raise TaskError(
            f"Task argument {name!r} has the type {annotation}: annotate it as str, int, float, bool or Path."
        )
    try:
        return converter(text)
    except ValueError:
        raise TaskError(f"Task argument {name}={text!r} is no {kind.__name__}.") from None


def _truth(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]


_CONVERTERS: Mapping[Any, Callable[[str], Any]] = {str: str, int: int, float: float, Path: Path, bool: _truth}
