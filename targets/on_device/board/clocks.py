"""Sets a Jetson's power mode and fixes its clocks while a search runs, and puts back what was there before.

Nothing here runs unless it is asked for (`--set-clocks`). A process of its own does it, the guard: it
restores when it is told to, and when the worker that started it is gone, killed or cut off. Before anything
is changed, what was there is written to a state file, and a lock is held for as long as the guard lives. If
the guard itself is killed, the file remains without the lock, and the next worker on the device restores
first.

`nvpmodel -m ID` asks whether to reboot where a mode has other cores or parts of the GPU; it is answered with
"no":

    NVPM WARN: Reboot required for changing to this power mode: 1
    NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:
    NVPM ERROR: optMask is 1, no request for power mode

`jetson_clocks --store FILE` keeps minima, maxima and the memory's clock, `jetson_clocks` sets the power
mode's maxima, `jetson_clocks --restore FILE` puts the stored ones back
(docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/SD/ PlatformPowerAndPerformance). All three need root:
`sudo -n` never asks for a password.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..runtime import RefusedError, Request
from .state import power_mode_number, power_modes, read_state

TIMEOUT_S = 60.0  # nvpmodel waits for the GPU to be idle
LOCK_WAIT_S = 20.0  # for a guard that is putting back what a dropped connection had set
SUDOERS = "{user} ALL=(root) NOPASSWD: /usr/sbin/nvpmodel, /usr/bin/jetson_clocks"


class CannotSetError(RefusedError):
    """The clocks cannot be set; nothing is changed then. The message says what to do."""

    def __init__(self, message: str):
        super().__init__(message, kind="unavailable")


class Before(NamedTuple):
    """What was there before the clocks were set: the power mode's number, the file of jetson_clocks."""

    power_mode: int | None
    stored: str


class Clocks:
    """The clocks of this device. `folder` keeps the state file: it survives a killed process, and a reboot.

    `root` is where the state of the board is read from (state.py).
    """

    def __init__(self, folder: Path, *, root: str = "/"):
        self._folder = folder
        self._root = root
        self._file = folder / "clocks.json"
        self._stored = folder / "jetson_clocks.conf"
        self._lock: IO[str] | None = None

    def set(self, power_mode: str | None) -> dict[str, Any]:
        """Switches to the power mode (None: the present one) and fixes the clocks; what was there, and what
        is now.

        CannotSetError where the device has no power modes, or not this one, is set by another process, needs
        a reboot, or has no rights for it.
        """
        modes, before = power_modes(self._root), power_mode_number(self._root)
        if not modes or before is None:
            raise CannotSetError("This device has no nvpmodel power modes: leave out --set-clocks.")
        numbers = {name: number for number, name in modes.items()}
        wanted = numbers.get(power_mode) if power_mode else before
        if wanted is None:
            raise CannotSetError(
                f"This device has no power mode {power_mode!r}, but {', '.join(modes.values())}: "
                "say which one in the profile's power_mode, or leave out --set-clocks."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._locked(wait_s=LOCK_WAIT_S):
            raise CannotSetError(
                "Another search on this device has set its clocks: wait for it, or leave out --set-clocks."
            )
        try:
            self._restore_left()  # of a process that was killed
            before = power_mode_number(self._root)
            self._stored.unlink(missing_ok=True)  # jetson_clocks asks before it overwrites
            self._sudo("jetson_clocks", "--store", str(self._stored))
            _write(self._file, Before(before, str(self._stored)))
            self._switch(wanted, modes[wanted], before)
            self._sudo("jetson_clocks")
        except BaseException:
            self.restore()
            raise
        return {"before": modes.get(before or 0), "power_mode": modes[wanted]}

    def _switch(self, wanted: int, name: str, before: int | None) -> None:
        if wanted == before:
            return
        printed = self._sudo("nvpmodel", "-m", str(wanted), answer="no\n")
        if "reboot required" in printed.lower():
            raise CannotSetError(
                f"The power mode {name} needs a reboot of the device, which is left to you: "
                f"run `sudo nvpmodel -m {wanted}` there, answer YES, and start again."
            )
        if power_mode_number(self._root) != wanted:
            reason = printed or "nvpmodel said nothing"
            raise CannotSetError(f"The device did not switch to the power mode {name}: {reason}.")

    def restore(self) -> bool:
        """Puts back what `set` changed, if this process did, and lets the lock go; whether there was
        something to restore.
        """
        if self._lock is None:
            return False
        try:
            return self._restore_left()
        finally:
            self._lock.close()
            self._lock = None

    def restore_left_behind(self) -> bool:
        """Puts back what a process that was killed had changed; False if there is nothing, or its process
        still lives.
        """
        if not self._file.exists() or not self._locked():
            return False
        return self.restore()

    def _restore_left(self) -> bool:
        """Mode first, since it sets the maxima anew; what fails is kept for the next try."""
        before = _read(self._file)
        if before is None:
            return False
        if before.power_mode is not None and before.power_mode != power_mode_number(self._root):
            self._sudo("nvpmodel", "-m", str(before.power_mode), answer="no\n")
        if Path(before.stored).exists():
            self._sudo("jetson_clocks", "--restore", before.stored)
        for file in (self._file, Path(before.stored)):
            with contextlib.suppress(OSError):
                file.unlink()
        return True

    def _locked(self, *, wait_s: float = 0.0) -> bool:
        """Takes the lock that lives as long as this process; False if another process has it for longer than
        `wait_s`.
        """
        if self._lock is not None:
            return True
        lock, deadline = (self._folder / "clocks.lock").open("a"), time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= deadline:
                    lock.close()
                    return False
                time.sleep(0.1)
            else:
                self._lock = lock
                return True

    def _sudo(self, tool: str, *arguments: str, answer: str = "") -> str:
        """What the tool printed, as root."""
        command: list[str] = ["sudo", "-n", tool, *arguments]
        try:
            done = subprocess.run(
                command,
                input=answer.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotSetError(f"`{' '.join(command)}` cannot be run on the device: {error}.") from error
        printed = " ".join(done.stdout.decode(errors="replace").split())
        if done.returncode and "reboot required" not in printed.lower():
            raise CannotSetError(
                f"`{' '.join(command)}` failed on the device ({printed}). {sudoers_remedy()}"
            )
        return printed


# --- the guard: a process that sets the clocks, and puts them back when the worker that started it is gone,
# however it went

GUARD = "import sys; sys.path.append({parent!r}); from {package}.clocks import guard; guard({request!r})"


def guard(request: Request) -> None:
    """Sets the clocks, says so in a line of JSON, waits for standard input to say anything or to close, and
    puts them back.
    """
    ours = Clocks(state_folder(), root=request["root"])

    def restored(*_: Any) -> None:
        try:
            result: dict[str, Any] = {"restored": ours.restore()}
        except CannotSetError as error:
            result = {"error": str(error)}
        with contextlib.suppress(OSError):  # nobody may be there to read it
            print(json.dumps(result), flush=True)
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, restored)
    try:
        print(json.dumps(ours.set(request["power_mode"])), flush=True)
    except CannotSetError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    else:
        sys.stdin.readline()
    restored()


_guards: list[subprocess.Popen[bytes]] = []


def set_clocks(_: Any, request: Request) -> dict[str, Any]:
    """Sets the power mode `request["power_mode"]` (null: the present one) and fixes the clocks until
    restore_clocks, or until this process is gone; if that was done, it says so again. CannotSetError says why
    not.
    """
    if _guards and _guards[-1].poll() is None:
        return {"held": True}
    here = Path(__file__).resolve().parent
    wanted = {"power_mode": request["power_mode"], "root": request.get("root", "/")}
    package = f"{here.parent.name}.{here.name}"
    code = GUARD.format(parent=str(here.parents[1]), package=package, request=wanted)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    result = _answer(process)
    _guards.append(process)
    return result


def restore_clocks(_: Any, request: Request) -> dict[str, Any]:
    """Puts back what set_clocks changed. CannotSetError where that fails; the next process on this device
    tries again.
    """
    while _guards:
        process = _guards.pop()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"restore\n")
            process.stdin.flush()
        _answer(process)
    return {}


def _answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The guard's next line. CannotSetError if it says so, or has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise CannotSetError("The process that sets the clocks ended.")
    result: dict[str, Any] = json.loads(line)
    if "error" in result:
        raise CannotSetError(result["error"])
    return result


def condition(_: Any, request: Request) -> dict[str, Any]:
    """What `targets doctor` asks, as a JSON value: see Condition."""
    root = request.get("root", "/")
    modes = power_modes(root)
    return {
        "state": read_state(root)._asdict(),
        "power_modes": {str(number): name for number, name in modes.items()},
        "may_set": bool(modes) and may_set(),
        "remedy": sudoers_remedy() if modes else "",
    }


def restore_left_behind(request: Request) -> None:
    """Puts back what a process that was killed had changed on this device; a failure is told on standard
    error.
    """
    try:
        Clocks(state_folder(), root=request.get("root", "/")).restore_left_behind()
    except (CannotSetError, OSError, RuntimeError) as error:  # the last one: a user without a home
        print(f"The clocks could not be put back: {error}", file=sys.stderr, flush=True)


def may_set() -> bool:
    """Whether this user may run both tools as root without a password."""
    for tool in ("nvpmodel", "jetson_clocks"):
        try:
            done = subprocess.run(
                ["sudo", "-n", "-l", tool],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        if done.returncode:
            return False
    return True


def sudoers_remedy() -> str:
    """The command that gives this user the rights, and no others."""
    line = SUDOERS.format(user=getpass.getuser())
    return f"To allow it, on the device: echo '{line}' | sudo tee /etc/sudoers.d/autocompress"


def state_folder() -> Path:
    """Where the state file is unless the caller says otherwise: in the user's cache folder, where it survives
    a reboot.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autocompress" / "clocks"


def _write(path: Path, before: Before) -> None:
    """Written whole, and on the disk, before anything is changed."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(before._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read(path: Path) -> Before | None:
    """The state file's content; None if there is none, or none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Before(value["power_mode"], str(value["stored"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
