"""Text from outside as text: for a terminal, in HTML, in a cell of CSV, in JSON."""

import json
import re
from html import escape as escape_html
from typing import Any

from .secrets import without_secrets

# Control characters (C0, DEL, C1), line separators, what has no width or changes the direction of its
# neighbours, lone surrogates, language tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: object) -> str:
    """One line in which nothing acts: each control character is its escape, such as `\\x1b` or `\\n`.

    What looks like a secret is kept out. Newlines that are meant are made afterwards, between such lines.
    """
    return _UNSEEN.sub(_escaped, without_secrets(str(text)))


def escape(text: object, *, quote: bool = True) -> str:
    """The same as HTML: for an element, and with its quotes also for an attribute."""
    return escape_html(printable(text), quote=quote)


def csv_cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: `'` stands before its first character."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)


def printable_strings(value: Any) -> Any:
    """A JSON value whose texts are all printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: printable_strings(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [printable_strings(entry) for entry in value]
    return value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON in ASCII: any terminal can show it, and obeys nothing in it.

    ValueError for NaN and infinity.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
