"""Early stopping: how near a student's answers are to the original's on samples that training does not see.

Twenty samples, a tenth of two hundred, are too few to count right answers; their distances, compared one by
one, still show a student that became worse. The validation split is left alone: candidates are chosen by
it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from ....tasks.data import Batch
from ....tasks.plain.devices import CPU, device_of, on
from ....tasks.quality import outputs_of
from ..distance import Distance
from .recover import as_float32


class Judge:
    """Scores students by samples that are held back. The teacher's answers are kept on the CPU."""

    def __init__(
        self, teacher: fx.GraphModule, held_back: Iterable[Batch], distance: Distance, *, temperature: float
    ):
        self.distance, self.temperature = distance, temperature
        self.batches = [(inputs, on(_answers(teacher, inputs), CPU)) for inputs, _ in held_back]

    def __call__(self, student: fx.GraphModule) -> Tensor:
        """Minus the distance of each sample, for a student in its form for inference; larger is better."""
        device = device_of(student)
        with torch.no_grad():
            distances = [
                self.distance.per_sample(
                    _answers(student, inputs), on(expected, device), temperature=self.temperature
                )
                for inputs, expected in self.batches
            ]
        return -torch.cat(distances).cpu()


def _answers(model: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Any:
    return as_float32(outputs_of(model, inputs))
