"""Loading a task by its name on the command line: a built-in one, or a function in the user's own file."""

import difflib
import hashlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import TaskError
from .boundary import user_code
from .digits import digits
from .image_folder import image_folder
from .task import Task

BUILT_IN: Mapping[str, Callable[..., Task]] = {"digits": digits, "image-folder": image_folder}


def load_task(spec: str, arguments: Mapping[str, str]) -> Task:
    """The task that `spec` names: `digits`, `image-folder` or `path/to/file.py:function`.

    `arguments` are given to the function by keyword, converted by its annotations: str, int, float, bool,
    Path, a tuple of those (`0.5,0.5`), or one of them with `| None`. Not yet checked (see `check_task`).
    Raises TaskError.
    """
    if spec in BUILT_IN:
        return _call(spec, BUILT_IN[spec], arguments)
    path, colon, name = spec.rpartition(":")
    if not colon and not spec.endswith(".py"):
        near = difflib.get_close_matches(spec, BUILT_IN, n=1)
        raise TaskError(
            f"There is no task {spec!r}{f' (did you mean {near[0]!r}?)' if near else ''}: "
            f"give a built-in one ({', '.join(BUILT_IN)}) or path/to/file.py:function."
        )
    file = Path(path if colon else spec)
    if not file.is_file():
        raise TaskError(
            f"There is no task file {str(file)!r}: give the path of a Python file and one of its functions."
        )
    with _on_path(file.resolve().parent):
        module = _import(file)
        return _call(spec, _function(module, file, name if colon else ""), arguments)


def load_function(spec: str) -> Callable[..., Any]:
    """The function that `path/to/file.py:function` names. Raises TaskError."""
    path, _, name = spec.rpartition(":")
    if not Path(path).is_file():
        raise TaskError(f"There is no file {path!r} (of {spec!r}): write path/to/file.py:function.")
    with _on_path(Path(path).resolve().parent):
        return _function(_import(Path(path)), Path(path), name)


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The folder is importable meanwhile, so that a task file can import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import(file: Path) -> types.ModuleType:
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()
    name = f"autocompress_task_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up here
    with user_code(f"Importing {file}"):
        spec.loader.exec_module(module)
    return module


def _function(module: types.ModuleType, file: Path, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None) if name else None
    if callable(function):
        return typing.cast(Callable[..., Any], function)
    there = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    said = f"has no function {name!r}" if name else "needs the name of one of its functions"
    raise TaskError(f"{file} {said}: write {file}:NAME; it has {', '.join(sorted(there)) or 'no functions'}.")


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
    """The keyword arguments of `function` from strings. Raises TaskError naming an unknown, missing or unfit
    one.
    """
    with user_code(f"Reading the signature of {spec}"):
        parameters = inspect.signature(function, eval_str=True).parameters
    known = {
        name: one
        for name, one in parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    told = f"{spec} takes {', '.join(known) or 'no arguments'}"
    for name in arguments:
        if name not in known:
            raise TaskError(f"Unknown task argument {name!r}: {told}.")
    missing = [name for name, one in known.items() if one.default is one.empty and name not in arguments]
    if missing:
        hints = " ".join(f"--task-arg {name}=…" for name in missing)
        raise TaskError(f"Missing task argument {', '.join(map(repr, missing))}: {told}; add {hints}.")
    return {name: _convert(name, text, known[name].annotation) for name, text in arguments.items()}


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
