"""The stages of a build: times each, says in which an error happened, and goes on in halves where memory ran
out.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch

from ..errors import FailureKind, StageError
from ..tasks.plain.devices import CPU

T = TypeVar("T")
BuildStage = Literal["prune", "reconstruct", "recover", "calibrate", "build"]


@dataclass(slots=True)
class StageClock:
    """Seconds by stage; an error of the model inside a stage becomes a StageError of that stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: BuildStage) -> Iterator[None]:
        """Times the block. Raises StageError for an error of the model, its shapes or the memory."""
        start = time.perf_counter()
        try:
            yield
        except (RuntimeError, ValueError, MemoryError) as error:
            memory = isinstance(error, MemoryError) or "alloc" in str(error)
            message = f"{type(error).__name__}: {error}"[:400]
            # torch says so when somebody killed a process that loads data
            again = "DataLoader worker" in message
            kind: FailureKind = "memory" if memory else "error"
            raise StageError(message, stage=name, kind=kind, retryable=again) from error
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def in_time(batches: Iterable[T], between: Callable[[], None]) -> Iterator[T]:
    """The same batches; `between`, called in front of each, looks at the clock and may raise."""
    for batch in batches:
        between()
        yield batch


def halving(
    size: int, attempt: Callable[[int], T], *, what: str, stage: BuildStage, least: int = 1
) -> tuple[T, int]:
    """What `attempt` gives for a size, halved for as long as memory runs out; and the size that did it.

    StageError (memory) where it runs out with the `least`, too: `what` of so many samples does not fit.
    """
    while True:
        try:
            return attempt(size), size
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            if size <= least:
                message = f"{what} of {size} samples does not fit into memory: {error}"[:400]
                raise StageError(message, stage=stage, kind="memory") from error
        size = max(least, size // 2)


def computed_on(device: torch.device, make: Callable[[torch.device], T]) -> T:
    """What `make` gives on the device, or on the CPU if the device has too little memory."""
    if device != CPU:
        try:
            return make(device)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
    return make(CPU)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was missing, of a device (torch.OutOfMemoryError) or of this machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
