"""The files about nights: written whole or not at all, from the records alone."""

from collections.abc import Sequence
from pathlib import Path

from ...files import write_text
from ...text.printable import json_text, printable_strings
from ..records.night import Night
from .junit import junit_xml
from .markdown import night_markdown
from .page import nights_page
from .summary_json import summary_json


def write_pages(folder: Path, nights: Sequence[Night]) -> tuple[Path, ...]:
    """Writes index.html, summary.json, junit.xml and summary.md of these nights (in the order of time, at
    least one) to the folder, and returns their paths.
    """
    last = nights[-1]
    texts = {
        "index.html": nights_page(nights),
        "summary.json": json_text(printable_strings(summary_json(nights)), indent=1) + "\n",
        "junit.xml": junit_xml(last),
        "summary.md": night_markdown(last),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def append_summary(path: Path, night: Night) -> None:
    """Adds the night to a file of Markdown, such as the one that GITHUB_STEP_SUMMARY names. OSError when it
    cannot be written.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(night_markdown(night))
