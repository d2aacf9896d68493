"""Temporary files and folders of killed processes are removed by the next command, and only those."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.errors import TargetUnavailable
from autocompress.files import write_text
from autocompress.scratch import PREFIX, folder_in, sweep_parts, temporary_folder

HOLDS = """
import sys, time
from pathlib import Path
from autocompress.files import replacing
from autocompress.scratch import folder_in
place = Path(sys.argv[1])
with folder_in(place) as folder, replacing(place / "file") as part:
    (folder / "deep").mkdir()
    (folder / "deep" / "data").write_text("data")
    part.write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""
RACES = """
import sys
from pathlib import Path
from autocompress import scratch
place, number = Path(sys.argv[1]), sys.argv[2]
for turn in range(60):
    scratch._sweep_folders.cache_clear()
    scratch.sweep_parts(place)
    with scratch.folder_in(place) as folder, scratch.locked_part(place / f".{number}.part"):
        (folder / "mine").write_text(number)
        scratch._sweep_folders.cache_clear()
        scratch._sweep_folders(place)
        scratch.sweep_parts(place)
        assert (folder / "mine").read_text() == number
        (place / f".{number}.part").rename(place / number)
"""


@pytest.fixture
def fresh(monkeypatch):
    """A command sweeps once: each test is one."""
    from autocompress import scratch

    scratch._sweep_folders.cache_clear()


def holder(place: Path) -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_stays(tmp_path, fresh):
    living, used = holder(tmp_path)
    killed, left = holder(tmp_path)
    killed.kill()
    killed.communicate()
    assert left.is_dir()
    with folder_in(tmp_path) as mine:
        sweep_parts(tmp_path)
        assert {path.name for path in tmp_path.glob(f"{PREFIX}*")} == {used.name, mine.name}
        assert [path.name for path in tmp_path.glob(".*.part")] == [f".file.{living.pid}.part"]
    assert (used / "deep" / "data").read_text() == "data" and not mine.exists()
    living.kill()
    living.communicate()


def test_what_is_not_ours_stays(tmp_path, fresh):
    other, elsewhere = tmp_path / f"{PREFIX}other", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "alive").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / "autocompress-0").mkdir()
    full = tmp_path / f"{PREFIX}full"  # ours are empty when their lock is gone
    full.mkdir()
    (full / "data").touch()
    if os.getuid() == 0:
        other.mkdir()
        (other / "alive").touch()
        os.chown(other, 65534, 65534)
    before = sorted(tmp_path.iterdir())
    with folder_in(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == before and (elsewhere / "alive").exists()


def test_a_folder_that_was_never_locked_is_removed(tmp_path, fresh):
    (tmp_path / f"{PREFIX}x").mkdir()
    with folder_in(tmp_path):
        assert not (tmp_path / f"{PREFIX}x").exists()


def test_sweeps_do_not_take_what_is_being_made(tmp_path):
    racing = [
        subprocess.Popen([sys.executable, "-c", RACES, tmp_path, str(number)], stderr=subprocess.PIPE)
        for number in range(6)
    ]
    assert [process.communicate()[1] for process in racing] == [b""] * 6
    assert {path.name for path in tmp_path.iterdir()} == set("012345")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="No such file") as caught:
        write_text(tmp_path / "gone" / "file", "new")
    assert caught.value.filename == str(tmp_path / "gone" / "file")


def test_without_a_temporary_folder_nothing_can_be_measured(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    refused = pytest.raises(TargetUnavailable, match=r"/proc/nowhere.*set TMPDIR to another folder")
    with refused, temporary_folder():
        pass
