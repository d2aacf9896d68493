"""Average precision of boxes, by torchmetrics (extra `metrics`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ...errors import TaskError
from ..task import Metric

Objects = Sequence[Mapping[str, Tensor]]


def coco_map(
    decode: Callable[[Any], Objects], *, true: Callable[[Any], Objects] | None = None, key: str = "map"
) -> Metric:
    """COCO's mean average precision. `decode` makes of outputs a dictionary for each sample: `boxes` M × 4
    (x1, y1, x2, y2), `scores` M and `labels` M; `true` the same of targets without scores, by default of a
    dictionary {"boxes", "labels"}. `key` chooses another of torchmetrics' results, such as "map_50".

    TaskError without the extra `metrics`.
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision

        torchmetric = MeanAveragePrecision(iou_type="bbox")
    except ImportError as error:  # of torchvision or pycocotools, too
        raise TaskError(
            f"coco_map needs torchmetrics, torchvision and pycocotools ({error}): "
            "pip install 'autocompress[metrics]'."
        ) from error
    objects = true or listed
    return Metric(
        name="mAP" if key == "map" else key,
        torchmetric=torchmetric,
        arguments=lambda outputs, targets: (list(decode(outputs)), list(objects(targets))),
        compute=lambda result: result[key],
    )


def listed(targets: Mapping[str, Sequence[Tensor]]) -> Objects:
    """The objects of each sample, of the columns that a split gives."""
    columns = zip(targets["boxes"], targets["labels"], strict=True)
    return [{"boxes": boxes, "labels": labels} for boxes, labels in columns]
