"""Estimate: how long a search's work will take, from one timed pass of the original. For `--dry-run`."""

import time
from dataclasses import dataclass

import torch
from torch import nn

from ...compress.compressor import Compressor
from ...compress.student.effort import samples_within
from ...compress.student.samples import IN_PARTS
from ...profiles import SEARCH_TIMING
from ...tasks.data import sample_count
from ...tasks.splits.grouping import Inputs
from ..rungs.climber import WINDOW
from ..session.budget import Budget
from ..space.space import STEPS
from .checked_request import CheckedRequest

_FIXED_S = 1.5  # worker process, bookkeeping
_TIMED = 32  # samples at most that are timed together
_TIMED_S = 2.0
_LEAST_INFERENCES = 8  # in the blocks of a pair, however long one takes
_BYTES_S = 5e7  # of weights that are encoded, written and read by sessions, in a second
_FORWARDS = 3  # a layer is fitted beside the original; ranges are observed
_MOMENTS = 2.0  # collecting moments and making levels, in passes
_STEP_COST = 4.0  # a training step in forward passes: teacher, student, backward
_RECOVERIES = 8  # that the share for recovery is divided among, about
_PROBED = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds. `once_s` is what the first search on a task makes before candidates go fast, `candidate_s` an
    average candidate without recovery, with the looks at others before it, `recovery_s` an average recovery
    where no budget bounds it.
    """

    once_s: float
    candidate_s: float
    recovery_s: float

    def trials(self, budget: Budget) -> int | None:
        """How many candidates fit into a budget; None where there is none."""
        plan = budget.to_json()
        explored_s, recovery_s = plan["exploring_s"], plan["recovery_s"] or 0.0
        if explored_s is None:
            return None
        explored = max(0.0, explored_s - self.once_s) / self.candidate_s
        return 1 + int(explored + min(_RECOVERIES, recovery_s / (2 * self.candidate_s)))

    def seconds(self, trials: int, *, recovery: bool) -> float:
        """How long so many candidates take without a budget; half of them recover."""
        return self.once_s + trials * (self.candidate_s + 0.5 * self.recovery_s * recovery)


def estimate(checked: CheckedRequest, compressor: Compressor) -> Estimate:
    """What the work on this request will take, about."""
    task, options = checked.checked.task, compressor.options
    sample_s = _sample_s(task.model, task.inputs, least=task.batch if isinstance(task.batch, int) else 1)
    cpu_s = sample_s * torch.get_num_threads()  # a worker has the threads of its profile
    weights_s = 4 * checked.network.parameters / _BYTES_S
    targets_s = 0.0
    for profile in checked.profiles:
        latency_s = checked.request.batch * cpu_s / profile.threads
        validate_s = _validated(checked) * cpu_s / profile.threads
        pair_s = max(SEARCH_TIMING.pair_s, _LEAST_INFERENCES * latency_s) + 2 * SEARCH_TIMING.warmup_s
        targets_s += _FIXED_S + validate_s + SEARCH_TIMING.pairs_min * (pair_s + weights_s)
    fitted_s = _FORWARDS * min(options.refit_samples, options.pruned_calibration_samples * 2) * sample_s
    evaluated_s = targets_s + weights_s + fitted_s
    probed = samples_within(checked.network, min(_PROBED, sample_count(task.train) or _PROBED))
    looks_s = min(WINDOW * probed * sample_s, evaluated_s) if checked.request.sampler == "front" else 0.0
    most = IN_PARTS if isinstance(task.batch, int) else options.batch_size
    batch = min(most, sample_count(task.train) or most)
    return Estimate(
        once_s=_MOMENTS * options.database_samples * sample_s + weights_s,
        candidate_s=evaluated_s + looks_s,
        recovery_s=sum(STEPS) / len(STEPS) * batch * sample_s * _STEP_COST,
    )


def _validated(checked: CheckedRequest) -> int:
    """How many samples of validation a candidate answers, as far as that is known."""
    count = sample_count(checked.checked.task.validation) or 1000
    return min(count, checked.request.validation_samples or count)


def _sample_s(model: nn.Module, inputs: Inputs, *, least: int) -> float:
    """Seconds of one sample in torch, among as many as are timed in _TIMED_S, at `least` so many."""
    count = least
    with torch.inference_mode():
        while True:
            part = tuple(x.repeat(count, *[1] * (x.dim() - 1))[:count] for x in inputs)
            if count == least:
                model(*part)  # the first run of anything is slow
            start = time.perf_counter()
            model(*part)
            took_s = time.perf_counter() - start
            if count >= _TIMED or 4 * took_s > _TIMED_S:
                return took_s / count
            count *= 4
