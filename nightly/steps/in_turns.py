"""One artifact in two settings of a runtime (two versions of it, or two sets of session options), in turns.

How they take turns, and when that ends, is in targets/turns.py. All of it is under the lease, after an A/A
control.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import StageError, TargetUnavailable
from ...profiles.measurement import SEARCH_TIMING, TimingConfig
from ...targets.control import patiently
from ...targets.lease import measuring
from ...targets.target import START_TIMEOUT_S, Target
from ...targets.transport import LocalTransport
from ...targets.turns import TIMING, Turn, mean_and_interval, ratios_in_turns

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A Python with the runtime in it. Its sessions have the profile's options without those that are
    `removed`, and with those that are `changed`.
    """

    python: str = sys.executable
    removed: frozenset[str] = frozenset()
    changed: Mapping[str, str] = field(default_factory=dict)

    def options(self, of_profile: Mapping[str, str]) -> dict[str, str]:
        """The options of its sessions."""
        left = {name: value for name, value in of_profile.items() if name not in self.removed}
        return {**left, **self.changed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What was seen: the versions of the runtime that the two workers report, and for each round latency in
    the new setting divided by latency in the old one.
    """

    old_version: str
    new_version: str
    ratios: tuple[float, ...] = field(default=())

    @property
    def ratio(self) -> float:
        """Latency in the new setting / latency in the old one: above 1 the new one is slower."""
        return mean_and_interval(self.ratios)[0]

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 % interval of the ratio: Student's t over the rounds."""
        return mean_and_interval(self.ratios)[1]


def measure_in_turns(
    model: Path, target: Target, old: Setting, new: Setting, *, timing: TimingConfig = TIMING
) -> Turns:
    """The model in both settings on a target of this machine; its inputs are those that the target times
    with.

    TargetUnavailable when a worker does not start there or the target is on a board, StageError when the
    model cannot be run, of the kind noisy when the machine is too restless.
    """
    if target.board is not None:
        raise TargetUnavailable("Two versions of a runtime are measured in turns on this machine only.")
    versions = tuple(_version(target, setting) for setting in (old, new))
    patiently(partial(target.control, model, SEARCH_TIMING.with_batch(timing.batch)), log.info)
    turns = [
        Turn(model=model, workload=target.workload, open_worker=partial(_worker, target, setting))
        for setting in (old, new)
    ]
    with measuring(cores=target.cores):
        _, ratios = ratios_in_turns(turns, timing=timing)
    return Turns(old_version=versions[0], new_version=versions[1], ratios=ratios)


def _worker(target: Target, setting: Setting) -> LocalTransport:
    profile = target.profile
    config = {
        "runtime": profile.runtime,
        "cores": list(target.cores),
        "threads": profile.threads,
        "timer": profile.timer,
        "runtime_options": setting.options(profile.runtime_options),
        "memory_limit_bytes": profile.memory_limit_bytes,
    }
    return LocalTransport(config, python=setting.python)


def _version(target: Target, setting: Setting) -> str:
    """The version of the runtime in a setting. TargetUnavailable when its worker does not answer."""
    try:
        with _worker(target, setting) as worker:
            reply: dict[str, Any] = worker.send({"op": "probe"}, timeout_s=START_TIMEOUT_S)
    except StageError as error:
        raise TargetUnavailable(f"The worker of {setting.python} does not start: {error}") from error
    return str(reply["runtime_version"])
