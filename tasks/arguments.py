"""The values of `--task-arg`: from the command line, from the environment, or those that a run stores."""

import os
from collections.abc import Mapping

from ..errors import TaskError
from ..text.secrets import hide, is_mark, is_reference, is_secret


def resolved(arguments: Mapping[str, str]) -> dict[str, str]:
    """The arguments with the value of the variable for each `env:NAME`. No message repeats a secret after it.

    TaskError for a variable that is not set, and for a value that a file left out.
    """
    return {name: _resolved(name, value) for name, value in arguments.items()}


def again(stored: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The arguments that a run or bundle stores, and in their place those that this command gives.

    TaskError for a stored secret that was not given again. A stored `env:NAME` is none of this command's
    either: somebody else's run must not choose which variable a task gets.
    """
    for name, value in stored.items():
        if name not in given and (is_mark(value) or is_reference(value)):
            raise _missing(name, value if is_reference(value) else "…")
    return {**stored, **given}


def _resolved(name: str, value: str) -> str:
    if is_mark(value):
        raise _missing(name, "…")
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


def _missing(name: str, value: str) -> TaskError:
    return TaskError(f"The run does not store the value of {name}: give --task-arg {name}={value}")
