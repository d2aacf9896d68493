"""A real OpenSSH server on loopback with its own keys, port and client configuration: a board that needs no
hardware.

As root it serves an unprivileged user of its own, if that one can start a Python with the runtimes; otherwise
whoever runs the tests.
"""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocompress.profiles.address import TargetAddress
from autocompress.targets.ssh.board import Board, BoardSettings

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
USER = "autocompress-test"
MISSING = "needs an SSH server: apt-get install openssh-server (.ci/run does it)"
_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
PrintMotd no
SetEnv TMPDIR={folder}/tmp AUTOCOMPRESS_LOCKS={folder}/locks XDG_CACHE_HOME={folder}/cache {environment}
"""
_CLIENT = """\
Host *
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    HashKnownHosts no
    UpdateHostKeys no
"""


class Sshd:
    """The server. `config` is the client's configuration, `python` an interpreter with the runtimes that the
    user can start.
    """

    def __init__(self, folder: Path, **environment: str):
        folder.chmod(0o755)
        self.folder, self.port = folder, _free_port()
        self.user, self.python = _user_and_python(folder)
        for name in ("tmp", "cache", "locks"):
            (folder / name).mkdir()
            (folder / name).chmod(0o1777)
        for name in ("host_key", "key"):
            make_key(folder / name)
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        (folder / "authorized_keys").chmod(0o644)
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {(folder / 'host_key.pub').read_text()}")
        self.config = folder / "ssh_config"
        self.config.write_text(_CLIENT.format(user=self.user, folder=folder))
        own = " ".join(f"{key}={value}" for key, value in environment.items())
        (folder / "sshd_config").write_text(_SERVER.format(port=self.port, folder=folder, environment=own))
        self.start()

    @property
    def address(self) -> TargetAddress:
        return TargetAddress(profile="cpu", host="127.0.0.1", port=self.port)

    def board(self, *, python: Path | None = None, **settings: Any) -> Board:
        """A board on this server."""
        return Board(
            self.address,
            python=str(python or self.python),
            ssh_config=self.config,
            settings=BoardSettings(**settings),
        )

    def put_on_path(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes `ssh` read this server's client configuration, as if it were `~/.ssh/config`."""
        script = folder / "ssh"
        script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.config} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert SSHD is not None, MISSING
        log = (self.folder / "log").open("ab")
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, (
                    self.folder / "log"
                ).read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server, and the connections that it serves."""
        self.kill_connections()
        self.process.terminate()
        self.process.wait()

    def kill_connections(self) -> int:
        """Kills the server's processes that serve connections, as a network that breaks down would; how many
        there were.
        """
        serving = [
            pid
            for pid in descendants(self.process.pid)
            if command_of(pid)[:1] and command_of(pid)[0].startswith("sshd:")
        ]
        for pid in serving:
            kill(pid, signal.SIGKILL)
        return len(serving)

    def processes(self, *, having: str = "") -> list[int]:
        """What runs for boards of this server (agents, workers, shells) and has `having` in its command line.

        They are known by the folder of locks, which all of them have.
        """
        mark, found = f"AUTOCOMPRESS_LOCKS={self.folder}/locks".encode(), []
        for entry in Path("/proc").iterdir():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdecimal() else []
                if mark in variables:
                    found += (
                        [int(entry.name)]
                        if any(having in word for word in command_of(int(entry.name)))
                        else []
                    )
            except OSError:
                continue
        return found

    def workers(self) -> list[int]:
        """The worker processes."""
        return self.processes(having="/worker-")

    def wait_until_quiet(self, *, timeout_s: float = 30.0) -> None:
        """Until no agent and no worker is left; AssertionError names the orphans."""
        deadline = time.monotonic() + timeout_s
        while orphans := self.processes():
            assert time.monotonic() < deadline, f"orphans: {[command_of(pid) for pid in orphans]}"
            time.sleep(0.05)


def make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "autocompress test", "-f", str(path)]
    subprocess.run(command, check=True)


def command_of(pid: int) -> list[str]:
    """The command line of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_port() -> int:
    """A port below those that Linux gives to clients (32768 and up): none of these takes it while the server
    is stopped, and a client that tries to reach a stopped server is not connected with itself.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().randrange(10_000, 30_000)))
            return int(probe.getsockname()[1])


def _user_and_python(folder: Path) -> tuple[str, Path]:
    """An unprivileged user and a Python for it, if there can be both."""
    mine, packages = pwd.getpwuid(os.getuid()).pw_name, Path(np.__file__).parent.parent
    python = folder / "python"
    if os.getuid() == 0 and _made_user():
        for interpreter in (sys.executable, "/usr/bin/python3"):
            _write_python(python, interpreter, packages)
            if _works(python, USER):
                return USER, python
    _write_python(python, sys.executable, packages)
    return mine, python


def _write_python(path: Path, interpreter: str, packages: Path) -> None:
    path.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {interpreter} "$@"\n')
    path.chmod(0o755)


def _works(python: Path, user: str) -> bool:
    try:
        command = [str(python), "-c", "import numpy, onnxruntime"]
        return (
            subprocess.run(command, user=user, cwd="/", env={}, capture_output=True, check=False).returncode
            == 0
        )
    except OSError:
        return False


def _made_user() -> bool:
    try:
        pwd.getpwnam(USER)
        return True
    except KeyError:
        command = ["useradd", "--system", "--create-home", "--shell", "/bin/sh", "--password", "*", USER]
        return shutil.which("useradd") is not None and subprocess.run(command, check=False).returncode == 0
