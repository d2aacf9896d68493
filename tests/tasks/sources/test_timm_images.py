"""The built-in tasks `timm:NAME`: a model of timm, a local checkpoint, class folders of images."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task, load_task
from PIL import Image

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed: pip install 'autocompress[timm]'"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, six images of 30 × 20 in every split, and a file in place of a checkpoint."""
    noise = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(6):
                pixels = noise.integers(0, 255, (20, 30, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{index}.png")
    (tmp_path / "net.pt").write_bytes(b"")
    return tmp_path


def load(folder: Path, name: str = "resnet10t", /, **changed: str) -> Task:
    arguments = {"root": str(folder), "checkpoint": str(folder / "net.pt"), "size": "32"}
    return load_task(f"timm:{name}", arguments | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"root": "nowhere"}, "no folder nowhere/train"),
        ({"checkpoint": "nowhere.pt"}, "no checkpoint 'nowhere.pt'.*not downloaded"),
        ({"size": "0"}, "size ≥ 1"),
        ({"mean": "0.5"}, "three means"),
        ({"std": "1,1,0"}, "three positive deviations"),
        ({"crop": "1.5"}, "a crop in 0..1"),
        ({"pretrained": "true"}, "Unknown task argument 'pretrained': timm:resnet10t takes root, checkpoint"),
        ({"name": "x"}, "Unknown task argument 'name'"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(folder: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load(folder, **changed)


def test_a_spec_without_a_name_says_what_to_write() -> None:
    with pytest.raises(TaskError, match=r"needs the name of a model: write timm:NAME"):
        load_task("timm", {})


def test_without_timm_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TaskError, match=r"timm:resnet10t needs timm.*pip install 'autocompress\[timm\]'"):
        load(folder)


@needs_timm
def test_a_model_of_timm_becomes_a_valid_task(folder: Path) -> None:
    timm = pytest.importorskip("timm")

    network = timm.create_model("resnet10t", pretrained=False, num_classes=2).eval()
    torch.save(network.state_dict(), folder / "net.pt")
    task = check_task(load(folder, mean="0.5,0.5,0.5", crop="1")).task
    assert task.preprocessing["size"] == [32, 32] and task.preprocessing["mean"] == (0.5, 0.5, 0.5)
    torch.testing.assert_close(task.model(*task.inputs), network(*task.inputs))


@needs_timm
@pytest.mark.parametrize("name", ["resnet10", "hf-hub:someone/model", "local-dir:somewhere"])
def test_a_name_that_timm_lacks_is_told(folder: Path, name: str) -> None:
    with pytest.raises(TaskError, match="timm has no model"):
        load(folder, name)
