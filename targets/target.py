"""Target: hardware that can be used now. It runs artifacts, and measures them beside their baseline."""

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ..errors import StageError, TargetUnavailable
from ..files import digest_of_file
from ..profiles.address import TargetAddress
from ..profiles.environment import Environment
from ..profiles.measurement import SEARCH_TIMING, Measurement, PairBlocks, TimingConfig, critical_value
from ..profiles.profile import Profile
from ..profiles.sizes import Sizes
from ..scratch import temporary_folder
from .control import Control
from .lease import measuring
from .on_device.board.state import Condition, State
from .session import TargetSession
from .ssh.board import Board, BoardSettings
from .ssh.transport import SshTransport
from .store import MeasurementKey, MeasurementStore
from .transport import LastingWorker, LocalTransport, Transport

__all__ = ["Target", "TargetSession"]

START_TIMEOUT_S = 60.0
MEASURE_TIMEOUT_S = 120.0  # beyond twice the configured time: loading sessions of large models
LEFT_OUT = "options_left_out"  # in requests and a measurement's details, by side: see on_device/timing.py
BUILD_TIMEOUT_S = 600.0  # for each engine of a runtime that builds them


class Clocks(Protocol):
    """Clocks of the device that can be set; see held_clocks.HeldClocks."""

    def ensure(self) -> None:
        """Sets them, unless they are set. TargetUnavailable says why they cannot be."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOfSeveral:
    """What a target is told that is one of several boards of a kind (pool/): its `number`, from 1; the
    baselines' `references`, which all of them share; and `vouch`, which is called before anything is measured
    beside a baseline with a batch size, and may refuse it.

    Its environment has no `machine`: in everything else that counts the boards are alike.
    """

    number: int
    references: dict[tuple[str, int], tuple[float, float | None]]
    vouch: Callable[[Path, int], None]


class Target:
    """A profile on this machine, or on the board at `address`. One object serves a whole run: it knows when
    the last A/A control passed. `board` is given by those that need other settings of the connection than the
    user's own, and with `one` by those that have several of a kind.

    `inputs` is an .npz file ("0", "1" …) or a folder of .npy files whose first samples are timed with;
    without it, random ones are, and `shapes` says the sizes of dynamic dimensions by input name. `sizes` are
    those of free dimensions by their names; stored samples are cut or repeated to them. `recognize` is told
    the environment when it is first known, and may refuse it (TargetUnavailable). `clocks` are ensured before
    each worker (held_clocks.py).
    """

    def __init__(
        self,
        profile: Profile,
        store: MeasurementStore | None = None,
        *,
        inputs: Path | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        sizes: Sizes | None = None,
        cores: Sequence[int] | None = None,
        python: str = sys.executable,
        recognize: Callable[[Environment], None] | None = None,
        clocks: Clocks | None = None,
        address: TargetAddress | None = None,
        board: Board | None = None,
        one: OneOfSeveral | None = None,
    ):
        self.profile = profile
        if board is None and address is not None and address.host is not None:
            board = board_at(profile, address)
        self.board = board
        if cores is None and board is None:
            cores = default_cores(profile.threads)
        self._cores = None if cores is None else tuple(cores)
        self._store = store
        self.shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
        self.workload: dict[str, object] = {
            "inputs": str(inputs) if inputs else None,
            "shapes": self.shapes,
            **({"sizes": sizes.request()} if sizes else {}),
        }
        self._sizes = sizes.text if sizes else ""
        self._python = python
        self._recognize = recognize
        self._clocks = clocks
        self._one = one
        self._environment: Environment | None = None
        self._control = Control()
        # seconds, joules
        self._references: dict[tuple[str, int], tuple[float, float | None]] = one.references if one else {}

    @property
    def cores(self) -> tuple[int, ...]:
        """The cores that workers are pinned to. TargetUnavailable if a board has too few, or cannot be
        reached.
        """
        if self._cores is None:
            assert self.board is not None
            self._cores = self.board.cores(self.profile.threads)
        return self._cores

    def close(self) -> None:
        """Ends the connection to a board; the next use connects again."""
        if self.board is not None:
            self.board.close()

    def measuring(self) -> AbstractContextManager[None]:
        """A block that measures alone: under this machine's lease, or the board's lock."""
        return measuring(cores=self.cores) if self.board is None else self.board.measuring()

    def probe(self) -> Environment:
        """The environment that the worker reports, asked once. TargetUnavailable if the runtime is
        missing.
        """
        return self._of_kind(self._probed())

    def _probed(self) -> Environment:
        if self._environment is None:
            with self.open_worker() as worker:
                self._environment = self._probe(worker)
        return self._environment

    def _of_kind(self, environment: Environment) -> Environment:
        """The environment as others see it: that of one of several boards is the same on all of them."""
        return environment if self._one is None else replace(environment, machine=None)

    def condition(self) -> Condition:
        """The board's power modes, temperatures, throttling, and what this user may set; see
        on_device/board/.
        """
        with self.open_worker() as worker:
            reply = worker.send({"op": "condition"}, timeout_s=START_TIMEOUT_S)
        return Condition(**{**reply, "state": State(**reply["state"])})

    def energy_sensor(self) -> dict[str, str]:
        """What counts energy there: {"sensor", "problem", "remedy"}, all texts; `sensor` is empty without
        one.
        """
        with self.open_worker() as worker:
            reply = worker.send({"op": "energy"}, timeout_s=START_TIMEOUT_S)
        sensor = f"{reply['sensor']}: {', '.join(reply['parts'])}" if reply["sensor"] else ""
        return {"sensor": sensor, "problem": reply["problem"], "remedy": reply["remedy"]}

    @property
    def environment(self) -> Environment | None:
        """The environment, if the target was asked for it."""
        return None if self._environment is None else self._of_kind(self._environment)

    @contextmanager
    def free(self) -> Iterator["Target"]:
        """A block in which a device is used: this one; of several boards one that is free."""
        yield self

    @contextmanager
    def session(self) -> Iterator[TargetSession]:
        """A fresh worker process for one candidate; it ends with the block."""
        with self.open_worker() as worker, temporary_folder() as folder:
            if self._environment is None:
                self._environment = self._probe(worker)
            yield TargetSession(
                worker,
                folder=folder,
                runtime=self.profile.facts,
                workload=self.workload,
                saturates=self._environment.saturates,
                alone=self.measuring,
                measure_beside=partial(self.measure, worker),
            )

    def control(self, baseline: Path, timing: TimingConfig = SEARCH_TIMING) -> Measurement:
        """A passed A/A measurement of the baseline beside itself, taken now, under the lease.

        StageError of the kind noisy if three tries in a row miss 1 by more than 1 %.
        """
        self.refuse_emulation()
        with self.measuring():
            return self._controlled(baseline, timing)

    def _controlled(self, baseline: Path, timing: TimingConfig) -> Measurement:
        digest = digest_of_file(baseline)

        def measure() -> Measurement:
            with self.open_worker() as worker:
                return self.measure_once(worker, baseline, baseline, timing=timing, digests=(digest, digest))

        return self._control.run((digest, timing.batch), measure)

    def measure(self, worker: Transport, model: Path, baseline: Path, timing: TimingConfig) -> Measurement:
        """See TargetSession.measure."""
        self.refuse_emulation()
        timing = replace(timing, sizes=self._sizes)
        digests = digest_of_file(model), digest_of_file(baseline)
        if (stored := self._stored(digests, timing)) is not None:
            return stored
        if self._one is not None:
            self._one.vouch(baseline, timing.batch)
        with self.measuring():
            self._require_reference(baseline, digests[1], timing.batch)
            # another coordinator may have taken it meanwhile, or it is the reference itself
            if (stored := self._stored(digests, timing)) is not None:
                return stored
            measurement = self.measure_once(worker, model, baseline, timing=timing, digests=digests)
        return self._store.put(measurement) if self._store else measurement

    def refuse_emulation(self) -> None:
        """TargetUnavailable where another processor is imitated."""
        if self.probe().emulated:
            raise TargetUnavailable(
                f"The target {self.profile.name} runs under qemu, which imitates its processor: models can "
                "be run there, but a latency would say nothing about the hardware. Measure on the board "
                "itself."
            )

    def _stored(self, digests: tuple[str, str], timing: TimingConfig) -> Measurement | None:
        if self._store is None:
            return None
        key = MeasurementKey(
            artifact_digest=digests[0],
            baseline_digest=digests[1],
            profile_fingerprint=self.profile.fingerprint,
            timing=timing,
            environment_fingerprint=self.probe().fingerprint,
        )
        return self._store.get(key)

    def _require_reference(self, baseline: Path, digest: str, batch: int) -> None:
        """Sees to a valid control, and to the baseline's reference latency, which the first passed control
        sets.
        """
        timing = replace(SEARCH_TIMING, batch=batch, sizes=self._sizes)
        subject = (digest, batch)
        if subject not in self._references and (stored := self._stored((digest, digest), timing)) is not None:
            self._references[subject] = _reference_of(stored)
        if not self._control.covers(subject):
            control = self._controlled(baseline, timing)
            if subject not in self._references:
                reference = self._store.put(control) if self._store else control
                self._references[subject] = _reference_of(reference)

    def measure_once(
        self,
        worker: Transport,
        model: Path,
        baseline: Path,
        *,
        timing: TimingConfig,
        digests: tuple[str, str],
    ) -> Measurement:
        """A measurement taken now, without lease, control or store: those are the caller's. For benchmarks,
        too.
        """
        timing = replace(timing, sizes=self._sizes)
        foreign = self._left_out(model=model, baseline=baseline)
        request = {
            "op": "measure",
            "model": str(model.resolve()),
            "baseline": str(baseline.resolve()),
            "timing": asdict(timing),
            "critical": [critical_value(pairs - 1) for pairs in range(2, timing.pairs_max + 1)],
            LEFT_OUT: foreign,
            **self.workload,
        }
        engines = 2 * timing.engine_builds if self.profile.facts.builds_engines else 0
        timeout_s = 2 * timing.max_s + MEASURE_TIMEOUT_S + engines * BUILD_TIMEOUT_S
        result = worker.send(request, timeout_s=timeout_s)
        environment = Environment.from_json(result["environment"])
        self._require_unchanged(environment)
        pairs = tuple(PairBlocks.from_json(pair) for pair in result["pairs"])
        seconds, joules = self._references.get((digests[1], timing.batch)) or (_baseline_latency(pairs), None)
        on = {} if self._one is None else {"board": self._one.number}
        return Measurement(
            pairs=pairs,
            timer=self.profile.timer,
            timing=timing,
            environment=self._of_kind(environment),
            profile_fingerprint=self.profile.fingerprint,
            artifact_digest=digests[0],
            baseline_digest=digests[1],
            baseline_reference_s=seconds,
            baseline_reference_j=_baseline_energy(pairs) if joules is None else joules,
            peak_memory_bytes=result["peak_memory_bytes"],
            details={**result.get("details", {}), **({LEFT_OUT: foreign} if foreign else {})},
            conditions={**result.get("conditions", {}), **on},
        )

    def _left_out(self, **models: Path) -> dict[str, list[str]]:
        """By side, the session options that suit only our own files, where the side's file is foreign."""
        from .model_files.one_file import is_foreign  # with onnx: the check of a target's name need not wait

        options = list(self.profile.own_file_options)
        return {side: options for side, path in models.items() if options and is_foreign(path)}

    def _require_unchanged(self, environment: Environment) -> None:
        """TargetUnavailable when the device is not as it was when it was asked first: what it measured now is
        not kept.
        """
        if changed := self._probed().differences(environment):
            changes = [f"{name} was {before!r} and is {now!r}" for name, (before, now) in changed.items()]
            raise TargetUnavailable(
                f"The target changed meanwhile ({'; '.join(changes)}): put it back as it was, or start anew."
            )

    def open_worker(self) -> Transport:
        """A fresh worker process, configured by the profile; on a board, one that stood by if there is one.
        It is replaced when somebody kills it.
        """
        if self._clocks is not None:
            self._clocks.ensure()
        config = {
            "runtime": self.profile.runtime,
            "cores": list(self.cores),
            "threads": self.profile.threads,
            "timer": self.profile.timer,
            "runtime_options": dict(self.profile.runtime_options),
            "memory_limit_bytes": self.profile.memory_limit_bytes,
        }
        return LastingWorker(partial(self._start_worker, config))

    def _start_worker(self, config: Mapping[str, object]) -> Transport:
        if self.board is not None:
            return SshTransport(self.board, config)
        return LocalTransport(config, python=self._python)

    def _probe(self, worker: Transport) -> Environment:
        try:
            environment = Environment.from_json(worker.send({"op": "probe"}, timeout_s=START_TIMEOUT_S))
        except StageError as error:
            raise TargetUnavailable(f"The target's worker does not start: {error}") from error
        if self._recognize is not None:
            self._recognize(self._of_kind(environment))
        return environment


def board_at(profile: Profile, address: TargetAddress) -> Board:
    """The board at an address, with the profile's interpreter and the user's SSH configuration."""
    settings = BoardSettings(limit_bytes=profile.store_limit_bytes)
    return Board(address, python=profile.python, settings=settings)


def default_cores(threads: int) -> tuple[int, ...]:
    """The last `threads` cores that this process may use: the first ones serve most interrupts."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    available = sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))
    if len(available) < threads:
        raise TargetUnavailable(
            f"The target needs {threads} cores, but only {len(available)} can be used here: choose a target "
            "with fewer threads, such as 'cpu'."
        )
    return tuple(available[-threads:])


def _baseline_latency(pairs: Sequence[PairBlocks]) -> float:
    """The median over sessions of the median block, seconds per inference; both sides of an A/A run are
    baselines.
    """
    return statistics.median(
        statistics.median(blocks) for pair in pairs for blocks in (pair.baseline_s, pair.candidate_s)
    )


def _baseline_energy(pairs: Sequence[PairBlocks]) -> float | None:
    """The median over sessions of the mean energy of a baseline's inference; None without a sensor."""
    means = [statistics.fmean(pair.baseline_j) for pair in pairs if pair.baseline_j]
    return statistics.median(means) if means else None


def _reference_of(measurement: Measurement) -> tuple[float, float | None]:
    return measurement.baseline_reference_s, measurement.baseline_reference_j
