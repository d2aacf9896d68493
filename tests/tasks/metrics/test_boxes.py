"""COCO's mAP by torchmetrics."""

from typing import Any

import pytest
import torch
from autocompress.tasks.metrics import coco_map
from autocompress.tasks.metrics.accumulate import accumulator_of
from torch import Tensor

pytest.importorskip("torchvision", reason="torchmetrics' mAP needs it: pip install --no-deps torchvision")
pytest.importorskip("pycocotools", reason="pip install pycocotools")


def decoded(outputs: Tensor) -> list[dict[str, Tensor]]:
    """N × boxes × (4 coordinates, a score), all of class 0."""
    return [
        {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": torch.zeros(len(rows), dtype=torch.long)}
        for rows in outputs
    ]


def test_map_is_one_where_all_boxes_are_right_and_less_where_every_second_image_is_not() -> None:
    boxes = torch.tensor([[[10.0, 10, 50, 60, 0.9]], [[5.0, 5, 25, 45, 0.8]]]).repeat(20, 1, 1)
    true: dict[str, Any] = {"boxes": boxes[:, :, :4], "labels": torch.zeros(40, 1, dtype=torch.long)}
    values = []
    for shift in (0.0, 200.0):
        said = boxes.clone()
        said[::2, :, :4] += shift
        accumulator = accumulator_of(coco_map(decoded))
        accumulator.add((said,), true)
        values.append(accumulator.value())
    assert values[0] == pytest.approx(1.0) and 0.05 < values[1] < 0.6
