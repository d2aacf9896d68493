"""Every error that autocompress raises on purpose.

    AutocompressError
    ├── InputError              exit 2: something the user gave is wrong; the message names it and the remedy
    │   ├── TaskError           the task file, its model, data or metric
    │   ├── ProfileError        a target's name or TOML file
    │   └── RunDirectoryError   a run directory of another task, in use, read-only or damaged
    ├── TargetUnavailable       exit 3: the target cannot be used now (no runtime, no connection, too noisy)
    ├── StageError              one candidate failed in a stage; becomes a Failure, never ends the search
    └── OutOfTime               the time is over while something is made for a candidate; ends no search

Anything else that escapes (TypeError, KeyError …) is a bug and propagates.
"""

from typing import Literal

FailureStage = Literal["prune", "reconstruct", "recover", "export", "calibrate", "build", "run", "measure"]
FailureKind = Literal["error", "crash", "timeout", "memory", "wrong-output", "noisy", "device"]


class AutocompressError(Exception):
    """The root; `str(error)` is one sentence (or two) fit for a terminal."""


class InputError(AutocompressError):
    """Something the user gave is wrong (exit code 2)."""


class TaskError(InputError):
    """The task cannot be used; the message names the field and how to mend it."""


class ProfileError(InputError):
    """A target is unknown or its TOML file is wrong."""


class RunDirectoryError(InputError):
    """A run directory cannot be used or continued."""


class TargetUnavailable(AutocompressError):  # noqa: N818 - a state of the target, not a mistake
    """The target cannot be used now (exit code 3)."""


class OutOfTime(AutocompressError):  # noqa: N818 - nothing is wrong
    """The time for candidates is over, and what is being made for one takes too long to wait for."""


class StageError(AutocompressError):
    """One candidate failed in `stage`; `retryable`: the same candidate may succeed when tried again."""

    def __init__(
        self, message: str, *, stage: FailureStage, kind: FailureKind = "error", retryable: bool = False
    ):
        super().__init__(message)
        self.stage: FailureStage = stage
        self.kind: FailureKind = kind
        self.retryable = retryable


def is_away(error: Exception) -> bool:
    """Whether the error says that the board cannot be reached now, and nothing about the candidate."""
    return isinstance(error, TargetUnavailable) or (isinstance(error, StageError) and error.kind == "device")
