"""Early stopping: which of the states of a training is kept, by samples that it does not see."""

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from ...graph.graph import get_tensor
from .fake_quantize import GridWeights

VALIDATIONS = 5
SURE = 2.0  # standard errors


class Trained(Protocol):
    """What is asked of a training."""

    student: fx.GraphModule
    grid: GridWeights

    def switch(self, training: bool) -> None:
        """Switches between the forms for training and for inference."""
        ...


class Best:
    """Early stopping: looks at some times of the second half and at the end. The best of the earlier states
    replaces the last one where it is better by more than SURE standard errors of their difference, sample by
    sample: with few samples the best of several looks is mostly chance.

    The start does not count: its layers were fitted to these samples too, so that it looks better than it is.
    """

    def __init__(self, validate: Callable[[], Tensor] | None):
        self.validate = validate
        self.scores: Tensor | None = None
        self.state: tuple[dict[str, Any], dict[str, Any]] | None = None
        self.due = [0.5 + 0.5 * index / VALIDATIONS for index in range(VALIDATIONS)]

    def consider(self, training: Trained, done: float) -> None:
        """Scores the student if a validation is due."""
        passed = [share for share in self.due if share <= done]
        if self.validate is not None and passed:
            self.due = self.due[len(passed) :]
            scores = self._scores(training)
            if self.scores is None or scores.mean() > self.scores.mean():
                self.scores = scores
                self.state = copy.deepcopy((training.student.state_dict(), training.grid.state_dict()))

    def _scores(self, training: Trained) -> Tensor:
        assert self.validate is not None
        latent = {name: get_tensor(training.student, name) for name in training.grid.parameters_read}
        training.switch(False)
        training.grid.settle(training.student)
        scores = self.validate()
        for name, tensor in latent.items():
            path, _, leaf = name.rpartition(".")
            training.student.get_submodule(path)._parameters[leaf] = tensor  # type: ignore[assignment]
        training.switch(True)
        return scores

    def restore(self, training: Trained) -> None:
        """Scores the last state, and restores the best one if that is shown to be better."""
        if self.validate is None:
            return
        last = self._scores(training)
        training.switch(False)
        if self.state is not None and self.scores is not None and _shown_better(self.scores, last):
            training.student.load_state_dict(self.state[0])
            training.grid.load_state_dict(self.state[1])


def _shown_better(scores: Tensor, others: Tensor) -> bool:
    """Whether scores are higher than others of the same samples by more than SURE standard errors.

    Any finite ones are better than such that are not: the training has diverged.
    """
    if not torch.isfinite(others).all():
        return bool(torch.isfinite(scores).all())
    difference = (scores - others).double()
    error = difference.std(correction=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return bool(difference.mean() > SURE * error)
