"""The Python API: a search as a function, a run and its points as objects.

    >>> import autocompress as ac
    >>> run = ac.search("digits", budget="2m", max_drop="1pp")
    >>> run.bundle(run.pick(max_drop="1pp"), "bundle")

Purpose. What the command line does, for scripts and notebooks. The rules are those of the commands: the same
run directories, limits as text with units (`1pp`, `2ms`, `200KB`), the same errors (`autocompress.errors`),
and a search that is called again continues.

Reading order: `run.py` (Run: open, front, pick, bundle, report, compare), `point.py` (Point: the numbers of
one candidate), `comparing.py` (runs beside each other), `tables.py` (rows for pandas), `searching.py`
(search), `following.py` (progress as a callback or a bar), `showing.py` (how runs and points show themselves
in a notebook). docs/api.md has examples.

Nothing heavy is imported before it is used: no torch to look at a run, no pandas without a table.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparing import Comparison
    from .following import Event
    from .point import Point
    from .run import Run
    from .searching import search
    from .tables import Table

__all__ = ["Comparison", "Event", "Point", "Run", "Table", "search"]

_HOME = {
    "Comparison": "comparing",
    "Event": "following",
    "Point": "point",
    "Run": "run",
    "Table": "tables",
    "search": "searching",
}


def __getattr__(name: str) -> Any:
    """Loads a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
