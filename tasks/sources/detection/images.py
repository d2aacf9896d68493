"""Images and their objects as tensors of one size, as a YOLO takes them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...image_folder import opened
from .annotations import AnnotatedImage
from .geometry import fitted, letterboxed

GREY = 114  # of what surrounds an image
_FEWEST_ROWS = 1


class ObjectImages(Dataset[tuple[Tensor, Tensor]]):
    """A sample is an image, float32 3 × size × size in 0..1, and its objects.

    The objects are M × 5: class, center x, center y, width and height in pixels of that image. M is the same
    for all images; the class is -1 where there are fewer objects.
    """

    def __init__(self, images: Sequence[AnnotatedImage], *, size: int):
        self.images, self.size = images, size
        self.rows = max([_FEWEST_ROWS, *(len(image.boxes) for image in images)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        annotated = self.images[index]
        image = opened(annotated.path)
        width, height, left, top = fitted(*image.size, self.size)
        objects = torch.full((self.rows, 5), 0.0)
        objects[:, 0] = -1
        for row, box in zip(objects, annotated.boxes, strict=False):
            sides = (box.x * width + left, box.y * height + top, box.width * width, box.height * height)
            row.copy_(torch.tensor((box.label, *sides)))
        pixels = torch.from_numpy(letterboxed(image, self.size, GREY))
        return pixels.permute(2, 0, 1).float().div(255), objects


def mirrored(inputs: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with half of its images mirrored, and their objects."""
    chosen = torch.rand(len(inputs)) < 0.5
    present = chosen[:, None] & (objects[..., 0] >= 0)
    moved = objects.clone()
    moved[..., 1] = torch.where(present, inputs.shape[3] - objects[..., 1], objects[..., 1])
    return torch.where(chosen[:, None, None, None], inputs.flip(3), inputs), moved
