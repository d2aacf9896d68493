"""Functions in Python files that the user wrote: `path/to/file.py:function`."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ..errors import TaskError
from .boundary import user_code


def load_function(spec: str) -> Callable[..., Any]:
    """The function that `path/to/file.py:function` names. Raises TaskError."""
    path, _, name = spec.rpartition(":")
    if not Path(path).is_file():
        raise TaskError(f"There is no file {path!r} (of {spec!r}): write path/to/file.py:function.")
    with importable(Path(path).resolve().parent):
        return function_of(Path(path), name)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Puts the folder on the import path, so that a task file can import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def function_of(file: Path, name: str) -> Callable[..., Any]:
    """The function called `name` in an existing file. Raises TaskError that lists the functions there."""
    module = _import(file)
    function = getattr(module, name, None) if name else None
    if callable(function):
        return cast(Callable[..., Any], function)
    names = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    problem = f"has no function {name!r}" if name else "needs the name of one of its functions"
    listed = ", ".join(sorted(names)) or "no functions"
    raise TaskError(f"{file} {problem}: write {file}:NAME; it has {listed}.")


def _import(file: Path) -> ModuleType:
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()
    name = f"autocompress_task_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module here
    with user_code(f"Importing {file}"):
        spec.loader.exec_module(module)
    return module
