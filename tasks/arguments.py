"""The values of `--task-arg`: from the command line, or from the environment. Those that a run stores are not
used (deploy/given_task.py).
"""

import os
from collections.abc import Mapping

from ..errors import TaskError
from ..text.secrets import hide, is_mark, is_reference, is_secret


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
