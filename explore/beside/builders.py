"""Builders: whoever builds recipes beside the search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ...compress.compressor import BuildResult
from ...compress.recipe import Recipe
from ...errors import StageError


@dataclass(frozen=True, slots=True)
class Ready:
    """What became of a recipe; None where nobody is left who could build it, which says nothing of it."""

    recipe: Recipe
    result: BuildResult | StageError | None


class Builders(Protocol):
    """Build recipes in the background. A context manager: at its end, all that was begun is given up.

    `only_recoveries`: nothing but recipes with a recovery is to be given to them.
    """

    only_recoveries: bool

    @property
    def cores(self) -> Sequence[int]:
        """The cores of this machine that they keep to."""
        ...

    @property
    def slots(self) -> int:
        """How many recipes are built at the same time."""
        ...

    @property
    def free(self) -> int:
        """How many recipes may be started now."""
        ...

    @property
    def stage(self) -> str:
        """What they are doing, for the display."""
        ...

    def __enter__(self) -> "Builders": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, recipe: Recipe) -> None:
        """Begins to build a recipe; there must be a free slot."""
        ...

    def poll(self, *, wait_s: float = 0.0) -> Ready | None:
        """A recipe that is done; None while all are in work, or there are none. Waits at most `wait_s`."""
        ...

    def kls(
        self, recipes: Sequence[Recipe], *, meanwhile: Callable[[], None]
    ) -> list[float | StageError | None]:
        """The probe's KL of each recipe in nats, from the free slots; None where that was not told. What is
        to be done `meanwhile` is called once.
        """
        ...

    def cancel(self) -> None:
        """Gives all that was begun up."""
        ...
