"""The loss with which ultralytics trains detectors, of the boxes and probabilities that an artifact answers.

In training a YOLO answers what its head computes: for each side of a box a distribution of distances, for
each class a score. The file answers what follows from that, which is what is deployed. Distances and scores
can be had back from it, the distributions cannot. So the loss is the one that ultralytics has for heads
without distributions (YOLO26): the overlap of boxes (CIoU), the distances (L1), the classes (cross-entropy),
and which position is responsible for which object (task-aligned assignment).
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .library import head_of

_SURE = 1e-6  # probabilities nearer to 0 and 1 have the score of this one


class DetectionLoss:
    """`loss(outputs, objects)`, both as in average_precision.matched_boxes: the mean over images."""

    def __init__(self, ultralytics: Any, network: nn.Module, *, size: int, gains: Any):
        head = head_of(network)
        self._size = size
        self._grids = [torch.empty(1, 1, *[size // int(one)] * 2) for one in head.stride]
        anchors, strides = ultralytics.utils.tal.make_anchors(self._grids, head.stride, 0.5)
        self._centers, self._strides = anchors.T * strides.T, strides.T
        plain = SimpleNamespace(stride=head.stride, nc=head.nc, reg_max=1)
        described = SimpleNamespace(args=gains, model=[plain], parameters=network.parameters)
        self._criterion = ultralytics.utils.loss.v8DetectionLoss(described)

    def __call__(self, outputs: Tensor, objects: Tensor) -> Tensor:
        centers, half = outputs[:, :2], outputs[:, 2:4] / 2
        before, after = self._centers - (centers - half), centers + half - self._centers
        answers = {
            "boxes": torch.cat([before, after], dim=1) / self._strides,
            "scores": torch.logit(outputs[:, 4:], eps=_SURE),
            "feats": self._grids,
        }
        images, rows = torch.nonzero(objects[..., 0] >= 0, as_tuple=True)
        present = objects[images, rows]
        wanted = {"batch_idx": images, "cls": present[:, 0], "bboxes": present[:, 1:] / self._size}
        losses: Tensor = self._criterion(answers, wanted)[0]
        return losses.sum() / len(outputs)
