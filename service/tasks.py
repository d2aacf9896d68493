"""The registered tasks: what may be searched, with which arguments, on which boards."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..profiles import TargetAddress
from ..results.target_limits import target_addresses
from ..tasks.arguments import converted
from .config import DIGITS, ServeConfig
from .order import Order
from .signatures import Parameter, stub
from .upload_kinds import kinds_of
from .uploads import uploads_in

_PATIENCE_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """`parameters` are those of each task by its name, without the ones that the administrator fixed."""

    config: ServeConfig
    parameters: Mapping[str, tuple[Parameter, ...]]

    @classmethod
    def of(cls, config: ServeConfig) -> "Tasks":
        """Asks the functions what they take; their code runs in a process of its own. InputError when one
        cannot be used.
        """
        others = [one for one in config.tasks.values() if one.spec != DIGITS.spec]
        answers = _asked([one.spec for one in others]) if others else []
        parameters: dict[str, tuple[Parameter, ...]] = {
            name: () for name, one in config.tasks.items() if one.spec == DIGITS.spec
        }
        for source, answer in zip(others, answers, strict=True):
            if isinstance(answer, str):
                raise InputError(f"The task {source.name!r} of serve.toml cannot be used: {answer}")
            given = [Parameter(**one) for one in answer]
            parameters[source.name] = tuple(one for one in given if one.name not in source.arguments)
        return cls(config=config, parameters=parameters)

    def uploadable(self, task: str) -> dict[str, tuple[str, ...]]:
        """The arguments of a registered task that may be uploads, and the kinds that each takes."""
        spec = self.config.tasks[task].spec
        paths = [one.name for one in self.parameters[task] if one.kind == "Path"]
        return {name: kinds for name in paths if (kinds := kinds_of(spec, name))}

    def require(self, order: Order, *, upload_kind: Callable[[str], str | None] = lambda _: None) -> None:
        """InputError for a task that is not registered, arguments that its function does not take or that
        lead elsewhere than allowed, and a board that is not listed. `upload_kind` is that of an upload by its
        SHA-256; None for one that there is not.
        """
        if order.task not in self.parameters:
            names = ", ".join(sorted(self.parameters))
            raise InputError(f"There is no registered task {order.task!r}: choose {names}.")
        parameters = self.parameters[order.task]
        values = converted(order.task, stub(parameters), order.arguments)
        uploadable = self.uploadable(order.task)
        for name, text in order.arguments.items():
            for digest in uploads_in(text):
                _require_upload(name, uploadable.get(name, ()), upload_kind(digest))
        for one in parameters:
            if one.kind == "Path" and one.name in values:
                for path in values[one.name] if one.many else (values[one.name],):
                    if not uploads_in(str(path)):
                        self._require_inside(one.name, path)
        listed = {str(board) for device in self.config.devices for board in _boards(device)}
        for board in _boards(order.target):
            if not board.local and str(board) not in listed:
                names = ", ".join(sorted(listed)) or "there is none"
                raise InputError(
                    f"{board} is no board of this service ({names}): the administrator lists it."
                )

    def _require_inside(self, name: str, path: Path) -> None:
        resolved = path.resolve()
        if not path.is_absolute() or not any(resolved.is_relative_to(one) for one in self.config.data):
            folders = ", ".join(map(str, self.config.data)) or "there is none"
            raise InputError(
                f"The argument {name}={str(path)!r} is not below a folder for data ({folders}): "
                "give an absolute path below one."
            )


def _boards(text: str) -> list[TargetAddress]:
    """The boards of all targets in `T[,T…]`, and those that are the worker's own machine."""
    return [board for address in target_addresses(text).values() for board in address.boards]


def _require_upload(name: str, kinds: tuple[str, ...], kind: str | None) -> None:
    """InputError unless an argument takes an upload of this kind; None: there is none."""
    if not kinds:
        raise InputError(f"The argument {name!r} takes no upload: see `GET /v1/tasks` for those that do.")
    if kind is None:
        raise InputError(f"The argument {name!r} names no upload of yours: upload it first.")
    if kind not in kinds:
        raise InputError(f"The argument {name!r} takes {' or '.join(kinds)}, and that upload is {kind}.")


def _asked(specs: list[str]) -> list[list[dict[str, Any]] | str]:
    command = [sys.executable, "-P", "-m", "autocompress.service.signatures", *specs]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        answers: list[list[dict[str, Any]] | str] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise InputError(f"The tasks of serve.toml cannot be loaded within {_PATIENCE_S} s.") from error
    except (ValueError, IndexError) as error:
        last = (done.stderr.strip().splitlines() or ["they printed nothing"])[-1]
        raise InputError(f"The tasks of serve.toml cannot be loaded: {last}.") from error
    return answers
