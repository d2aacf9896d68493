"""Loads a task by its name on the command line: a built-in one, or a function in the user's own file."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

from ..errors import TaskError
from .arguments import converted, resolved
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
    with task_function(spec) as function:
        return _call(spec, function, arguments)


@contextmanager
def task_function(spec: str) -> Iterator[Callable[..., Any]]:
    """The function of a task; what lies beside its file can be imported meanwhile. Raises TaskError."""
    require_task(spec)
    family, _, member = spec.partition(":")
    if spec in BUILT_IN:
        yield _function(*BUILT_IN[spec])
    elif family in FAMILIES:
        yield functools.partial(_function(*FAMILIES[family]), member)
    else:
        file, name = file_and_function(spec)
        with importable(file.resolve().parent):
            yield function_of(file, name)


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
