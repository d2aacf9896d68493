"""mAP: the average precision of a detector over classes and overlaps of 50 to 95 %, from its raw outputs.

Boxes of one class that overlap are suppressed, the rest is matched with the objects of the image, the most
certain box first, and the precision is taken at 101 recalls, as COCO does. (`yolo val` draws lines between
the points of the curve, which makes a perfect detector 0.995.)

Source: Lin et al., "Microsoft COCO: Common Objects in Context" (2014); cocodataset.org/#detection-eval.
It is written out here because intervals need it on hundreds of resamples of a split: what takes long happens
once for each image (`matched_boxes`), the rest is a few sums (`mean_average_precision`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...task import Metric
from .geometry import Array, corners, kept_boxes, overlaps

OVERLAPS = np.linspace(0.5, 0.95, 10)
_MOST_BOXES = 300  # of an image
_RECALLS = np.linspace(0, 1, 101)
_SCORE, _CLASS, _HITS = 0, 1, 2  # columns of a matched box; from _HITS on, one for each overlap


def matched_boxes(outputs: Any, objects: Any) -> Tensor:
    """N × 300 × 12: for each box that is left its score, its class and, for each overlap, whether it hits an
    object. Rows that are left over have the score 0.

    Outputs are N × (4 + classes) × positions (center, size, probabilities), objects N × M × 5 (class, center,
    size; the class is -1 where there is none), both in pixels.
    """
    table = torch.zeros(len(outputs), _MOST_BOXES, _HITS + len(OVERLAPS))
    for row, output, wanted in zip(table, outputs, objects, strict=True):
        boxes, scores, classes = kept_boxes(torch.as_tensor(output).float().numpy(), most=_MOST_BOXES)
        true = torch.as_tensor(wanted).float().numpy()
        true = true[true[:, 0] >= 0]
        hits = _hits(boxes, classes, corners(true[:, 1:]), true[:, 0])
        matched = np.concatenate([scores[:, None], classes[:, None], hits], axis=1)
        row[: len(matched)] = torch.from_numpy(matched.astype(np.float32))
    return table


def mean_average_precision(matched: Any, objects: Any) -> float:
    """The mean over the classes that the objects have, and over overlaps; NaN without any object."""
    precisions = [curve.mean() for curve in _average_precisions(matched, objects)]
    return float(np.mean(precisions)) if precisions else float("nan")


def precision_at_half(matched: Any, objects: Any) -> float:
    """The same, where an overlap of 50 % is enough."""
    precisions = [curve[0] for curve in _average_precisions(matched, objects)]
    return float(np.mean(precisions)) if precisions else float("nan")


METRICS = {
    "map": Metric(name="mAP50-95", function=mean_average_precision, prepare=matched_boxes),
    "map50": Metric(name="mAP50", function=precision_at_half, prepare=matched_boxes),
}


def _hits(boxes: Array, classes: Array, true: Array, true_classes: Array) -> Array:
    """Whether each box, the most certain first, hits an object that is free yet: boxes × overlaps."""
    hits = np.zeros((len(boxes), len(OVERLAPS)), bool)
    if not len(true):
        return hits
    shared = overlaps(true, boxes) * (true_classes[:, None] == classes)
    taken = np.zeros((len(true), len(OVERLAPS)), bool)
    columns = np.arange(len(OVERLAPS))
    for index in np.flatnonzero(shared.max(0) >= OVERLAPS[0]):
        free = np.where(taken, 0, shared[:, index, None])
        best = free.argmax(0)
        hits[index] = free[best, columns] >= OVERLAPS
        taken[best, columns] |= hits[index]
    return hits


def _average_precisions(matched: Any, objects: Any) -> Iterator[Array]:
    """For each class that the objects have, the average precision at each overlap."""
    boxes = torch.as_tensor(matched).numpy().reshape(-1, _HITS + len(OVERLAPS))
    boxes = boxes[boxes[:, _SCORE] > 0]
    boxes = boxes[np.argsort(-boxes[:, _SCORE], kind="stable")]
    true = torch.as_tensor(objects)[..., 0].numpy().ravel()
    for one, count in zip(*np.unique(true[true >= 0], return_counts=True), strict=True):
        yield _average_precision(boxes[boxes[:, _CLASS] == one][:, _HITS:], count)


def _average_precision(hits: Array, count: int) -> Array:
    """The mean precision at 101 recalls for each column of hits, of boxes by falling score.

    The precision at a recall is the best at that recall or a higher one, and 0 beyond the last.
    """
    if not len(hits):
        return np.zeros(hits.shape[1])
    right = hits.cumsum(0)
    precision = right / np.arange(1, len(hits) + 1)[:, None]
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    means = []
    for recall, reached in zip((right / count).T, best.T, strict=True):
        first = np.searchsorted(recall, _RECALLS)
        means.append(np.append(reached, 0.0)[first].mean())
    return np.array(means)
