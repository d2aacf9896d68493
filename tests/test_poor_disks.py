"""Disks that are full or read-only, folders that are not there: named as what they are, and nothing is lost."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from autocompress.errors import RunDirectoryError, StageError, is_away
from autocompress.files import cache_folder
from autocompress.profiles import load_profile
from autocompress.results.run_directory import RunDirectory, write_run
from autocompress.targets import Target
from autocompress.tests.explore.fakes import CONFIG, FakeEvaluator, FakeNetwork, run_search
from autocompress.tests.restless import measuring
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.targets import models
from autocompress.tests.test_cli import TASK, autocompress

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path) -> Iterator[Mount]:
    """Mounts a file system of some size."""
    folders = list[Path]()

    def mounted(size: str) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if os.getuid() or not shutil.which("mount"):
            pytest.skip("needs root, and the program `mount`")
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        folders.append(folder)
        return folder

    yield mounted
    for folder in folders:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all space of a disk, with the file that is returned."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_a_run_on_a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_space(mount):
    disk = mount("72m")
    run, fillers = disk / "run", list[Path]()

    class Filling(FakeEvaluator):
        def evaluate(self, trial, recipe, **given):
            outcome = super().evaluate(trial, recipe, **given)
            if len(self.evaluated) == 3:
                fillers.append(fill(disk))
            return outcome

    sessions = [Filling(FakeNetwork()) for _ in range(4)]
    for session in sessions:
        with pytest.raises(RunDirectoryError, match=r"cannot be (written|used) .*[Ss]pace"):
            run_search(run, session, trials=30)
        fillers.pop().unlink()
    last = FakeEvaluator(FakeNetwork())
    done = run_search(run, last, trials=30)
    assert len(done.run.points) == 30 and done.run.failures == ()
    evaluated = [digest for session in (*sessions, last) for digest in session.evaluated]
    assert len(evaluated) == 30 + 4, "only those that could not be stored are measured again"


def test_a_run_on_a_disk_that_becomes_read_only_is_named(mount):
    disk = mount("72m")
    RunDirectory.open(disk / "run", CONFIG).__exit__(None, None, None)
    write_run(disk / "run", sample_run())
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    seen = autocompress("report", disk / "run")
    assert seen.returncode == 2 and "report.html cannot be written (Read-only file system)" in seen.stderr
    assert autocompress("front", disk / "run").returncode == 0
    with pytest.raises(RunDirectoryError, match="Read-only file system"):
        run_search(disk / "run", FakeEvaluator(FakeNetwork()), trials=5)


@pytest.mark.parametrize("out", ["gone/page.html", "file/page.html", "."])
def test_a_report_that_has_no_place_is_one_sentence(tmp_path, out):
    write_run(tmp_path, sample_run())
    (tmp_path / "file").touch()
    seen = autocompress("report", tmp_path, "--out", tmp_path / out)
    assert seen.returncode == 2 and seen.stderr.count("\n") == 1
    remedies = ("cannot be used", "cannot be written", "is a folder: give the name of a file")
    assert any(words in seen.stderr for words in remedies)


@pytest.mark.parametrize("operation", ["run", "optimized"])
def test_a_full_temporary_folder_is_no_fault_of_a_model(mount, tmp_path, monkeypatch, operation):
    disk = mount("256k")
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    model = models.linear(tmp_path / "model.onnx", scale=2.0)
    inputs = models.samples(tmp_path / "x.npz", np.ones((20_000, 8), dtype=np.float32))
    with Target(load_profile("cpu")).session() as session:
        if operation == "optimized":
            fill(disk)
        with pytest.raises(StageError, match=r"found no space left in .*free space there") as caught:
            if operation == "run":
                session.run(model, inputs, batch=1000)
            else:
                session.executed_precision(model, ["linear"])
    assert caught.value.kind == "device" and caught.value.retryable and is_away(caught.value)


def test_a_damaged_task_json_is_made_again(tmp_path):
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    run = tmp_path / "runs" / "tiny-cpu"
    run.mkdir(parents=True)
    (run / "run.toml").write_text("")
    (run / "task.json").write_text('{"baseline": 0.')
    seen = autocompress("search", "task.py:make", "--dry-run", cwd=tmp_path)
    assert "task.json is damaged: the task is checked again" in seen.stderr


def test_a_user_without_a_home_has_a_cache_that_cannot_be_written():
    script = (
        "import os, pwd\n"
        "os.environ.pop('HOME', None), os.environ.pop('XDG_CACHE_HOME', None)\n"
        "pwd.getpwuid = {}.__getitem__\n"
        "from autocompress.files import cache_folder\n"
        "print(cache_folder())"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    with pytest.raises(NotADirectoryError):
        Path(shown.stdout.strip()).mkdir(parents=True)
    assert cache_folder().is_absolute()


@pytest.mark.serial
def test_without_cache_and_temporary_folder_and_in_ascii_a_target_is_calibrated(tmp_path, monkeypatch):
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    for name, value in {
        "XDG_CACHE_HOME": "/proc/nowhere",
        "TMPDIR": str(tmp_path / "nowhere"),
        "PYTHONIOENCODING": "ascii",
    }.items():
        monkeypatch.setenv(name, value)
    seen = measuring("targets", "calibrate", "cpu", "task.py:make", "--budget", "1s", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert "cannot be kept in /proc/nowhere" in seen.stdout and "Traceback" not in seen.stderr
    assert (seen.stdout + seen.stderr).isascii() and "Table: " in seen.stdout
