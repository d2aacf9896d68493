"""Loads a task by its name on the command line: a built-in one, or a function in the user's own file."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from ..errors import TaskError
from .arguments import resolved
from .boundary import user_code
from .names import BUILT_IN, FAMILIES, file_and_function, require_task
from .task import Task
from .user_file import function_of, importable


def load_task(spec: str, arguments: Mapping[str, str]) -> Task:
    """The task that `spec` names: a built-in one or `path/to/file.py:function`.

    The function gets `arguments` by keyword. Its annotations say how each string is converted: str, int,
    float, bool, Path, a tuple of those (`0.5,0.5`), or one of them with `| None`. `env:NAME` is the value of
    that environment variable. The task is not checked yet (`check_task` does that). Raises TaskError.
    """
    arguments = resolved(arguments)
    require_task(spec)
    if spec in BUILT_IN:
        return _call(spec, _function(*BUILT_IN[spec]), arguments)
    family, _, member = spec.partition(":")
    if family in FAMILIES:
        return _call(spec, functools.partial(_function(*FAMILIES[family]), member), arguments)
    file, name = file_and_function(spec)
    with importable(file.resolve().parent):
        return _call(spec, function_of(file, name), arguments)


def _function(module: str, name: str) -> Callable[..., Any]:
    """A function of a module in this folder, which is imported only now: each needs libraries of its own."""
    return cast(Callable[..., Any], getattr(import_module(f".{module}", __package__), name))


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
