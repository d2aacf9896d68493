"""What every command shares: exit codes, errors as one sentence, quantities from text."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AutocompressError, InputError, TargetUnavailable
from ..text.printable import printable
from .console.completion import complete_run, complete_target, complete_task
from .console.interruption import INTERRUPTED
from .console.log import say, say_error

if TYPE_CHECKING:
    from ..deploy.given_task import GivenTask
    from ..nightly.search_recipe import SearchRecipe
    from ..results.limits import Constraints
    from ..results.records.run import Run

NOTHING_MEETS, BAD_INPUT, UNAVAILABLE, REGRESSED = 1, 2, 3, 4
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
_IN_THE_WAY = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST})  # a folder for a file, or a file for one
_NOT_THERE = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP})

TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        autocompletion=complete_target,
        metavar="T[@user@host[:port]]",
        help="A target's name (`autocompress targets`) or TOML file, with the device's address. Several "
        "boards of one kind: T@a+b, on whichever is free.",
    ),
]
TargetNames = Annotated[
    str,
    typer.Option(
        "--target",
        autocompletion=complete_target,
        metavar="T[,T…]",
        help="Targets by name (`autocompress targets`) or TOML file, over SSH T@user@host[:port], on a Ray "
        "cluster T@ray. Several boards of one kind are one target: T@a+b measures on whichever is free.",
    ),
]
TaskArguments = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An argument of the task's function; repeatable. A token: KEY=env:NAME, from the environment.",
    ),
]
GivenTaskSpec = Annotated[
    str | None,
    typer.Option(
        "--task",
        autocompletion=complete_task,
        metavar="TASK",
        help="The search's task: path/to/file.py:function or a built-in one. Code and data that only the run "
        "or bundle names are not loaded.",
    ),
]
Batch = Annotated[int, typer.Option(help="The batch size that is measured.")]
FreeShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=SIZE",
        help="Size of a dimension that the task leaves free, at which latency is measured, such as "
        "tokens=128; several with how often each occurs: tokens=32:0.7,128:0.3.",
    ),
]
SetClocks = Annotated[
    bool,
    typer.Option(
        "--set-clocks",
        help="On a Jetson: set the profile's power mode and fix the clocks while measuring (needs sudo).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, nothing else.")]
RunPath = Annotated[
    Path,
    typer.Argument(
        autocompletion=complete_run,
        metavar="RUN",
        help="The run directory that `search` wrote, such as runs/digits-cpu.",
    ),
]
MaxDrop = Annotated[
    str | None,
    typer.Option(help="Largest loss of quality: 1pp (points), 1% (of the original) or 0.1abs."),
]
MaxLatency = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[T=]TIME", help="Longest latency of one inference, such as 2ms; T=2ms on one target."
    ),
]
MaxSize = Annotated[
    list[str] | None,
    typer.Option(metavar="[T=]SIZE", help="Largest size of the file, such as 200KB (1 KB = 1024 B)."),
]
MaxEnergy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[T=]ENERGY",
        help="Most energy of one inference, such as 5mJ, where a sensor counts it (`targets doctor`).",
    ),
]
TargetOfRun = Annotated[
    str | None, typer.Option("--target", metavar="T", help="One target of a run with several.")
]


def task_arguments(pairs: list[str]) -> dict[str, str]:
    """The arguments of `--task-arg KEY=VALUE`. InputError when one is not a pair or comes twice."""
    arguments: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise InputError(f"--task-arg {pair!r} is no KEY=VALUE: write it like --task-arg data=../data.")
        if key in arguments:
            raise InputError(f"--task-arg {key} is given twice: give it once.")
        arguments[key] = value
    return arguments


def given_task(spec: str | None, pairs: list[str] | None, *, run: Path) -> "GivenTask | None":
    """The task of `--task` with its `--task-arg`s, None when it is not given; paths that are not here are
    taken from where the search of the run ran. InputError for arguments of none, and for a name that no task
    has.
    """
    from ..deploy.given_task import GivenTask, from_search_folder
    from ..tasks.names import require_task

    if spec is None and pairs:
        raise InputError("--task-arg is an argument of --task: give --task as well.")
    if spec is None:
        return None
    given = GivenTask(spec=spec, arguments=task_arguments(pairs or []))
    given, note = from_search_folder(given, run)
    if note:
        say(note)
    require_task(given.spec)
    return given


def parsed(function: str, text: str | None) -> Any:
    """The value of an option, read by a function of profiles.units. None when the option was not given."""
    from ..profiles import units

    parse: Callable[[str], Any] = getattr(units, function)
    return None if text is None else parse(text)


def limits_by_target(
    targets: Sequence[str],
    *,
    max_drop: str | None,
    max_latency: Sequence[str] | None,
    max_size: Sequence[str] | None,
    max_energy: Sequence[str] | None = None,
) -> "dict[str, Constraints]":
    """The limits of each target from the options' texts. InputError says what is wrong with one."""
    from ..results.target_limits import limits_of

    return limits_of(
        targets, max_drop=max_drop, max_latency=max_latency, max_size=max_size, max_energy=max_energy
    )


def part_of(run: "Run", target: str | None) -> "Run":
    """The run of one target alone, or the whole run without `target`. InputError for an unknown target."""
    from ..results.view import RunOn

    return RunOn.of(run, target).run if target else run


def show(*lines: object) -> None:
    """Prints lines to stdout; whatever they say is text."""
    for line in lines:
        print(printable(line))


@contextmanager
def errors() -> Iterator[None]:
    """Turns the project's errors, files that cannot be written and Ctrl-C into one sentence on stderr and an
    exit code.
    """
    try:
        yield
    except AutocompressError as error:
        say_error(f"Error: {error}")
        raise typer.Exit(UNAVAILABLE if isinstance(error, TargetUnavailable) else BAD_INPUT) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        named = error.filename2 or error.filename
        if error.errno in _DISK_ERRORS | _IN_THE_WAY:
            remedy = "remove it" if error.errno in _IN_THE_WAY else "free space or choose another place"
            say_error(f"Error: {named or 'The disk'} cannot be written ({error.strerror}): {remedy}.")
        elif error.errno in _NOT_THERE and named:
            say_error(f"Error: {named} cannot be used ({error.strerror}): choose another place.")
        else:
            raise
        raise typer.Exit(BAD_INPUT) from error


def recipe_named(name: str) -> "SearchRecipe":
    """The recipe of this name. InputError lists those that there are."""
    from ..nightly.search_recipe import named_recipe, read_recipes

    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return named_recipe(read_recipes(Path(base) / "autocompress" / "recipes.toml"), name)


def given_options(context: typer.Context) -> tuple[str, ...]:
    """The names of the options that the user gave."""
    return tuple(name for name in context.params if _is_given(context, name))


def given_or(context: typer.Context, option: str, value: str, other: str | None) -> str:
    """The value of an option if the user gave it, or `other` where that is one."""
    return value if other is None or _is_given(context, option) else other


def _is_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is None or source.name != "DEFAULT"
