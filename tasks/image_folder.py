"""The built-in task `image-folder`: images in class folders, a model factory and a checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..errors import TaskError
from .boundary import user_code
from .checkpoint import load_weights
from .task import Metric, Task, accuracy
from .user_file import load_function

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
_SPLITS = ("train", "validation", "test")
_PREPROCESSING = {
    "layout": "NCHW",
    "channels": "RGB",
    "input": "uint8",
    "scale": 1 / 255,
    "resize": "shorter side, bilinear, then center crop",
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Images under `root/CLASS/…`: a sample is what `prepare` makes of the RGB image (float32 3 × height ×
    width), and the index of its class in `classes`.
    """

    def __init__(self, root: Path, classes: Sequence[str], prepare: "Callable[[Image], Tensor]"):
        self.files = [(path, index) for index, name in enumerate(classes) for path in _images(root / name)]
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return self.prepare(opened(path)), label


class Cropped:
    """The shorter side of an image resized to `size`, the center cropped, pixels normalized per channel."""

    def __init__(self, *, size: int, mean: Sequence[float], std: Sequence[float]):
        self.size = size
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __call__(self, image: "Image") -> Tensor:
        """Float32 3 × size × size."""
        return (_pixels(image, self.size) - self.mean) / self.std


def image_folder(
    root: Path,
    model: str,
    checkpoint: Path,
    *,
    size: int = 224,
    mean: tuple[float, ...] = _IMAGENET_MEAN,
    std: tuple[float, ...] = _IMAGENET_STD,
    flip: bool = True,
    seed: int = 0,
) -> Task:
    """The task: root/train, root/validation and root/test each hold one folder of images per class.

    `model` is `path/to/file.py:factory`, a function without arguments; its outputs are N × classes, in the
    alphabetical order of the folders. Pixels are scaled to 0..1, then `(x - mean) / std` (ImageNet's by
    default). `flip`: recovery mirrors half of the training images. Raises TaskError.
    """
    if size < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        needed = "size ≥ 1, three means and three positive deviations are needed."
        raise TaskError(f"size={size}, mean={mean}, std={std}: {needed}")
    classes = class_names(root)
    splits = image_splits(root, classes, Cropped(size=size, mean=mean, std=std))
    factory = load_function(model)
    with user_code(f"Making the model by {model}", remedy="The factory is called without arguments"):
        network = factory()
    name = f"image-folder-{root.resolve().name}"
    task = image_task(name, load_weights(network, checkpoint), splits, flip=flip, seed=seed)
    shown = {"size": [size, size], "mean": list(mean), "std": list(std), "classes": classes}
    return replace(task, preprocessing=_PREPROCESSING | shown)


def image_task(
    name: str, model: nn.Module, splits: "Sequence[ImageFolder]", *, flip: bool = True, seed: int
) -> Task:
    """The task of a classifier of images in class folders: training, validation and test.

    `flip`: recovery mirrors half of the training images. How they are prepared is added by whoever knows.
    """
    train, validation, test = splits
    return Task(
        name=name,
        model=model,
        train=train,
        validation=validation,
        test=test,
        loss=F.cross_entropy,
        metric=Metric(name="top-1 accuracy", function=accuracy),
        example_inputs=(torch.stack([validation[0][0]] * 2),),
        augment=flipped if flip else None,
        seed=seed,
    )


def image_splits(
    root: Path, classes: Sequence[str], prepare: "Callable[[Image], Tensor]"
) -> tuple[ImageFolder, ImageFolder, ImageFolder]:
    """Training, validation and test; TaskError if one has no images."""
    train, validation, test = (ImageFolder(root / split, classes, prepare) for split in _SPLITS)
    for split, images in zip(_SPLITS, (train, validation, test), strict=True):
        if not len(images):
            folder = root / split
            raise TaskError(
                f"There are no images under {folder}: put them in {folder / classes[0]} and so on."
            )
    return train, validation, test


def flipped(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with half of its images mirrored."""
    chosen = torch.rand(len(inputs), 1, 1, 1) < 0.5
    return torch.where(chosen, inputs.flip(3), inputs), targets


def class_names(root: Path) -> list[str]:
    """The class folders of `root/train`, sorted; the other splits must not have more."""
    for split in _SPLITS:
        if not (root / split).is_dir():
            raise TaskError(
                f"There is no folder {root / split}: the task needs {', '.join(_SPLITS)} under root."
            )
    names = {split: _folders(root / split) for split in _SPLITS}
    if not names["train"]:
        raise TaskError(
            f"{root / 'train'} has no class folders: put the images of each class in a folder of its own."
        )
    for split in _SPLITS[1:]:
        unknown = sorted(names[split] - names["train"])
        if unknown:
            raise TaskError(f"{root / split} has the class {unknown[0]!r}, which {root / 'train'} lacks.")
    return sorted(names["train"])


def _folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def opened(path: Path) -> "Image":
    """The image as RGB. Raises TaskError for a file that is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise TaskError(f"{path} cannot be read as an image: {error}.") from error


def _pixels(image: "Image", size: int) -> Tensor:
    """Float32 3 × size × size in 0..1."""
    from PIL.Image import Resampling

    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    x, y = (width - size) // 2, (height - size) // 2
    cropped = image.resize((width, height), Resampling.BILINEAR).crop((x, y, x + size, y + size))
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float().div(255)
