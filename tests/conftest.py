"""What tests of several folders share."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from autocompress.tests import sshd


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
