"""What the user brings: a trained model, its data, a loss and a metric.

A `Task` is data only. It comes from a built-in function (`digits`, `exported`) or from a function in
the user's own file. It is checked as a whole before any work. Then `compress` takes training batches and
calibration samples from it, and `search` scores artifacts on its validation split.

Flow:
    load_task(spec, arguments) → Task
    check_task(task) → CheckedTask: the metric of the original, notes for the user, a digest
    batches(task.train, …) for recovery; arrays(task.train, limit=…) for calibration
    read(task.validation) once, then score(task.metric, outputs, targets) for each artifact

Reading order:
    task.py                      the records: Task, Metric; `accuracy`
    outputs/                     what an output means: said by the task, or derived from its loss; the model's
                                 answers to its example
    data.py                      splits as batches, arrays and files, from datasets or loaders; random states
    quality.py                   outputs of a torch model, the metric of a split
    check.py, splits/            every field validated; shapes of samples, what varies, what the splits share
    plain/                       a copy of the model without wrappers, its weights plain parameters
    identity.py                  digests of model, data and metric, by which a run recognizes its task
    names.py                     what a task may be called
    load.py, user_file.py        names to functions, and `--task-arg KEY=VALUE` to their arguments
    arguments.py                 values from the environment, and those that a run does not store
    checkpoint.py, fitting.py    weights from files that hold only data, and fit the model
    digits.py, image_folder.py   built-in tasks
    sources/                     those without Python code, or from another library
    boundary.py                  exceptions of the user's code become one sentence

It does not know channel groups, recipes, artifacts, devices or the search. It writes no files except the
cached weights of `digits`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import CheckedTask as CheckedTask
    from .check import check_task as check_task
    from .checkpoint import load_weights as load_weights
    from .data import arrays as arrays
    from .data import batches as batches
    from .data import read as read
    from .data import sample_count as sample_count
    from .identity import data_digest as data_digest
    from .identity import task_digest as task_digest
    from .load import load_task as load_task
    from .outputs.kinds import boxes as boxes
    from .outputs.kinds import classes as classes
    from .outputs.kinds import custom as custom
    from .outputs.kinds import embeddings as embeddings
    from .outputs.kinds import independent as independent
    from .outputs.kinds import values as values
    from .quality import evaluate as evaluate
    from .quality import score as score
    from .task import Metric as Metric
    from .task import Task as Task
    from .task import accuracy as accuracy

_MODULES = {
    "check": ("CheckedTask", "check_task"),
    "checkpoint": ("load_weights",),
    "data": ("arrays", "batches", "read", "sample_count"),
    "identity": ("data_digest", "task_digest"),
    "load": ("load_task",),
    "outputs.kinds": ("boxes", "classes", "custom", "embeddings", "independent", "values"),
    "quality": ("evaluate", "score"),
    "task": ("Metric", "Task", "accuracy"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CheckedTask", "Metric", "Task", "accuracy", "arrays", "batches", "boxes", "check_task", "classes",
    "custom", "data_digest", "embeddings", "evaluate", "independent", "load_task", "load_weights", "read",
    "sample_count", "score", "task_digest", "values",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names load on first use: importing torch takes seconds, and `autocompress --help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
