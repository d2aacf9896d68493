"""CheckedRequest: a request whose task, targets and limits were found to be good."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...compress.graph.network import Network
from ...compress.recipe import Recipe
from ...evaluation.targets import FoundTarget
from ...profiles import Profile
from ...results.limits import Constraints
from ...tasks.check import CheckedTask
from ..space.runtimes import RuntimeSpaces
from ..space.space import SearchSpace
from .request import SearchRequest

CHECKED_TASK = "task.json"  # in a run directory: what the check of the task found


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A request that can be searched. `runtimes` are the spaces of alternatives, None where a candidate
    serves all targets. `warm` are the recipes of an earlier run's front, tried first.

    The check of the task began at `began_s` (`lease.own_s`): it counts for the budget. `memory_bytes` is what
    the search may take, `device` where it computes.
    """

    request: SearchRequest
    checked: CheckedTask
    targets: tuple[FoundTarget, ...]
    network: Network
    space: SearchSpace
    runtimes: RuntimeSpaces | None = None
    warm: tuple[Recipe, ...] = ()
    began_s: float | None = None
    memory_bytes: int = 0
    device: str = "cpu"

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of all targets."""
        return tuple(target.profile for target in self.targets)

    @property
    def target_names(self) -> str:
        """`cpu`, or `cpu,cpu-2t`."""
        return ",".join(target.profile.name for target in self.targets)

    @property
    def constraints(self) -> Mapping[str, Constraints]:
        """The limits by target, in the user's order."""
        limits = self.request.constraints
        return {profile.name: limits.get(profile.name, Constraints()) for profile in self.profiles}

    @property
    def directory(self) -> Path:
        """Where the run goes when none is there."""
        return self.request.directory(self.checked.task.name, self.target_names)
