"""The files beside this one, and templates with slots."""

import re
from collections.abc import Mapping
from importlib.resources import files as package_files

_SLOT = re.compile(r"<!--slot:(\w+)-->|/\*slot:(\w+)\*/")


def resource(name: str) -> str:
    """The text of a file of this folder."""
    return (package_files(__package__) / name).read_text(encoding="utf-8")


def still_page(title: str, body: str, *, style: str = "") -> str:
    """A page of HTML in the report's style that holds no script and loads nothing. `title` and `body` are
    HTML, `style` is added to the report's.
    """
    styles = f"{resource('style.css')}\n{style}"
    return filled(resource("still.html"), {"title": title, "style": styles, "body": body})


def filled(template: str, slots: Mapping[str, str]) -> str:
    """The template with each `<!--slot:name-->` or `/*slot:name*/` replaced, once and for all: what a slot
    holds is not looked at again.
    """
    return _SLOT.sub(lambda match: slots[match[1] or match[2]], template)
