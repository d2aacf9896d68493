"""Standard output and error that take any text, and that may go away.

A terminal without UTF-8 gets `+/-` for `±`. A reader that has read enough (`| head`), or a terminal that was
closed, is no reason to end: what is written afterwards is dropped.
"""

import codecs
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from .log import log_line

_GONE = (errno.EPIPE, errno.EIO)
_STDOUT = "Standard output"
_ERRORS = "autocompress-plain"
_PLAIN = {
    **{"×": "x", "±": "+/-", "★": "*", "≤": "<=", "≥": ">=", "≈": "~", "→": "->", "⇄": "<->", "…": "..."},
    **{
        "–": "-",
        "—": "-",
        "−": "-",
        "─": "-",
        "━": "=",
        "│": "|",
        "█": "#",
        "░": ".",
        "├": "|",
        "└": "|",
        "·": ".",
    },
    **{"█": "#", "░": "."},
    **{"µ": "u", "μ": "u", "²": "^2", "°": " deg ", "’": "'", "“": '"', "”": '"', "Σ": "sum"},
    **{chr(code): "*" for code in range(0x2800, 0x2900)},  # a spinner's dots
}


def lenient_streams() -> None:
    """Replaces sys.stdout and sys.stderr."""
    codecs.register_error(_ERRORS, _plain)
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)


def warnings_as_text() -> None:
    """Prints what is logged as a warning, here or in a library, to stderr. It may name anything."""
    logging.captureWarnings(True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_TextFormatter())
    logging.getLogger().addHandler(handler)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return log_line("warning", super().format(record))


@contextmanager
def flushed() -> Iterator[None]:
    """A block that ends with exit code 2 and one sentence when what it printed cannot be written."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename != _STDOUT:
            raise
        print(f"Error: {_STDOUT} cannot be written ({error.strerror}): free space.", file=sys.stderr)
        sys.exit(2)


def _lenient(stream: TextIO | None) -> TextIO:
    """The same stream; a new one if it is closed. One that was replaced already stays as it is."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Leaving(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        raw, encoding=stream.encoding, errors=_ERRORS, line_buffering=stream.line_buffering
    )


class _Leaving(io.FileIO):
    """A file whose reader may go away; after an error nothing is written any more."""

    def write(self, data: object) -> int:
        """See FileIO. OSError, once, of a disk that is full."""
        view = memoryview(cast(bytes, data))
        try:
            return super().write(view)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno not in _GONE:
                raise OSError(error.errno, error.strerror, _STDOUT) from error
            return view.nbytes


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that an encoding lacks: something alike, else their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    escaped = (character.encode("ascii", "backslashreplace").decode() for character in characters)
    alike = (_PLAIN.get(character, number) for character, number in zip(characters, escaped, strict=True))
    return "".join(alike), error.end
