"""The clock of a run, over sessions and pauses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from autocompress.tests.present import present
from autocompress.tests.waiting import comes_true

_CHILD = """
import sys, time
from pathlib import Path
from autocompress.explore.session import clock
from autocompress.tests.waiting import comes_true
clock.HEARTBEAT_S, clock.FROZEN_S = 0.05, 1.0
with clock.Clock(Path(sys.argv[1])) as running:
    began = time.monotonic()
    print(flush=True)
    sys.stdin.readline()
    print(comes_true(lambda: running.elapsed_s < time.monotonic() - began - 1.0, timeout_s=5))
"""


def test_time_for_which_a_search_was_frozen_does_not_count(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "elapsed")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    present(child.stdout).readline()
    os.kill(child.pid, signal.SIGSTOP)
    over = time.monotonic() + 2.0
    assert comes_true(lambda: time.monotonic() > over)
    os.kill(child.pid, signal.SIGCONT)
    assert child.communicate("\n")[0].strip() == "True"
