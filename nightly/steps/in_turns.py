"""One artifact in two settings of a runtime (two versions of it, or two sets of session options), in turns.

Two versions of a library cannot be in one process, so that a worker of each stands beside the other. A round
asks the old one, the new one, the new one, the old one (ABBA), each for a short time in fresh sessions, and
gives one ratio of latencies, new / old: what drifts over seconds falls out of it. Rounds go on, each with
fresh processes, until the 95 % interval of their mean (Student's t) is narrow. All of it is under the lease,
after an A/A control.
"""

import logging
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import StageError, TargetUnavailable
from ...profiles.measurement import (
    SEARCH_TIMING,
    PairBlocks,
    TimingConfig,
    critical_value,
    relative_half_width,
)
from ...targets.control import patiently
from ...targets.lease import measuring
from ...targets.target import MEASURE_TIMEOUT_S, START_TIMEOUT_S, Target
from ...targets.transport import LocalTransport

log = logging.getLogger(__name__)

ROUNDS_MIN, ROUNDS_MAX = 4, 12
HALF_WIDTH = 0.008  # of the interval, relative, that is narrow enough
TIMING = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.12, warmup_s=0.1)


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
        return statistics.fmean(self.ratios)

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 % interval of the ratio: Student's t over the rounds."""
        spread = self.ratio * relative_half_width(self.ratios)
        return self.ratio - spread, self.ratio + spread


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
    ratios: list[float] = []
    with measuring(cores=target.cores):
        while len(ratios) < ROUNDS_MAX:
            ratios.append(_round(model, target, old, new, timing, mirrored=len(ratios) % 2 == 1))
            if len(ratios) >= ROUNDS_MIN and relative_half_width(tuple(ratios)) <= HALF_WIDTH:
                break
    return Turns(old_version=versions[0], new_version=versions[1], ratios=tuple(ratios))


def _round(
    model: Path, target: Target, old: Setting, new: Setting, timing: TimingConfig, *, mirrored: bool
) -> float:
    """One ratio, new / old. `mirrored`: the new setting goes first and last."""
    with _worker(target, old) as older, _worker(target, new) as newer:
        order = (newer, older, older, newer) if mirrored else (older, newer, newer, older)
        seconds: dict[int, list[float]] = {id(older): [], id(newer): []}
        for worker in order:
            seconds[id(worker)] += _seconds(worker, model, target, timing)
        return statistics.median(seconds[id(newer)]) / statistics.median(seconds[id(older)])


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


def _seconds(worker: LocalTransport, model: Path, target: Target, timing: TimingConfig) -> list[float]:
    """The seconds of an inference, of each block: the model beside itself, so that both sides count."""
    request = {
        "op": "measure",
        "model": str(model.resolve()),
        "baseline": str(model.resolve()),
        "timing": asdict(timing),
        "critical": [critical_value(1)],
        **target.workload,
    }
    reply = worker.send(request, timeout_s=2 * timing.max_s + MEASURE_TIMEOUT_S)
    pairs = [PairBlocks.from_json(pair) for pair in reply["pairs"]]
    return [seconds for pair in pairs for side in (pair.baseline_s, pair.candidate_s) for seconds in side]
