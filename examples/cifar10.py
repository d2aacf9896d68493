"""Trained CIFAR-10 classifiers as tasks: ResNet-20, ResNet-56 and MLPerf Tiny's ResNet-8.

    autocompress search examples/cifar10.py:resnet20 --task-arg data=PATH --max-drop 1pp

`data` is a folder with `zoo.py` (models, preprocessing, images), the images and the weights. The weights have
seen all 50,000 training images and are right on more than 99 % of them, so a part of those would hide every
loss: validation (selection) and test (scored once) are the halves of the official test set; training images
calibrate and fine-tune.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from autocompress.tasks.task import Metric, Task, accuracy
from torch import Tensor
from torch.utils.data import Dataset

Preprocess = Callable[[np.ndarray], Tensor]
Sample = tuple[Tensor, int]


class Images(Dataset[Sample]):
    """Images kept as uint8, N × 3 × 32 × 32, and preprocessed when they are read: one by one, or a batch at
    once.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, preprocess: Preprocess):
        self.images, self.labels, self.preprocess = images, labels.astype(np.int64), preprocess

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        """The samples at `indices`; torch's loaders and autocompress read whole batches by it."""
        return list(zip(self.preprocess(self.images[indices]), self.labels[indices].tolist(), strict=True))


class CropAndFlip:
    """The augmentation that the models were trained with: 4 black pixels around, random crop, random flip."""

    def __init__(self, black: Tensor):
        self.black = black  # what the preprocessing makes of a black pixel, 1 × 3 × 1 × 1

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Batches of the same shapes: N × 3 × 32 × 32, N."""
        count, size = len(inputs), inputs.shape[-1]
        padded = self.black.repeat(count, 1, size + 8, size + 8)
        padded[:, :, 4:-4, 4:-4] = inputs
        corners = torch.randint(0, 9, (count, 2)).tolist()
        crops = torch.stack(
            [
                x[:, top : top + size, left : left + size]
                for x, (top, left) in zip(padded, corners, strict=True)
            ]
        )
        flipped = torch.rand(count, 1, 1, 1) < 0.5
        return torch.where(flipped, crops.flip(3), crops), targets


def resnet20(data: Path) -> Task:
    """ResNet-20, 270,000 parameters, 91.7 % top-1."""
    return _task("resnet20", data)


def resnet56(data: Path) -> Task:
    """ResNet-56, 853,000 parameters, 93.4 % top-1."""
    return _task("resnet56", data)


def resnet8(data: Path) -> Task:
    """MLPerf Tiny's ResNet-8, 78,000 parameters, 87.2 % top-1; its inputs are raw pixel values 0..255."""
    return _task("resnet8_mlperf_tiny", data)


def _task(name: str, data: Path) -> Task:
    zoo = _zoo(data)

    def preprocess(images: np.ndarray) -> Tensor:
        """Float32 N × 3 × 32 × 32 from uint8."""
        result: Tensor = zoo.preprocess(name, images)
        return result

    def images(split: str) -> Images:
        pixels, labels = zoo.load_cifar10(split)
        return Images(pixels, labels, preprocess)

    validation = images("validation")
    return Task(
        name=f"cifar10-{name}",
        model=zoo.load_model(name),
        train=images("train"),
        validation=validation,
        test=images("test"),
        loss=F.cross_entropy,
        metric=Metric(name="top-1 accuracy", function=accuracy),
        example_inputs=(torch.stack([validation[0][0], validation[1][0]]),),
        augment=CropAndFlip(preprocess(np.zeros((1, 3, 1, 1), np.uint8))),
        preprocessing=_described(name),
    )


def _described(name: str) -> dict[str, Any]:
    layout = {"layout": "NCHW", "size": [32, 32], "channels": "RGB", "input": "uint8"}
    if name == "resnet8_mlperf_tiny":
        return {**layout, "scale": 1.0}
    return {**layout, "scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _zoo(data: Path) -> ModuleType:
    """The module `zoo.py` of the data folder."""
    path = Path(data) / "zoo.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}: give the folder of the models and images, --task-arg data=PATH"
        )
    spec = importlib.util.spec_from_file_location("cifar10_zoo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
