"""Metrics over a stream: what is kept of each batch, and the value in the end.

Flow. accumulator_of(metric) → `add(outputs, targets)` for each part of a split → `value()`. The accumulator
also keeps what says how sure the value is (evaluation/uncertainty.py).

Reading order
    accumulate.py     Collected (outputs are kept), Totals (sums over samples), Grouped (a torchmetric)
    nests.py          statistics of samples, in tuples and dictionaries, as rows of numbers
    from_torchmetrics.py   what a torchmetrics.Metric says of itself
    classification.py, numbers.py, boxes.py   built-in metrics, which this folder offers by name

What it does not know: models, files, intervals.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .boxes import coco_map as coco_map
    from .classification import f1 as f1
    from .classification import mean_iou as mean_iou
    from .classification import precision as precision
    from .classification import recall as recall
    from .classification import top_k as top_k
    from .numbers import character_error as character_error
    from .numbers import mean_absolute_error as mean_absolute_error
    from .numbers import perplexity as perplexity

_MODULES = {
    "boxes": ("coco_map",),
    "classification": ("f1", "mean_iou", "precision", "recall", "top_k"),
    "numbers": ("character_error", "mean_absolute_error", "perplexity"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "character_error", "coco_map", "f1", "mean_absolute_error", "mean_iou", "perplexity", "precision",
    "recall", "top_k",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A built-in metric, loaded on first use: each needs Metric, which is defined with this folder's help."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
