"""autocompress: hardware-aware compression of trained PyTorch models. See README.md for the map.

    >>> import autocompress as ac
    >>> run = ac.search("digits", budget="2m", max_drop="1pp")

The public names load on first use, so that `import autocompress` and the command line start at once:
`search`, `Run`, `Point`, `Comparison`, `Table`, `Event` (api), `Task`, `Metric`, `accuracy` (tasks),
`Recipe`, `Recovery` (compress), `Profile`, `Measurement`, `load_profile` (profiles), `Client` (service).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Comparison, Event, Point, Run, Table, search
    from .compress.recipe import Recipe, Recovery
    from .profiles import Measurement, Profile, load_profile
    from .service.client import Client
    from .tasks.task import Metric, Task, accuracy

_HOME = {
    **dict.fromkeys(("Comparison", "Event", "Point", "Run", "Table", "search"), "api"),
    **dict.fromkeys(("Task", "Metric", "accuracy"), "tasks.task"),
    **dict.fromkeys(("Recipe", "Recovery"), "compress.recipe"),
    "Client": "service.client",
    **dict.fromkeys(("Measurement", "Profile", "load_profile"), "profiles"),
}

__all__ = [
    "Client", "Comparison", "Event", "Measurement", "Metric", "Point", "Profile", "Recipe", "Recovery", "Run",
    "Table", "Task", "accuracy", "load_profile", "search",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'autocompress' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
