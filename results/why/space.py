"""The points that are worth talking about: those in the objective space."""

from ..formats import Point, Run
from ..pick import drop_scale_of, limits_of


def largest_drop(run: Run) -> float:
    """The drop that ends the objective space, or the larger one that the user allows; in the metric's own
    unit.
    """
    return max(drop_scale_of(run), limits_of(run).drop or 0.0)


def worthy(run: Run, point: Point) -> bool:
    """Whether the point loses no more than that: a useless model may be on a front, but explains nothing."""
    return bool(point["drop"] <= largest_drop(run))
