"""Recovers accuracy by distillation from the original model.

Two of three steps learn from inputs between two samples (`samples.mixtures`), where only the original's
answers count. Their moments are not those of samples, so that normalizations learn no statistics from them.
"""

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from ....errors import StageError, TaskError
from ....tasks.checkpoint import load_checkpoint, save_checkpoint
from ....tasks.data import Batch
from ....tasks.plain.devices import device_of, on
from ....tasks.plain.parts import fixed_batch, in_parts
from ...graph.devices import on_device
from ...graph.graph import get_tensor, running_statistics, set_training
from ...levels.running import channels_last, mixed_precision
from ...recipe import Recovery
from ...stages import halving
from ..distance import Distance
from ..samples import mixtures
from .devices import computing_on, gpus, step_bytes
from .early_stopping import Best
from .fake_quantize import GridWeights
from .features import feature_loss, feature_nodes, with_features
from .micro_batches import FEW, Averaged, affordable, parts_of_batch, saved_bytes

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.05
CHECKPOINT_S = 60.0


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
    memory_bytes: int | None = None,
    device: str = "cpu",
    validate: Callable[[], Tensor] | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Trains `student` in place: AdamW, a short linear warm-up, then a cosine to zero.

    The weights in `grid` are rounded in every forward pass (quantization-aware training), and their steps are
    learned. `batches` makes endless batches from the step at which the training starts or continues.
    `distance` compares the answers of the two models. Batch normalizations in `frozen` keep their statistics.
    `validate` scores the student in inference form, a number for each sample, larger is better: the last
    state is kept unless an earlier one is shown to be better (early stopping). It computes on the
    `device`, in bfloat16 if that has it; the student is on the CPU before and behind it. A step works in
    micro-batches (micro_batches.py) where it would take more than `memory_bytes` (of a GPU: than what is free
    there), or memory runs out. `seed` decides dropout and mixtures; the caller's generator does not change.
    Raises StageError if the loss is no longer finite.
    """
    schedule = schedule or Schedule(steps=recovery.steps)
    grid = grid or GridWeights(student, {}, {})
    with computing_on(torch.device(device), student, grid) as place:
        training = _Training(
            student,
            on_device(teacher, place),
            loss,
            recovery,
            distance=distance,
            grid=grid,
            frozen=frozen,
            memory_bytes=memory_bytes,
        )
        _run(training, batches, schedule, validate=validate, seed=seed, progress=progress)


def _run(
    training: "_Training",
    batches: Callable[[int], Iterator[Batch]],
    schedule: Schedule,
    *,
    validate: Callable[[], Tensor] | None,
    seed: int,
    progress: Callable[[str], None] | None,
) -> None:
    training.switch(True)
    best = Best(validate)
    step, elapsed_s = training.load(schedule.checkpoint, best)
    began, saved, source = time.monotonic() - elapsed_s, time.monotonic(), batches(step)
    with torch.random.fork_rng(devices=gpus(training.device)):
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
        memory_bytes: int | None,
    ):
        self.student, self.teacher, self.recovery = student, teacher, recovery
        self.task_loss, self.distance = loss, distance
        self.frozen, self.fixed_batch = frozen, fixed_batch(student)
        self.memory_bytes = memory_bytes
        self.micro: int | None = None  # samples at once, once that is known
        self.trained = student
        if recovery.features > 0:
            names = feature_nodes(student, teacher)
            self.trained, self.teacher = with_features(student, names), with_features(teacher, names)
        self.device = device_of(student)
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
        if self.trained is not self.student:
            set_training(self.trained, training, frozen=self.frozen)

    def step(self, batch: Batch, rate: float, number: int) -> None:
        """One batch at `rate` times the learning rate. Raises StageError for a loss that is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recovery.learning_rate * rate
        between = mixtures(batch[0], number) if self.mixes else None
        if between is not None:
            batch = between, batch[1]
        if self.micro is None:
            self.micro = self._affordable(batch, mixes=between is not None)
        whole = min(self.micro, len(batch[0][0]))
        total, size = halving(
            whole,
            lambda size: self._accumulate(batch, size, mixes=between is not None),
            what="a training step",
            stage="recover",
            least=self.fixed_batch or 1,
        )
        self.micro = self.micro if size == whole else size
        if not math.isfinite(total):
            where = f"at step {number}: learning rate {self.recovery.learning_rate:g}"
            raise StageError(f"the loss became {total} {where}", stage="recover")
        torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        self.grid.keep_signs(self.student)

    def _accumulate(self, batch: Batch, size: int, *, mixes: bool) -> float:
        """The loss of a batch; its gradients are there then, added up over parts of `size` samples."""
        self.optimizer.zero_grad(set_to_none=True)
        learned = Averaged([get_tensor(self.student, name) for name in self.statistics])
        total = 0.0
        try:
            for part, share in parts_of_batch(batch, size):
                loss = share * self._loss(part, mixes=mixes)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
                learned.add(share)
        except BaseException:
            learned.undo()
            raise
        learned.settle()
        return total

    def _affordable(self, batch: Batch, *, mixes: bool) -> int:
        """How many samples fit into `memory_bytes`, by what a few keep; any number where the batch does."""
        count, few = len(batch[0][0]), self.fixed_batch or FEW
        memory_bytes = step_bytes(self.device, self.memory_bytes)
        if memory_bytes is None or count <= few:
            return sys.maxsize
        part, _ = next(parts_of_batch(batch, few))
        learned = Averaged([get_tensor(self.student, name) for name in self.statistics])
        with torch.random.fork_rng(devices=gpus(self.device)):
            kept = saved_bytes(lambda: self._loss(part, mixes=mixes), known=self.parameters)
        learned.undo()
        each = kept / len(part[0][0])
        size = affordable(count, each, memory_bytes, multiple=self.fixed_batch or 1)
        return sys.maxsize if size == count else size

    def _loss(self, batch: Batch, *, mixes: bool) -> Tensor:
        """The mean loss of some samples; mixtures have no targets, and teach normalizations nothing."""
        recovery = self.recovery
        batch = on(batch, self.device)
        inputs = tuple(channels_last(x) for x in batch[0])
        with mixed_precision(device=self.device):
            with torch.no_grad():
                expected = in_parts(self.teacher, inputs, self.fixed_batch)
            state = self.grid.rounded(self.student)
            if mixes:
                state |= {name: get_tensor(self.student, name).clone() for name in self.statistics}
            outputs = in_parts(
                lambda *part: functional_call(self.trained, state, part), inputs, self.fixed_batch
            )
        total = torch.zeros((), device=self.device)
        if recovery.features > 0:
            (outputs, ours), (expected, theirs) = outputs, expected
            total = recovery.features * feature_loss(ours, theirs)
        outputs, expected = as_float32(outputs), as_float32(expected)
        soft = self.distance.loss(
            outputs, expected, temperature=recovery.temperature, hardness=recovery.hardness
        )
        total = total + recovery.weight * soft
        if mixes:
            return total
        return total + (1 - recovery.weight) * self.task_loss(outputs, batch[1])

    def load(self, checkpoint: Path | None, best: Best) -> tuple[int, float]:
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

    def save(self, checkpoint: Path, best: Best, *, step: int, elapsed_s: float) -> None:
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


def _rate(done: float) -> float:
    """The share of the learning rate at this share of the training."""
    if done < WARMUP_SHARE:
        return (done + 0.1 * WARMUP_SHARE) / (1.1 * WARMUP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def as_float32(outputs: Any) -> Any:
    """The output, or a tuple of several, in float32."""
    return tuple(x.float() for x in outputs) if isinstance(outputs, (tuple, list)) else outputs.float()
