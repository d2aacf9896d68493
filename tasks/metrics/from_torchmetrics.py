"""What a torchmetrics.Metric says of itself. The library is not imported here: whoever has such a metric has
done that.
"""

import sys
from typing import Any, TypedDict

from ...errors import TaskError


class Stated(TypedDict):
    """The fields of a Metric that follow."""

    name: str
    direction: Any
    unit: Any
    torchmetric: Any


def is_torchmetric(value: object) -> bool:
    """Whether it is one."""
    library = sys.modules.get("torchmetrics")
    return library is not None and isinstance(value, library.Metric)


def stated_by(torchmetric: Any) -> Stated:
    """Name, direction, and whether it is a fraction, as its class says. TaskError where it does not say what
    is better.
    """
    name, better = type(torchmetric).__name__, torchmetric.higher_is_better
    if better is None:
        raise TaskError(
            f"metric {name} does not say whether higher is better: give "
            f'Metric(name="{name}", torchmetric=…, direction="higher" or "lower").'
        )
    bounds = torchmetric.plot_lower_bound, torchmetric.plot_upper_bound
    unit = "fraction" if bounds == (0.0, 1.0) else ""
    return Stated(name=name, direction="higher" if better else "lower", unit=unit, torchmetric=torchmetric)
