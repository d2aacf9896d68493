"""Where an image lies in the square that a YOLO takes, and which boxes of its answer are left.

Standard library, numpy and Pillow: run.py of a bundle holds a copy of these functions.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Array: TypeAlias = np.ndarray[Any, Any]


def fitted(width: int, height: int, size: int) -> "tuple[int, int, int, int]":
    """The width and height of an image whose longer side is `size`, and where its left top corner is then."""
    scale = size / max(width, height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    return wide, high, round((size - wide) / 2 - 0.1), round((size - high) / 2 - 0.1)


def letterboxed(image: "Image", size: int, fill: int) -> "Array":
    """The whole image in the middle of a square of one grey, size × size × 3 of uint8.

    Pixels are interpolated from the four that are nearest, as ultralytics does, also where it gets smaller.
    """
    from PIL.Image import Resampling, Transform

    width, height, left, top = fitted(*image.size, size)
    extent = (0, 0, *image.size)
    inside = image.convert("RGB").transform((width, height), Transform.EXTENT, extent, Resampling.BILINEAR)
    square = np.full((size, size, 3), fill, np.uint8)
    square[top : top + height, left : left + width] = np.asarray(inside)
    return square


def kept_boxes(
    output: "Array", *, least: float = 0.001, shared: float = 0.7, most: int = 300
) -> "tuple[Array, Array, Array]":
    """The boxes that are left (corners, in pixels), their scores and classes, the most certain first.

    `output` is (4 + classes) × positions: center, size, probabilities. A position counts for each class whose
    probability is above `least`; a box that overlaps by more than `shared` with a more certain one of its
    class does not.
    """
    classes, positions = np.nonzero(output[4:] > least)
    scores = output[4:][classes, positions]
    order = np.argsort(-scores, kind="stable")[:10_000]
    classes, scores = classes[order], scores[order]
    boxes = corners(output[:4, positions[order]].T)
    apart = boxes + classes[:, None] * (np.abs(boxes).max(initial=0) * 2 + 1)  # classes do not meet
    left = np.arange(len(boxes))
    chosen: list[int] = []
    while len(left) and len(chosen) < most:
        chosen.append(int(left[0]))
        left = left[1:][overlaps(apart[left[:1]], apart[left[1:]])[0] <= shared]
    rows = np.array(chosen, int)
    return boxes[rows], scores[rows], classes[rows]


def corners(boxes: "Array") -> "Array":
    """Left, top, right and bottom of boxes N × 4 with center and size."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def overlaps(some: "Array", others: "Array") -> "Array":
    """Intersection over union of each of N × 4 with each of M × 4 corners: N × M."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas, other_areas = ((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (some, others))
    shares: Array = common / (areas[:, None] + other_areas[None] - common).clip(1e-9)
    return shares
