"""The stages of a build: times each, and says in which an error happened."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ..errors import FailureKind, StageError

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
