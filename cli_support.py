"""What every command shares: exit codes, errors as one sentence, quantities from text."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from .errors import AutocompressError, InputError, TargetUnavailable

NOTHING_MEETS, BAD_INPUT, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 130
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})

TargetName = Annotated[str, typer.Option("--target", metavar="T", help="A target's name (`autocompress targets`) or TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, nothing else.")]


def task_arguments(pairs: list[str]) -> dict[str, str]:
    """The arguments of `--task-arg KEY=VALUE`. InputError when one is no pair or comes twice."""
    arguments: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise InputError(f"--task-arg {pair!r} is no KEY=VALUE: write it like --task-arg data=../data.")
        if key in arguments:
            raise InputError(f"--task-arg {key} is given twice: give it once.")
        arguments[key] = value
    return arguments


def parsed(function: str, text: str | None) -> Any:
    """The quantity that a function of profiles.units reads from an option, None when the option was not given."""
    from .profiles import units

    parse: Callable[[str], Any] = getattr(units, function)
    return None if text is None else parse(text)


def say(text: str) -> None:
    """Prints to stderr."""
    print(text, file=sys.stderr)


@contextmanager
def errors() -> Iterator[None]:
    """Turns the project's errors, full disks and Ctrl-C into one sentence on stderr and an exit code."""
    try:
        yield
    except AutocompressError as error:
        say(f"Error: {error}")
        raise typer.Exit(UNAVAILABLE if isinstance(error, TargetUnavailable) else BAD_INPUT) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        say(f"Error: {error.filename or 'The disk'} cannot be written ({error.strerror}): free space or choose another place.")
        raise typer.Exit(BAD_INPUT) from error
