"""The built-in digits task: trained once, then read from the cache."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from autocompress.files import cache_folder
from autocompress.tasks import check_task, load_task
from autocompress.tasks.digits import DigitsNet, digits, shifted


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    digits(cache=folder)
    return folder


def test_the_trained_network_is_right_on_97_percent_of_unseen_scans(cache: Path) -> None:
    checked = check_task(load_task("digits", {"cache": str(cache), "seed": "3"}))
    assert checked.baseline >= 0.97 and checked.task.seed == 3
    assert not any("trained on" in note for note in checked.notes)


def test_weights_are_kept_and_read_again(cache: Path) -> None:
    (file,) = cache.glob("*.pt")
    before = file.stat().st_mtime_ns
    first, second = (digits(cache=cache).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first) and file.stat().st_mtime_ns == before


def test_damaged_weights_are_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.tasks.digits._EPOCHS", 1)
    (tmp_path / "digits-2.pt").write_bytes(b"rubbish")
    digits(cache=tmp_path)
    assert torch.load(tmp_path / "digits-2.pt", weights_only=True).keys() == DigitsNet().state_dict().keys()


@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"PK\x03\x04 the start of an archive"])
def test_scans_are_kept_and_damaged_ones_made_again(
    tmp_path: Path, cache: Path, content: bytes | None
) -> None:
    kept = tmp_path / "digits-scans.npz"
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    if content is not None:
        kept.write_bytes(content)
    again = digits(cache=tmp_path)
    for name in ("train", "validation", "test"):
        split, expected = getattr(again, name), getattr(digits(cache=cache), name)
        assert all(map(torch.equal, split.tensors, expected.tensors))
    assert kept.read_bytes() == (cache / "digits-scans.npz").read_bytes()


def test_scikit_learn_is_not_imported_where_the_scans_are_kept(cache: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from autocompress.tasks.digits import digits

        digits(cache=Path(sys.argv[1]))
        assert "sklearn" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program, cache], check=True)


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("autocompress.tasks.digits._EPOCHS", 1)
    (tmp_path / "file").touch()
    assert not digits(cache=tmp_path / "file" / "below").model.training
    assert "cannot be written" in caplog.text


def test_the_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/autocompress")


def test_a_shifted_scan_is_the_scan_moved_by_at_most_one_pixel() -> None:
    scans = torch.full((500, 1, 8, 8), -1.0)  # that one of the nine places is not drawn: 1 in 10^24
    scans[:, 0, 4, 4] = 1.0
    moved, _ = shifted(scans, torch.zeros(500))
    places = {(int(row), int(column)) for _, _, row, column in moved.gt(0).nonzero()}
    assert moved.shape == scans.shape and places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}


def test_a_full_disk_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("autocompress.tasks.digits._EPOCHS", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (1 << 16, limits[1])
    )  # files beyond it fail as they do on a full disk
    try:
        assert not digits(cache=tmp_path).model.training
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in caplog.text and [file.name for file in tmp_path.iterdir()] == [
        "digits-scans.npz"
    ]
