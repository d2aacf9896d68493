"""The built-in task `image-folder`: images in class folders, a model factory and a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import TaskError
from .boundary import user_code
from .checkpoint import load_weights
from .task import Metric, Task, accuracy
from .user_file import load_function

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
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
    """Images under `root/CLASS/…`: shorter side resized and center cropped to `size`, normalized per channel.

    A sample is (float32 3 × size × size, index of its class in `classes`).
    """

    def __init__(
        self, root: Path, classes: Sequence[str], *, size: int, mean: Sequence[float], std: Sequence[float]
    ):
        self.files = [(path, index) for index, name in enumerate(classes) for path in _images(root / name)]
        self.size = size
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return (_pixels(path, self.size) - self.mean) / self.std, label


def image_folder(
    root: Path,
    model: str,
    checkpoint: Path,
    *,
    size: int = 224,
    mean: tuple[float, ...] = _IMAGENET_MEAN,
    std: tuple[float, ...] = _IMAGENET_STD,
    seed: int = 0,
) -> Task:
    """The task: root/train, root/validation and root/test each hold one folder of images per class.

    `model` is `path/to/file.py:factory`, a function without arguments; its outputs are N × classes, in the
    alphabetical order of the folders. Pixels are scaled to 0..1, then `(x - mean) / std` (ImageNet's by
    default). Raises TaskError.
    """
    if size < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        needed = "size ≥ 1, three means and three positive deviations are needed."
        raise TaskError(f"size={size}, mean={mean}, std={std}: {needed}")
    classes = _classes(root)
    train, validation, test = (
        _images_of(root / split, classes, size=size, mean=mean, std=std) for split in _SPLITS
    )
    factory = load_function(model)
    with user_code(f"Making the model by {model}", remedy="The factory is called without arguments"):
        network = factory()
    return Task(
        name=f"image-folder-{root.resolve().name}",
        model=load_weights(network, checkpoint),
        train=train,
        validation=validation,
        test=test,
        loss=F.cross_entropy,
        metric=Metric(name="top-1 accuracy", function=accuracy),
        example_inputs=(torch.stack([validation[0][0]] * 2),),
        augment=flipped,
        preprocessing=_PREPROCESSING
        | {"size": [size, size], "mean": list(mean), "std": list(std), "classes": classes},
        seed=seed,
    )


def _images_of(
    folder: Path, classes: Sequence[str], *, size: int, mean: Sequence[float], std: Sequence[float]
) -> ImageFolder:
    """The images of one split; TaskError if there are none."""
    images = ImageFolder(folder, classes, size=size, mean=mean, std=std)
    if not len(images):
        raise TaskError(f"There are no images under {folder}: put them in {folder / classes[0]} and so on.")
    return images


def flipped(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with half of its images mirrored."""
    chosen = torch.rand(len(inputs), 1, 1, 1) < 0.5
    return torch.where(chosen, inputs.flip(3), inputs), targets


def _classes(root: Path) -> list[str]:
    """The class folders of `root/train`, sorted; the other splits must not have more."""
    for split in _SPLITS:
        if not (root / split).is_dir():
            raise TaskError(
                f"There is no folder {root / split}: image-folder needs {', '.join(_SPLITS)} under root."
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
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def _pixels(path: Path, size: int) -> Tensor:
    """Float32 3 × size × size in 0..1. Raises TaskError for a file that is no image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise TaskError(f"{path} cannot be read as an image: {error}.") from error
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    x, y = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    cropped = resized.crop((x, y, x + size, y + size))
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float().div(255)
