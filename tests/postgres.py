"""A real PostgreSQL server in a folder of its own, reached by a socket there. As root it runs as another user,
because PostgreSQL refuses to run as root.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import time
from pathlib import Path

BINARIES = next(
    (path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)),
    Path(found).resolve().parent if (found := shutil.which("initdb")) else None,
)
MISSING = "needs PostgreSQL: apt-get install postgresql (.ci/run does it)"
# a crash of the machine may lose data of tests; no other process can reach it
_OPTIONS = ("fsync=off", "listen_addresses=", "max_connections=60", "shared_buffers=16MB")


class Postgres:
    """The server; each `new_database()` is the address of an empty one."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.chmod(0o700)
        self._user = _unprivileged() if os.getuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", folder / "data", "-U", "tests", "-A", "trust", "--no-sync")
        self.start()

    def start(self) -> None:
        assert BINARIES is not None, MISSING
        options = [
            word
            for option in (*_OPTIONS, f"unix_socket_directories={self.folder}")
            for word in ("-c", option)
        ]
        with (self.folder / "log").open("ab") as log:
            command: list[str | Path] = [BINARIES / "postgres", "-D", self.folder / "data", *options]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while self._run("pg_isready", "-h", self.folder, check=False):
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.folder / "log"
            ).read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(2)  # a fast shutdown: connections are ended
        self.process.wait(30)

    def new_database(self) -> str:
        name = f"t{secrets.token_hex(6)}"
        self._run("createdb", "-h", self.folder, "-U", "tests", name)
        return f"postgresql://tests@/{name}?host={self.folder}"

    def _run(self, program: str, *words: object, check: bool = True) -> int:
        assert BINARIES is not None, MISSING
        command = [str(BINARIES / program), *map(str, words)]
        done = subprocess.run(command, user=self._user, cwd=self.folder, capture_output=True, check=False)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.returncode


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
