"""Recovers accuracy by distillation from the original model.

Two of three steps learn from inputs between two samples (`samples.mixtures`), where only the original's
answers count. Their moments are not those of samples, so that normalizations learn no statistics from them.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from ...errors import StageError, TaskError
from ...tasks.checkpoint import load_checkpoint, save_checkpoint
from ...tasks.data import Batch
from ...tasks.plain.parts import fixed_batch, in_parts
from ...tasks.splits.grouping import Inputs
from ..graph.graph import get_tensor, running_statistics, set_training
from ..levels.running import channels_last, mixed_precision
from ..recipe import Recovery
from .distance import Distance
from .fake_quantize import GridWeights
from .features import feature_loss, feature_nodes, with_features
from .samples import mixtures

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.05
CHECKPOINT_S = 60.0
VALIDATIONS = 5
SURE = 2.0  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train: `steps` batches, or `seconds` if given. `checkpoint` is the file for the state."""

    steps: int
    seconds: float | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        valid = self.steps >= 1 if self.seconds is None else self.seconds > 0
        if not valid:
            raise ValueError(f"a training needs steps ≥ 1, or seconds > 0: {self}")

    def progress(self, step: int, elapsed_s: float) -> float:
        """The share that is done, 0..1."""
        done = step / self.steps if self.seconds is None else elapsed_s / self.seconds
        return min(1.0, done)


def distill(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    loss: Callable[[Any, Any], Tensor],
    batches: Callable[[int], Iterator[Batch]],
    recovery: Recovery,
    *,
    distance: Distance,
    seed: int,
    frozen: Set[str] = frozenset(),
    grid: GridWeights | None = None,
    schedule: Schedule | None = None,
    validate: Callable[[], Tensor] | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Trains `student` in place: AdamW, a short linear warm-up, then a cosine to zero.

    The weights in `grid` are rounded in every forward pass (quantization-aware training), and their steps are
    learned. `batches` makes endless batches from the step at which the training starts or continues.
    `distance` compares the answers of the two models. Batch normalizations in `frozen` keep their statistics.
    `validate` scores the student in inference form, a number for each sample, larger is better: the last
    state is kept unless an earlier one is shown to be better (early stopping). Arithmetic is bfloat16 if the
    processor has it. `seed` decides dropout and mixtures; the caller's generator does not change. Raises
    StageError if the loss is no longer finite.
    """
    schedule = schedule or Schedule(steps=recovery.steps)
    training = _Training(student, teacher, loss, recovery, distance=distance, grid=grid, frozen=frozen)
    training.switch(True)
    best = _Best(validate)
    step, elapsed_s = training.load(schedule.checkpoint, best)
    began, saved, source = time.monotonic() - elapsed_s, time.monotonic(), batches(step)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + step)
        while (done := schedule.progress(step, time.monotonic() - began)) < 1:
            training.step(next(source), _rate(done), step)
            step += 1
            best.consider(training, done)
            if schedule.checkpoint is not None and time.monotonic() - saved > CHECKPOINT_S:
                training.save(schedule.checkpoint, best, step=step, elapsed_s=time.monotonic() - began)
                saved = time.monotonic()
            if progress is not None:
                progress(_progress_text(step, done, schedule))
    training.switch(False)
    best.restore(training)


def _progress_text(step: int, done: float, schedule: Schedule) -> str:
    if schedule.seconds is None:
        return f"recover {step}/{schedule.steps}"
    return f"recover {done:.0%}, {step} steps"


class _Training:
    """A student, its optimizer and its loss."""

    def __init__(
        self,
        student: fx.GraphModule,
        teacher: fx.GraphModule,
        loss: Callable[[Any, Any], Tensor],
        recovery: Recovery,
        *,
        distance: Distance,
        grid: GridWeights | None,
        frozen: Set[str],
    ):
        self.student, self.teacher, self.recovery = student, teacher, recovery
        self.task_loss, self.distance = loss, distance
        self.frozen, self.fixed_batch = frozen, fixed_batch(student)
        self.trained = student
        if recovery.features > 0:
            names = feature_nodes(student, teacher)
            self.trained, self.teacher = with_features(student, names), with_features(teacher, names)
        self.statistics = running_statistics(student)
        self.mixes = recovery.weight > 0  # mixtures have no targets
        self.grid = grid or GridWeights(student, {}, {})
        self.parameters = [*student.parameters(), *self.grid.parameters()]
        groups = [{"params": list(student.parameters()), "weight_decay": 1e-4}]
        groups += [{"params": list(self.grid.parameters()), "weight_decay": 0.0}] if self.grid.bits else []
        self.optimizer = torch.optim.AdamW(groups, lr=recovery.learning_rate)

    def switch(self, training: bool) -> None:
        """Switches between the forms for training and for inference."""
        set_training(self.student, training, frozen=self.frozen)

    def step(self, batch: Batch, rate: float, number: int) -> None:
        """One batch at `rate` times the learning rate. Raises StageError for a loss that is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recovery.learning_rate * rate
        total = self._loss(batch, mixtures(batch[0], number) if self.mixes else None)
        if not torch.isfinite(total):
            where = f"at step {number}: learning rate {self.recovery.learning_rate:g}"
            raise StageError(f"the loss became {total.item()} {where}", stage="recover")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        self.grid.keep_signs(self.student)

    def _loss(self, batch: Batch, mixtures: Inputs | None) -> Tensor:
        """The loss of a batch; that of the mixtures alone where there are some."""
        recovery = self.recovery
        inputs = tuple(channels_last(x) for x in mixtures or batch[0])
        with mixed_precision():
            with torch.no_grad():
                expected = in_parts(self.teacher, inputs, self.fixed_batch)
            state = self.grid.rounded(self.student)
            if mixtures is not None:
                state |= {name: get_tensor(self.student, name).clone() for name in self.statistics}
            outputs = in_parts(
                lambda *part: functional_call(self.trained, state, part), inputs, self.fixed_batch
            )
        total = torch.zeros(())
        if recovery.features > 0:
            (outputs, ours), (expected, theirs) = outputs, expected
            total = recovery.features * feature_loss(ours, theirs)
        outputs, expected = as_float32(outputs), as_float32(expected)
        soft = self.distance.loss(
            outputs, expected, temperature=recovery.temperature, hardness=recovery.hardness
        )
        total = total + recovery.weight * soft
        if mixtures is not None:
            return total
        return total + (1 - recovery.weight) * self.task_loss(outputs, batch[1])

    def load(self, checkpoint: Path | None, best: "_Best") -> tuple[int, float]:
        """Continues a killed training, if there is one; returns the steps done and the seconds spent.

        A damaged file is removed, and the training starts anew.
        """
        if checkpoint is None or not checkpoint.is_file():
            return 0, 0.0
        before = copy.deepcopy((self.student.state_dict(), self.grid.state_dict()))
        try:
            state = load_checkpoint(checkpoint)
            (scores, best_state), step, elapsed_s = (
                state["best"],
                int(state["step"]),
                float(state["elapsed_s"]),
            )
            if scores is not None and not isinstance(scores, Tensor):
                raise TypeError("it is of an earlier version")
            self.student.load_state_dict(state["student"])
            self.grid.load_state_dict(state["grid"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (TaskError, LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            log.warning("A training starts anew, its state cannot be read. %s", error)
            checkpoint.unlink(missing_ok=True)
            self.student.load_state_dict(before[0])
            self.grid.load_state_dict(before[1])
            return 0, 0.0
        best.scores, best.state = scores, best_state
        return step, elapsed_s

    def save(self, checkpoint: Path, best: "_Best", *, step: int, elapsed_s: float) -> None:
        """Writes the state atomically."""
        state = {
            "student": self.student.state_dict(),
            "grid": self.grid.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": (best.scores, best.state),
            "step": step,
            "elapsed_s": elapsed_s,
        }
        save_checkpoint(checkpoint, state)


class _Best:
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

    def consider(self, training: _Training, done: float) -> None:
        """Scores the student if a validation is due."""
        passed = [share for share in self.due if share <= done]
        if self.validate is not None and passed:
            self.due = self.due[len(passed) :]
            scores = self._scores(training)
            if self.scores is None or scores.mean() > self.scores.mean():
                self.scores = scores
                self.state = copy.deepcopy((training.student.state_dict(), training.grid.state_dict()))

    def _scores(self, training: _Training) -> Tensor:
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

    def restore(self, training: _Training) -> None:
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


def _rate(done: float) -> float:
    """The share of the learning rate at this share of the training."""
    if done < WARMUP_SHARE:
        return (done + 0.1 * WARMUP_SHARE) / (1.1 * WARMUP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def as_float32(outputs: Any) -> Any:
    """The output, or a tuple of several, in float32."""
    return tuple(x.float() for x in outputs) if isinstance(outputs, (tuple, list)) else outputs.float()
