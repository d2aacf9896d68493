"""Two SSH servers on this machine that play two boards of a kind; the second one may be made to differ."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from autocompress.tests.sshd import SSHD, Sshd

SLOWER = "import time\n_own = time.thread_time\ntime.thread_time = lambda: 1.3 * _own()\n"
OTHER_MACHINE = """\
import pathlib
_own = pathlib.Path.read_text
def _read(path, *arguments, **options):
    return "another one" if str(path) == "/etc/machine-id" else _own(path, *arguments, **options)
pathlib.Path.read_text = _read
"""
OTHER_PYTHON = "import platform\nplatform.python_version = lambda: '3.8.99'\n"


@contextmanager
def another_board(*, differs: str = "") -> Iterator[Sshd]:
    """A server whose Python runs `differs` when it starts."""
    assert SSHD is not None
    folder = Path(tempfile.mkdtemp(prefix="autocompress-sshd-"))
    server = Sshd(folder)
    if differs:
        (folder / "sitecustomize.py").write_text(differs)
        text = server.python.read_text()
        server.python.write_text(text.replace("PYTHONPATH=", f"PYTHONPATH={folder}:"))
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def reached(left: Sshd, right: Sshd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target of both, as one writes it on the command line: `ssh` knows them as `left` and `right`."""
    text = "".join(
        f"Host {name}\n    HostName 127.0.0.1\n    Port {server.port}\n"
        f"{server.config.read_text().removeprefix('Host *' + chr(10))}"
        for name, server in (("left", left), ("right", right))
    )
    (folder / "ssh_config").write_text(text)
    script = folder / "ssh"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    python = left.folder / "own_python"  # of the server that starts it
    python.write_text('#!/bin/sh\nexec "${AUTOCOMPRESS_LOCKS%/locks}/python" "$@"\n')
    python.chmod(0o755)
    (folder / "edge.toml").write_text(f'inherits = "cpu"\npython = "{python}"')
    return f"{folder}/edge.toml@left+right"
