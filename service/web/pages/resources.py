"""Templates and static files. Nothing is loaded from another machine."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ....profiles.units import format_duration, format_size
from ....results.report.resources import resource
from ....text.printable import printable
from ...access.caller import Caller
from ..schemas import when

STATIC = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "new.js": "text/javascript",
    "plotly.js": "text/javascript",
}
_HERE = files(__package__)


def _shown(value: Any) -> Any:
    """Texts as text: nothing in them acts, and secrets are kept out."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_environment = Environment(
    loader=FileSystemLoader(str(_HERE / "templates")),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["duration"] = lambda seconds: (
    format_duration(round(seconds)) if seconds >= 1 else "a moment"
)
_environment.filters["size"] = format_size
_environment.filters["when"] = lambda seconds: (when(seconds) or "")[:16].replace("T", " ")


def compile_templates() -> None:
    """Reads all templates, which the first page of each would wait for."""
    for name in _environment.list_templates():
        _environment.get_template(name)


def page(template: str, caller: Caller | None, **values: Any) -> str:
    """A template filled for a caller; None before a login."""
    return _environment.get_template(template).render(caller=caller, **values)


@lru_cache
def static_file(name: str) -> tuple[bytes, str]:
    """The content and media type of a file of STATIC."""
    if name == "plotly.js":
        from plotly.offline import get_plotlyjs

        text = get_plotlyjs()
    else:
        text = (_HERE / "static" / name).read_text(encoding="utf-8")
    if name == "style.css":
        text = f"{resource('style.css')}\n{text}"
    return text.encode(), f"{STATIC[name]}; charset=utf-8"


def own_path(path: str) -> str:
    """The path of a page of this service; the list for anything else."""
    return path if path.startswith("/searches") and "\\" not in path and "//" not in path else "/searches"
