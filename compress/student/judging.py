"""Early stopping: how a student does on samples that its training does not see.

Its score is minus what recovery minimizes. Twenty samples, a tenth of two hundred, are too few to count right
answers; their distance from the original's answers still tells a better student from an overfitted one. The
validation split is left alone, since candidates are chosen by it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from ...tasks.data import Batch
from ...tasks.quality import outputs_of
from ...tasks.splits.grouping import Inputs
from .recover import Objective, as_float32


class Judge:
    """Scores students by samples that are held back; larger is better."""

    def __init__(self, teacher: fx.GraphModule, held_back: Iterable[Batch], objective: Objective):
        self.objective = objective
        self.batches = [(inputs, targets, _answers(teacher, inputs)) for inputs, targets in held_back]

    def __call__(self, student: fx.GraphModule) -> float:
        """Minus the mean loss of a student in its form for inference."""
        total, count = 0.0, 0
        for inputs, targets, expected in self.batches:
            with torch.no_grad():
                loss = self.objective.of_samples(_answers(student, inputs), expected, targets)
            total += len(inputs[0]) * float(loss)
            count += len(inputs[0])
        return -total / count


def _answers(model: fx.GraphModule, inputs: Inputs) -> Any:
    """As the task's loss sees them: a single output, or a tuple of several."""
    outputs = as_float32(outputs_of(model, inputs))
    return outputs[0] if len(outputs) == 1 else outputs
