"""The boundary to the user's code: whatever it raises becomes one sentence that names the field."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AutocompressError, TaskError

RECIPE = 'docs/tasks.md has a recipe of ten lines: "A model of Hugging Face".'
_PACKAGE = Path(__file__).resolve().parent


@contextmanager
def user_code(what: str, *, remedy: str = "") -> Iterator[None]:
    """Runs the user's code: any exception becomes a TaskError "`what` failed: … (file:line). `remedy`".

    This is the only broad `except` of the package: a model, a dataset or a metric may raise anything, and all
    of it is the user's input. Our own errors pass through.
    """
    try:
        yield
    except AutocompressError:
        raise
    except (Exception, SystemExit) as error:
        ending = f". {remedy}" if remedy else ""
        raise TaskError(f"{what} failed: {described(error).rstrip('.')}{ending}") from error


def described(error: BaseException) -> str:
    """One line: the error's type, the first line of its message, the last place in the user's own files."""
    text = type(error).__name__
    message = str(error).strip().split("\n", 1)[0]
    if message:
        text += f": {message}"
    place = _place(error)
    return f"{text} ({place})" if place else text


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_file() and _PACKAGE not in path.parents and not _is_library(path):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _is_library(path: Path) -> bool:
    """Whether the file is in site-packages or the standard library."""
    folders = Path(traceback.__file__).resolve().parent, Path(sys.base_prefix, "lib")
    return "site-packages" in path.parts or any(folder in path.parents for folder in folders)
