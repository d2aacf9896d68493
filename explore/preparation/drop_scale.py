"""Whether a share of the original's metric can say what a large drop is: it cannot where that is about 0."""

import math

from ...errors import InputError, TaskError
from ...results.front import FRACTION_SCALE
from ...tasks.quality import evaluate_mismatched
from .checked_request import CheckedRequest

NEARLY_NOTHING = 1e-4  # of what answers to other samples would change
SMALL = 1e-3  # a larger metric is not about 0: perplexities explode with wrong answers
SAMPLES = 256


def require_drop_scale(checked: CheckedRequest) -> None:
    """Raises InputError when the original's metric is about 0, and no limit says which drops are of interest.

    About 0 is what is small, and tiny beside the metric of answers to other samples, as a useless model would
    give them. A fraction has percentage points.
    """
    task, baseline = checked.checked.task, checked.checked.baseline
    drops = [limits.max_drop for limits in checked.constraints.values()]
    in_own_unit = any(drop is not None and drop.kind != "percent" and drop.value > 0 for drop in drops)
    if task.metric.unit == "fraction" or in_own_unit:
        return
    try:
        useless = evaluate_mismatched(task.model, task.validation, task.metric, limit=SAMPLES)
    except TaskError:
        useless = math.nan
    span = abs(useless - baseline)
    size = abs(baseline)
    if size == 0 or (size < SMALL and size < NEARLY_NOTHING * span):
        example = f"{FRACTION_SCALE * span:.1g}" if math.isfinite(span) and span > 0 else "0.1"
        raise InputError(
            f"The metric {task.metric.name!r} of the original model is {baseline:.3g}, so that no share of "
            f"it says what a large drop is: give one in its own unit, such as --max-drop {example}abs."
        )
