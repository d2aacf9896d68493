"""The task of a run or bundle, which may come from anybody: its code runs only on the user's word.

A task is a function in a Python file, and its arguments may name files and code (`model` of `image-folder`
does). So the user gives both in this command, as in `search`. Without that, a built-in task that needs no
arguments is loaded without any, whatever the run says.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunDirectoryError, TaskError
from ..results.records.facts import TaskFacts
from ..results.run_config import RunConfig
from ..tasks.boundary import user_code
from ..tasks.names import WITHOUT_ARGUMENTS

if TYPE_CHECKING:
    from ..tasks.task import Task

_LONGEST = 200  # characters of a task's name in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTask:
    """`--task` and its `--task-arg`s."""

    spec: str
    arguments: Mapping[str, str] = field(default_factory=dict)


def from_search_folder(given: GivenTask, run: Path) -> tuple[GivenTask, str]:
    """The task with paths that are not here, but where this user's search of the run ran; and a note of them,
    empty without any.
    """
    try:
        folder = RunConfig.read(run).search_folder
    except RunDirectoryError:
        folder = None
    if folder is None or folder == Path.cwd():
        return given, ""
    path, colon, function = given.spec.rpartition(":")
    file, texts = (path, f":{function}") if colon else (given.spec, "")
    changed = {
        text: str(folder / text) for text in (file, *given.arguments.values()) if _only_in(folder, text)
    }
    if not changed:
        return given, ""
    arguments = {name: changed.get(text, text) for name, text in given.arguments.items()}
    note = f"Note: taken from {folder}, where the search ran: {', '.join(changed)}."
    return GivenTask(spec=changed.get(file, file) + texts, arguments=arguments), note


def _only_in(folder: Path, text: str) -> bool:
    """Whether a relative path names something in the folder, and nothing here."""
    try:
        relative = bool(text) and not Path(text).is_absolute()
        return relative and not Path(text).exists() and (folder / text).exists()
    except (OSError, ValueError):  # a text that no path can be
        return False


def task_to_load(facts: TaskFacts, given: GivenTask | None) -> GivenTask:
    """The task that the user gives, or else the run's when it may be loaded. TaskError when the user has to
    give it.
    """
    if given is not None:
        return given
    if facts.spec in WITHOUT_ARGUMENTS:
        return GivenTask(spec=facts.spec)
    named = facts.spec.isprintable() and len(facts.spec) <= _LONGEST
    spec = shlex.quote(facts.spec) if named else "path/to/file.py:function"
    options = [f"--task-arg {name}=…" for name in facts.arguments if name.isidentifier()]
    raise TaskError(
        f"The task that is named there is code, and is loaded only if you give it. If you trust it: "
        f"{' '.join(['--task', spec, *options])}"
    )


def difference(task: "Task", facts: TaskFacts, *, digest: str, identity: Mapping[str, str]) -> str | None:
    """How a task with this digest differs from the one that a run or manifest describes, in words; None when
    it is the same.

    `identity` is that of run.toml, empty where there is none. TaskError when the metric is another one, so
    that nothing could be compared.
    """
    from ..tasks.identity import data_digest, model_digest  # with torch, which `pick` needs not wait for

    mine, stated = task.metric, facts.metric
    if (mine.name, mine.direction, mine.unit) != (stated.name, stated.direction, stated.unit):
        raise TaskError(
            f"The task measures {mine.name!r}, but {stated.name!r} is stated: give the task of the search."
        )
    if digest == facts.digest:
        return None
    with user_code("Reading the data"):
        digests = {"model": model_digest(task.model), "data": data_digest(task)}
    changed = [name for name, digest in digests.items() if identity.get(name, digest) != digest]
    return f"another {' and another '.join(changed or ['model, data, metric or loss'])}"
