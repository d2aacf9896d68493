"""Getting accuracy back: statistics of batch normalization estimated anew, and distillation from the original model."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import StageError
from .graph import batch_norms, set_momentum, set_training
from .recipe import Recovery

Batch = tuple[tuple[Tensor, ...], Any]
WARMUP_SHARE = 0.1
DEFAULT_MOMENTUM = 0.1


def reestimate_statistics(module: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Replaces the running mean and variance of every batch normalization by their averages over `batches`, in place."""
    if not batch_norms(module):
        return
    set_training(module, True)
    with torch.no_grad():
        for index, inputs in enumerate(batches):
            set_momentum(module, 1 / (index + 1))
            with mixed_precision():
                module(*(channels_last(x) for x in inputs))
    set_momentum(module, DEFAULT_MOMENTUM)
    set_training(module, False)


def distill(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    loss: Callable[[Any, Any], Tensor],
    batches: Iterator[Batch],
    recovery: Recovery,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Trains `student` in place for `recovery.steps` batches: AdamW, linear warm-up over a tenth, then a cosine to zero.

    Mixed precision (bfloat16) where the processor has it. `seed` decides dropout; the caller's generator is left as it was.
    Raises StageError when the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(student.parameters(), lr=recovery.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recovery.steps))
    set_training(student, True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(recovery.steps):
            total = _loss(student, teacher, loss, next(batches), recovery)
            if not torch.isfinite(total):
                message = f"the loss became {total.item()} at step {step}: learning rate {recovery.learning_rate:g}"
                raise StageError(message, stage="recover")
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(step + 1)
    set_training(student, False)


def _loss(
    student: fx.GraphModule, teacher: fx.GraphModule, loss: Callable[[Any, Any], Tensor], batch: Batch, recovery: Recovery
) -> Tensor:
    inputs, targets = tuple(channels_last(x) for x in batch[0]), batch[1]
    with mixed_precision():
        with torch.no_grad():
            expected = teacher(*inputs)
        outputs = student(*inputs)
    hard, soft = loss(_float(outputs), targets), soft_loss(_float(outputs), _float(expected), recovery.temperature)
    return (1 - recovery.weight) * hard + recovery.weight * soft


def _rate(step: int, steps: int) -> float:
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def soft_loss(outputs: Any, expected: Any, temperature: float) -> Tensor:
    """T²·KL(expected ‖ outputs) of class scores (N × classes, …), squared error of a single column; summed over several outputs."""
    if isinstance(outputs, (tuple, list)):
        return torch.stack([soft_loss(o, e, temperature) for o, e in zip(outputs, expected, strict=True)]).sum()
    if outputs.dim() < 2 or outputs.shape[1] == 1:
        return F.mse_loss(outputs, expected)
    log_p, log_q = (F.log_softmax(x / temperature, dim=1) for x in (outputs, expected))
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def _float(outputs: Any) -> Any:
    return tuple(x.float() for x in outputs) if isinstance(outputs, (tuple, list)) else outputs.float()


def channels_last(x: Tensor) -> Tensor:
    """Images in the layout that the CPU kernels want; other tensors unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def mixed_precision() -> torch.autocast:
    """bfloat16 arithmetic where the processor has instructions for it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
