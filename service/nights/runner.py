"""The runner: begins nights at their time, and goes on with those that were interrupted."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ...errors import AutocompressError
from ...files import write_text
from ...nightly.commands import PROGRAM, end_with
from ...nightly.night_run import continued
from ..database.opened import Database
from ..listed import Listed
from ..queue.job import ConflictError
from ..telling.outbox import tell
from .files import NightFile, NightFiles

_LOOK_S, _PATIENCE_S = 10.0, 330.0


class NightRunner:
    """Runs nights of `files` as child processes, with these variables; what they say goes to `data/logs`.
    `program` is how autocompress is started.
    """

    def __init__(
        self,
        files: NightFiles,
        database: Database,
        listed: Listed,
        *,
        data: Path,
        variables: Mapping[str, str],
        program: Sequence[str] = PROGRAM,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ):
        self._files, self._database, self._listed = files, database, listed
        self._data, self._variables, self._program, self._clock = data, variables, program, clock
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._asked: set[str] = set()
        self._lock, self._ends, self._wake = threading.Lock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Starts looking at the clock; nothing to do where no file is listed."""
        if self._files.names:
            self._thread.start()

    def stop(self) -> None:
        """Ends the nights that run at a safe place; the next start goes on with them."""
        self._ends.set()
        self._wake.set()
        with self._lock:
            running = list(self._running.values())
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join()

    def running(self, name: str) -> bool:
        """Whether a night of this file runs."""
        with self._lock:
            return name in self._running and self._running[name].poll() is None

    def begin(self, name: str) -> None:
        """Has a night begun at once. ConflictError when one runs, or when the file cannot be used."""
        file = self._files.read(name)
        if file.config is None:
            raise ConflictError(f"The file of {name} cannot be used: {file.wrong}")
        if self.running(name):
            raise ConflictError(f"A night of {name} runs already.")
        with self._lock:
            self._asked.add(name)
        self._wake.set()

    def look(self) -> None:
        """Begins what is due, and settles what has ended."""
        for name in self._files.names:
            with self._lock:
                process = self._running.get(name)
                over = process is not None and process.poll() is not None
                if over:
                    del self._running[name]
            if process is not None and over:
                self._settle(name, process.returncode)
            elif process is None and (name in self._asked or self._due(self._files.read(name))):
                self._asked.discard(name)
                self._start(self._files.read(name))

    def _work(self) -> None:
        self._guarded()
        while not self._ends.is_set():
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            self._guarded()

    def _guarded(self) -> None:
        try:
            self.look()
        except (AutocompressError, OSError) as error:
            write_text(self._data / "logs" / "nightly.wrong", str(error))

    def _due(self, file: NightFile) -> bool:
        """Whether its time has come today, or a night of today was interrupted."""
        now = self._clock()
        if file.config is None or file.config.at is None or self._ends.is_set():
            return False
        begun = self._marker(file.name).is_file() and self._marker(file.name).read_text() == f"{now:%Y-%m-%d}"
        if begun:
            night = continued(file.nights, file.config, now)
            return night is not None and night.status == "running"
        return now.time() >= file.config.at

    def _marker(self, name: str) -> Path:
        return self._data / "nightly" / f"{name}.begun"

    def _start(self, file: NightFile) -> None:
        """Starts a night, from the thread that stays: the system ends the night with the thread."""
        self._marker(file.name).parent.mkdir(parents=True, exist_ok=True)
        write_text(self._marker(file.name), f"{self._clock():%Y-%m-%d}")
        parent, log = os.getpid(), self._data / "logs" / f"nightly-{file.name}.log"
        with log.open("ab") as output, self._lock:
            self._running[file.name] = subprocess.Popen(
                [*self._program, "nightly", str(file.path)],
                cwd=file.path.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self._variables),
                start_new_session=True,
                preexec_fn=lambda: end_with(parent),  # noqa: PLW1509 - it calls one function of the C library
            )

    def _settle(self, name: str, code: int) -> None:
        nights = self._files.read(name).nights
        last = nights[-1] if nights else None
        about = {
            "name": name,
            "night": last.name if last else "",
            "exit_code": code,
            "reason": last.reason if last else "It made no record.",
        }
        with self._database.writing() as session:
            tell(session, self._listed.events, "night", name, {"night": about}, at=self._clock().timestamp())
