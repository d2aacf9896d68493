"""The built-in image-folder task: class folders, a model factory, a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task, load_task
from PIL import Image
from torch import nn

FACTORY = """
from torch import nn
def net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
def broken(): return 1 / 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, six images of 20 × 30 each in every split; a factory and its weights."""
    noise = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(6):
                pixels = noise.integers(0, 120, (30, 20, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / split / name / f"{index}.png")
    (tmp_path / "net.py").write_text(FACTORY)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    return tmp_path


def load(folder: Path, **changed: str) -> Task:
    arguments = {
        "root": str(folder),
        "model": f"{folder / 'net.py'}:net",
        "checkpoint": str(folder / "net.pt"),
        "size": "16",
    }
    return load_task("image-folder", {**arguments, **changed})


def test_a_folder_becomes_a_valid_task(folder: Path) -> None:
    task = check_task(load(folder)).task
    labels = [task.validation[index][1] for index in range(12)]  # type: ignore[index]
    assert labels == [0] * 6 + [1] * 6 and task.preprocessing["classes"] == ["cat", "dog"]


def test_images_are_resized_cropped_and_normalized(folder: Path) -> None:
    white = Image.new("RGB", (10, 40), (255, 255, 255))
    white.save(folder / "test" / "cat" / "0.png")
    image, _ = load(folder, mean="0.5,0.5,0.5", std="0.5,0.25,0.125").test[0]  # type: ignore[index]
    assert image.shape == (3, 16, 16) and torch.equal(image.mean((1, 2)), torch.tensor([1.0, 2.0, 4.0]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"root": "nowhere"}, "no folder nowhere/train"),
        ({"model": "nowhere.py:net"}, "no file 'nowhere.py'"),
        ({"model": "{folder}/net.py:nett"}, "no function 'nett'.*it has broken, net"),
        ({"model": "{folder}/net.py:broken"}, "ZeroDivisionError"),
        ({"checkpoint": "nowhere.pt"}, "no checkpoint 'nowhere.pt'"),
        ({"size": "0"}, "size ≥ 1"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(folder: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load(folder, **{key: value.format(folder=folder) for key, value in changed.items()})


def test_a_class_that_training_lacks_is_named(folder: Path) -> None:
    (folder / "test" / "fish").mkdir()
    with pytest.raises(TaskError, match="has the class 'fish'"):
        load(folder)


def test_a_split_without_images_is_named(folder: Path) -> None:
    for path in (folder / "validation").rglob("*.png"):
        path.unlink()
    with pytest.raises(TaskError, match=r"no images under .*validation"):
        load(folder)


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    (folder / "train" / "cat" / "3.png").write_text("text")
    with pytest.raises(TaskError, match=r"3.png cannot be read as an image"):
        check_task(load(folder))
