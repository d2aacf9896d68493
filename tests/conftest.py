"""What tests of several folders share."""

import atexit
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.targets.on_device.locks import VARIABLE
from autocompress.tests import sshd

# a shell ignores Ctrl-C in what it runs in the background, and `nohup` a hang-up; children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

if VARIABLE not in os.environ:  # two runs of the tests on one machine do not wait for each other
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="autocompress-locks-")
    atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Starts the random numbers of every test anew: a test fails always or never."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


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
