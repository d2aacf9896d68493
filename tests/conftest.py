"""What tests of several folders share."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from autocompress.targets.on_device.locks import VARIABLE
from autocompress.tests import sshd

# a shell ignores Ctrl-C in what it runs in the background, and `nohup` a hang-up; children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

if VARIABLE not in os.environ:  # two runs of the tests on one machine do not wait for each other
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="autocompress-locks-")
    atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[sshd.Sshd]:
    """A real SSH server; its folder can be read by everybody, which pytest's own cannot."""
    if sshd.SSHD is None:
        pytest.skip(sshd.MISSING)
    folder = Path(tempfile.mkdtemp(prefix="autocompress-sshd-"))
    server = sshd.Sshd(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
