"""The points that explanations are about: those in the objective space."""

from ..view import PointOn, RunOn


def largest_drop(run: RunOn) -> float:
    """The drop that ends the objective space, or the larger one that the user allows; in the metric's own
    unit.
    """
    return max(run.run.drop_scale, run.limits.drop or 0.0)


def worthy(point: PointOn) -> bool:
    """Whether the point's drop is at most `largest_drop`: a useless model may be on a front, but explains
    nothing."""
    return point.drop <= largest_drop(point.view)
