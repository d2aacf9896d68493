"""What a worker's replies and its end mean, in the project's errors: the same however the worker was
reached.
"""

import json
import signal
from typing import Any

from ..errors import FailureKind, FailureStage, InputError, StageError, TargetUnavailable

LONGEST_REPLY = 64 * 1024**2  # bytes in one line
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "Cannot allocate memory", "Failed to allocate")


class RubbishError(StageError):
    """A reply that is none: whoever sent it cannot be trusted with another request."""


class VanishedError(StageError):
    """A worker that somebody killed or stopped: the end was none of its own."""


def result_of(line: bytes, operation: str, *, number: int) -> dict[str, Any]:
    """The result in a reply line; a refusal becomes the error that it names. RubbishError if it is no reply
    to request `number`.
    """
    try:
        reply = json.loads(line)
    except ValueError:  # neither JSON nor UTF-8
        reply = None
    if not isinstance(reply, dict) or reply.get("id") != number:
        raise rubbish(operation, f"answered rubbish: {line[:80]!r}")
    if reply.get("ok") is True and isinstance(reply.get("result"), dict):
        return dict(reply["result"])
    kind, message = reply.get("kind"), str(reply.get("message"))
    if kind == "unavailable":
        raise TargetUnavailable(message)
    if kind == "input":
        raise InputError(message)
    if kind == "full":
        raise failure(operation, "device", f"found no space left in {message}; free space there,")
    if kind not in ("error", "memory", "wrong-output", "noisy"):
        raise rubbish(operation, f"answered rubbish: {line[:80]!r}")
    raise StageError(message, stage=stage_of(operation), kind=kind, retryable=kind == "noisy")


def rubbish(operation: str, what: str) -> RubbishError:
    """The error of a worker that says what it must not."""
    return RubbishError(_sentence(operation, what), stage=stage_of(operation), kind="wrong-output")


def too_long(operation: str, limit: int) -> RubbishError:
    """The error of a worker that does not end its line."""
    return rubbish(operation, f"answered more than {limit} bytes in one line")


def failure(operation: str, kind: FailureKind, what: str) -> StageError:
    """The error of a worker that is gone; the same request may succeed in another one."""
    return StageError(_sentence(operation, what), stage=stage_of(operation), kind=kind, retryable=True)


def timed_out(operation: str, timeout_s: float) -> StageError:
    """The error of a worker that does not answer."""
    return failure(operation, "timeout", f"did not answer within {timeout_s:g} s")


def death(operation: str, *, code: int, tail: str, oom: bool) -> StageError:
    """The error of a worker that ended: memory if that was the reason (`oom`: the kernel killed for want of
    it), or a crash.
    """
    if oom or any(word in tail for word in _MEMORY_WORDS):
        message = _sentence(operation, f"ran out of memory. {tail}")
        # the kernel kills the largest process, though another one may have taken the memory
        return StageError(message, stage=stage_of(operation), kind="memory", retryable=oom)
    if "No space left on device" in tail:
        return failure(operation, "device", f"found the disk full. {tail}")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if is_from_outside(code):
        return vanished(operation, f"was killed ({how}). {tail}")
    return failure(operation, "crash", f"crashed ({how}). {tail}")


def is_from_outside(code: int) -> bool:
    """Whether somebody else ended the process that has this exit code."""
    return -code in _FROM_OUTSIDE


def vanished(operation: str, what: str) -> VanishedError:
    """The error of a worker that somebody killed or stopped."""
    return VanishedError(_sentence(operation, what), stage=stage_of(operation), kind="crash", retryable=True)


def stage_of(operation: str) -> FailureStage:
    """The stage that an operation of the worker belongs to."""
    return "measure" if operation == "measure" else "run"


def _sentence(operation: str, what: str) -> str:
    return f"The worker {what.strip()} (operation {operation!r})"
