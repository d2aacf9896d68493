"""The commands of a night as child processes: what a user would run, with its exit code and what it printed.

A crash or a lack of memory ends the child and not the night. A signal to the night is passed on, and the
child ends safely before the night does. Where the system can (Linux), a child also ends when the night is
killed.
"""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..text.printable import printable
from ..text.secrets import stored_command

PROGRAM = (sys.executable, "-P", "-m", "autocompress")
INTERRUPTED, BAD_INPUT, UNAVAILABLE = 130, 2, 3
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_LARGEST_OUTPUT = 64 << 20


def option_words(options: Mapping[str, object]) -> list[str]:
    """Options as words of a command: once for each value of a tuple, alone for True, not at all for None and
    False.
    """
    words: list[str] = []
    for option, value in options.items():
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            values = value if isinstance(value, tuple) else (value,)
            words += [word for one in values for word in (option, str(one))]
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `message` is its error in one sentence, empty where it printed none; `stopped`:
    the night stopped it because its time was over.
    """

    exit_code: int
    output: str
    message: str
    seconds: float
    stopped: bool = False

    @property
    def last_object(self) -> dict[str, Any]:
        """The JSON object that it printed, or the last one of several lines; empty without any."""
        for text in (self.output, *reversed(self.output.splitlines())):
            with suppress(ValueError, RecursionError):
                value = json.loads(text)
                if isinstance(value, dict):
                    return value
        return {}

    @property
    def reason(self) -> str:
        """Why it failed, in words."""
        if self.message:
            return self.message
        if self.exit_code < 0:
            return f"it was ended by signal {-self.exit_code} ({signal.strsignal(-self.exit_code)})"
        return f"it ended with exit code {self.exit_code}"


class Commands:
    """Runs commands of autocompress in the folder `place`. `program` is how it is started."""

    def __init__(self, place: Path, *, program: Sequence[str] = PROGRAM):
        self._place = place
        self._program = tuple(program)

    def run(self, words: Sequence[str], *, log: Path, seconds: float | None = None) -> Ended:
        """Runs `autocompress WORDS` to its end; what it says beside the result is appended to `log`.

        After `seconds` it is asked to stop safely. KeyboardInterrupt is passed on as SIGTERM, and raised
        again when the child has ended.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as output, log.open("a+b") as errors:
            errors.write(f"$ {printable(stored_command(shlex.join(['autocompress', *words])))}\n".encode())
            errors.flush()
            start, began = errors.seek(0, os.SEEK_END), time.monotonic()
            code, stopped = self._wait(words, output, errors, seconds)
            took = time.monotonic() - began
            errors.seek(start)
            message = error_in(errors.read().decode(errors="replace"))
            errors.write(f"exit code {code} after {took:.1f} s\n\n".encode())
            output.seek(0)
            text = output.read(_LARGEST_OUTPUT).decode(errors="replace")
        return Ended(exit_code=code, output=text, message=message, seconds=took, stopped=stopped)

    def _wait(
        self, words: Sequence[str], output: IO[bytes], errors: IO[bytes], seconds: float | None
    ) -> tuple[int, bool]:
        """The exit code, and whether the time was over."""
        night = os.getpid()
        child = subprocess.Popen(
            [*self._program, *words],
            cwd=self._place,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in a terminal reaches the night alone, which passes it on
            preexec_fn=lambda: end_with(night),  # noqa: PLW1509 - it calls one function of the C library
        )
        try:
            try:
                return child.wait(seconds), False
            except subprocess.TimeoutExpired:
                child.terminate()
                return child.wait(), True
        except BaseException:
            child.terminate()
            try:
                child.wait()
            except BaseException:  # asked twice: at once
                child.kill()
                child.wait()
            raise


def end_with(parent: int) -> None:
    """Asks the system to end this process when its parent ends; ends it at once if that was before."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(INTERRUPTED)


def error_in(text: str) -> str:
    """The last error that a command printed, without its beginning `Error: `; of a bug the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    if errors:
        return errors[-1]
    return lines[-1] if "Traceback (most recent call last):" in text else ""
