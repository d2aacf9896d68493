"""What a search will take of the memory, told before it begins, and the limit that it keeps."""

import math
from dataclasses import dataclass

from torch import Tensor

from ...compress.graph.graph import shape_of
from ...compress.graph.network import Network
from ...compress.levels.moments import IN_PASS_BYTES, moments_bytes
from ...compress.options import CompressorOptions
from ...compress.student.refit import TENSOR_BYTES
from ...compress.student.training.micro_batches import BESIDE
from ...errors import InputError
from ...profiles import format_size
from ..session.memory import resident_bytes
from .checked_request import CheckedRequest

_PROGRAMS = 600 << 20  # the exporter, and the process of a worker with its runtime
_TENSORS = 3  # of the largest size, that a pass over samples holds
_WORKER = 3  # times its weights, a worker's sessions hold of a model
_TRAINED = 4  # times its weights: the student, its gradients, two moments of the optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes: what the process has `now`, what work beside training needs, what a training step may have, and
    the limit.
    """

    limit: int
    now: int
    work: int
    training: int

    @property
    def needed(self) -> int:
        """What the search will take, about."""
        return self.now + self.work + self.training

    def __str__(self) -> str:
        return f"about {format_size(self.needed)} of at most {format_size(self.limit)} (--memory)"


def memory_plan(checked: CheckedRequest) -> MemoryPlan:
    """The plan of a request. InputError where its limit is too little for what cannot be divided."""
    network, request, limit = checked.network, checked.request, checked.memory_bytes
    options = CompressorOptions(memory_bytes=limit)
    now, weights = resident_bytes(), 4 * network.parameters
    moments = sum(map(moments_bytes, network.layers))
    sample = 4 * sum(math.prod(shape) for shape in _shapes(network))
    largest = 4 * max((math.prod(shape) for shape in _shapes(network)), default=0)
    work = min(options.memory_share(8, IN_PASS_BYTES), moments) + 2 * weights
    work += (
        _PROGRAMS
        + _TENSORS * min(TENSOR_BYTES, max(largest, largest * options.batch_size))
        + _WORKER * weights
    )
    training = 0
    if request.recovery:
        step = min(limit // 2, int(BESIDE * sample * options.batch_size))
        training = _TRAINED * weights + max(step, int(BESIDE * sample))
    least = now + _PROGRAMS + (2 + _WORKER + _TRAINED * request.recovery) * weights + _TENSORS * largest
    if least > limit:
        raise InputError(
            f"{format_size(limit)} of memory are too little for this model, whose data, weights and largest "
            f"tensors take about {format_size(least)}: give --memory {_rounded(1.5 * least)}"
            f"{' or more, or --no-recovery' if request.recovery else ' or more'}."
        )
    return MemoryPlan(limit=limit, now=now, work=work, training=training)


def _rounded(size: float) -> str:
    return f"{math.ceil(size / 2**30 * 10) / 10:g}GB"


def _shapes(network: Network) -> list[tuple[int, ...]]:
    """Of one sample, the shapes of all tensors that operations make."""
    nodes = [node for node in network.module.graph.nodes if node.op == "call_function"]
    return [tuple(shape_of(node)[1:]) for node in nodes if isinstance(node.meta.get("val"), Tensor)]
