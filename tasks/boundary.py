"""The boundary to code that the user wrote: whatever it raises becomes one sentence that names the field."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AutocompressError, TaskError

_PACKAGE = Path(__file__).resolve().parent


@contextmanager
def user_code(what: str, *, remedy: str = "") -> Iterator[None]:
    """Runs the user's code: any exception becomes a TaskError "`what` failed: … (file:line). `remedy`".

    This is the one broad `except` of the package: a model, a dataset or a metric may raise anything, and all
    of it is the user's input. Errors of our own pass through.
    """
    try:
        yield
    except AutocompressError:
        raise
    except (Exception, SystemExit) as error:
        raise TaskError(f"{what} failed: {described(error)}{'. ' + remedy if remedy else ''}") from error


def described(error: BaseException) -> str:
    """One line: the error's type, the first line of its message, and the last place in the user's own files."""
    message = str(error).strip().split("\n", 1)[0]
    place = _place(error)
    return f"{type(error).__name__}{': ' + message if message else ''}{f' ({place})' if place else ''}"


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_file() and _PACKAGE not in path.parents and not _is_library(path):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _is_library(path: Path) -> bool:
    """Whether the file is installed rather than the user's own: site-packages or the standard library."""
    standard = Path(traceback.__file__).resolve().parent
    return (
        "site-packages" in path.parts
        or standard in path.parents
        or Path(sys.base_prefix, "lib") in path.parents
    )
