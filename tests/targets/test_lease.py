"""Measuring is alone, training is together, and neither waits for ever."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from autocompress.errors import TargetUnavailable
from autocompress.targets import lease
from autocompress.targets.lease import lease_folder, measuring, training
from autocompress.targets.on_device import locks
from autocompress.targets.on_device.locks import VARIABLE, opened, shared_folder
from autocompress.tests.present import present
from autocompress.tests.waiting import PATIENCE_S, comes_true

Lease = Callable[[Path], AbstractContextManager[None]]


def holding(take: Lease, folder: Path) -> tuple[threading.Event, threading.Event]:
    """Starts a thread that takes the lease: (it has it, it may give it back)."""
    has, release = threading.Event(), threading.Event()

    def work() -> None:
        with take(folder):
            has.set()
            release.wait(PATIENCE_S)

    threading.Thread(target=work, daemon=True).start()
    return has, release


def gate_is_held(folder: Path) -> bool:
    """Whether somebody who waits for the lease lets nobody else pass."""
    with (folder / "gate.lock").open("a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_training_is_shared(tmp_path: Path) -> None:
    first, release = holding(training, tmp_path)
    assert first.wait(PATIENCE_S)
    with training(tmp_path):
        release.set()


@pytest.mark.parametrize("holder", [training, measuring], ids=["training", "measuring"])
def test_a_measurement_waits_until_it_is_alone(tmp_path: Path, holder: Lease) -> None:
    first, release = holding(holder, tmp_path)
    assert first.wait(PATIENCE_S)
    second, done = holding(measuring, tmp_path)
    assert not second.wait(0.2)
    release.set()
    assert second.wait(PATIENCE_S)
    done.set()


def test_a_waiting_measurement_keeps_new_training_out(tmp_path: Path) -> None:
    trainer, release = holding(training, tmp_path)
    assert trainer.wait(PATIENCE_S)
    waiting, measured = holding(measuring, tmp_path)
    assert comes_true(lambda: gate_is_held(tmp_path))
    late, end = holding(training, tmp_path)
    assert not late.wait(0.2) and not waiting.is_set()
    release.set()
    assert waiting.wait(PATIENCE_S) and not late.is_set()
    measured.set()
    assert late.wait(PATIENCE_S)
    end.set()


def test_a_killed_process_gives_the_lease_back(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from autocompress.targets.lease import measuring\n"
        "with measuring(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    with measuring(tmp_path):
        assert process.returncode == -9


def test_taking_the_lease_twice_in_one_thread_is_a_bug_and_no_deadlock(tmp_path: Path) -> None:
    with training(tmp_path), pytest.raises(RuntimeError, match="already"), measuring(tmp_path):
        pass


def test_the_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    folder = lease_folder()
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(TargetUnavailable, match="only you can write"):
        lease_folder()


def test_a_folder_that_is_another_one_in_every_working_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "locks")
    with pytest.raises(TargetUnavailable, match="is 'locks': give an absolute path"):
        lease_folder()


def test_a_folder_on_a_disk_that_became_read_only_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    lease_folder()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root can write to everything else
    with pytest.raises(TargetUnavailable, match=f"set {VARIABLE} to another folder"):
        lease_folder()


def test_processes_with_different_folders_for_temporary_files_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    code = "from autocompress.targets.on_device.locks import shared_folder; print(shared_folder())"
    seen = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / name)}
        seen.add(
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
    assert len(seen) == 1 and str(tmp_path) not in seen.pop()


def test_locks_lie_where_every_user_may_write_and_remove_only_what_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    modes = {"roots": 0o755, "anybodys": 0o777, "everybodys": 0o1777, "last": 0o1777}
    for name, mode in modes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    monkeypatch.setattr(locks, "_FOLDERS", [str(tmp_path / name) for name in ("missing", *modes)])
    assert shared_folder() == tmp_path / "everybodys"


def test_a_lock_file_of_all_users_can_be_opened_by_all_and_is_never_made_twice(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert os.fstat(first).st_ino == os.fstat(second).st_ino and os.fstat(first).st_mode & 0o777 == 0o666
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    os.close(first)
    os.close(second)


def test_a_lock_file_that_is_there_is_opened_as_one_of_another_user_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(opened(tmp_path / "lock"))
    seen, open_ = [], os.open

    def recording(path: Path, flags: int) -> int:
        seen.append(flags)
        return open_(path, flags)

    monkeypatch.setattr(os, "open", recording)
    os.close(opened(tmp_path / "lock"))
    assert len(seen) == 1 and not seen[0] & os.O_CREAT  # EACCES in a sticky folder (fs.protected_regular)


def test_a_lock_file_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"):
        opened(tmp_path / "lock")


def test_training_on_other_cores_goes_on_beside_a_measurement(tmp_path: Path) -> None:
    with measuring(tmp_path, cores=[1]):
        beside, done = holding(lambda folder: training(folder, cores=[0]), tmp_path)
        assert beside.wait(PATIENCE_S)
        done.set()


@pytest.mark.parametrize("cores", [[1], [0, 1], None], ids=str)
def test_a_measurement_waits_for_training_on_its_own_cores(tmp_path: Path, cores: list[int] | None) -> None:
    trainer, release = holding(lambda folder: training(folder, cores=cores), tmp_path)
    assert trainer.wait(PATIENCE_S)
    waiting, measured = holding(lambda folder: measuring(folder, cores=[1]), tmp_path)
    assert not waiting.wait(0.2)
    release.set()
    assert waiting.wait(PATIENCE_S)
    measured.set()


def test_two_measurements_on_different_cores_still_take_turns(tmp_path: Path) -> None:
    first, release = holding(lambda folder: measuring(folder, cores=[0]), tmp_path)
    assert first.wait(PATIENCE_S)
    second, done = holding(lambda folder: measuring(folder, cores=[1]), tmp_path)
    assert not second.wait(0.2)
    release.set()
    assert second.wait(PATIENCE_S)
    done.set()


_HOLDER = """
import os, sys; from pathlib import Path
from autocompress.targets.lease import WAITS, measuring
with WAITS.told("search /runs/a", print), measuring(Path(sys.argv[1]), cores=[0]):
    print(os.getpid(), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("who", ["search /runs/b", "search /runs/a"], ids=["another", "its own recovery"])
def test_a_wait_says_for_whom_and_is_no_time_of_this_process(tmp_path: Path, who: str) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = present(holder.stdout).readline().strip()
    waits, said, began = lease.Waits(), list[str](), list[float]()

    def tell(text: str) -> None:
        said.append(text)
        began.append(time.monotonic())

    def release() -> None:
        assert comes_true(lambda: gate_is_held(tmp_path))
        until = time.monotonic() + 0.3
        assert comes_true(lambda: time.monotonic() > until)
        holder.communicate("\n")

    helper = threading.Thread(target=release)
    helper.start()
    with pytest.MonkeyPatch.context() as patch, waits.told(who, tell):
        patch.setattr(lease, "WAITS", waits)
        start, owned = time.monotonic(), lease.own_s()
        with measuring(tmp_path, cores=[0]):
            took_s, own = time.monotonic() - start, lease.own_s() - owned
    helper.join()
    if who == "search /runs/a":
        assert said == [] and waits.seconds == 0.0 and own == pytest.approx(took_s, abs=0.2)
    else:
        assert said == [f"process {process} (search /runs/a)", ""]
        assert 0.3 <= waits.seconds <= took_s and own < 0.2


def test_a_disk_that_is_full_keeps_nobody_from_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.ftruncate", full)
    with measuring(tmp_path):
        assert (tmp_path / "lease.lock").read_text() == ""
