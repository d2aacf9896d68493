"""What others use of the processors, by the system's own counters."""

import subprocess
import sys
from pathlib import Path

from autocompress.targets.on_device import load
from autocompress.targets.on_device.load import Load, busy_seconds
from autocompress.tests.waiting import comes_true


def stat(root: Path, *, user: int, idle: int, stolen: int = 0) -> Path:
    path = root / "proc" / "stat"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"cpu  {user} 0 0 {idle} 5 0 0 {stolen} 0 0\ncpu0 1 2 3\n")
    return path


def test_a_busy_loop_beside_shows() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            beside = Load()
            assert comes_true(lambda: beside.conditions()["others_cores"] > 0.05)
        finally:
            loop.kill()


def test_what_this_process_used_is_not_others(tmp_path: Path, monkeypatch) -> None:
    now, own = iter([0.0, 10.0]), iter([1.0, 5.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    monkeypatch.setattr(load, "own_seconds", lambda: next(own))
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    stat(tmp_path, user=1000, idle=9000)
    beside = Load(str(tmp_path))
    stat(tmp_path, user=2000, idle=9900, stolen=300)
    assert beside.conditions()["others_cores"] == (13.0 - 4.0) / 10.0


def test_a_system_that_does_not_tell_has_no_load(tmp_path: Path) -> None:
    assert busy_seconds(tmp_path / "stat") is None and Load(str(tmp_path)).conditions() == {}
