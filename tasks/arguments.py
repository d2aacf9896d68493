"""The values of `--task-arg`: from the command line, or from the environment. Those that a run stores are not
used (deploy/given_task.py).
"""

import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import TaskError
from ..text.secrets import hide, is_mark, is_reference, is_secret
from .boundary import user_code


def resolved(arguments: Mapping[str, str]) -> dict[str, str]:
    """The arguments with the value of the variable for each `env:NAME`. No message repeats a secret after it.

    TaskError for a variable that is not set, and for a value that a file left out.
    """
    return {name: _resolved(name, value) for name, value in arguments.items()}


def _resolved(name: str, value: str) -> str:
    if is_mark(value):
        raise TaskError(f"The run does not store the value of {name}: give --task-arg {name}=…")
    if not is_reference(value):
        if is_secret(name, value):
            hide(value)
        return value
    variable = value.removeprefix("env:")
    if variable not in os.environ:
        raise TaskError(
            f"--task-arg {name}={value} names the environment variable {variable}, which is not set: set it."
        )
    hide(os.environ[variable])
    return os.environ[variable]


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
