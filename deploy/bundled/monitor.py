"""Sums up what a model is given and answers while it is used, as JSON lines: counts, never inputs or answers.

It stands beside run.py in a bundle, needs numpy alone, and works in Python 3.8. `run.monitor("LOG.jsonl")`
turns it on; `autocompress drift BUNDLE LOG.jsonl` reads what it writes.

A line stands for a minute, or what `every_s` says, and has

- `latency_s`: percentiles of the inferences with the batch size of the manifest, and counts of logarithmic
  bins: bin k is from STEP**k to STEP**(k + 1) seconds,
- `inputs` and `outputs`, by name: for each channel how many values are up to each of the `edges` that
  manifest.json has, and above the last one. The first and the last count are beyond what calibration saw,
- `top`, by output: how often each class had the largest value.

run.py itself times every inference, since a call costs a small model too much. Looking at values takes
longer: it happens when run.py has timed `due` inferences, a random number that makes it SHARE of the model's
own time; the first FIRST_LOOKS come at once. One sample of the batch is looked at. A log that cannot be
written stops the monitor with a warning, never the program.
"""

from __future__ import annotations

import atexit
import collections
import json
import math
import os
import platform
import random
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Mapping

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows: one process for each log there
    fcntl = None  # type: ignore[assignment]

SCHEMA_VERSION = 1  # of a line
STEP = 1.02  # of latency bins: percentiles are within 1 %
SHARE = 0.005  # of the model's own time
FIRST_LOOKS = 200  # so that a program that ends soon has some, too
MOST_BETWEEN = 10000  # inferences between two looks
VALUES = 256  # of a channel that are looked at, about
LARGEST_LOG_BYTES, OLDER_LOGS = 4 << 20, 4  # LOG, LOG.1 … LOG.4

Json = Mapping[str, Any]  # an object of manifest.json
Arrays = Mapping[str, Any]  # by the name of the input or output


class Monitor:
    """What one process does with a bundle's model. `manifest` is the value of manifest.json.

    run.py appends to `took` the seconds of each inference, below 0 where the batch is not of `batch` samples,
    and calls `look` when there are `due` of them.
    """

    def __init__(self, log: str, manifest: Json, *, every_s: float = 60.0):
        self.log, self.every_s = Path(log).absolute(), every_s
        statistics = manifest.get("statistics", {})
        self._inputs = [_Tensor(one) for one in statistics.get("inputs", [])]
        self._outputs = [_Tensor(one) for one in statistics.get("outputs", [])]
        self.batch = manifest["target"]["batch"]
        self._always = {
            "schema_version": SCHEMA_VERSION,
            "model": manifest["model"]["sha256"],
            "cpu_model": _cpu_model(),
            "runtime": manifest["session"]["runtime"],
            "runtime_version": _version(manifest["session"]["runtime"]),
        }
        self._look_s, self._first_looks = 0.0, FIRST_LOOKS
        self._begin()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)  # a fork counts for itself

    def look(self, feeds: Arrays, answers: Arrays) -> None:
        """Looks at the values of an inference, its inputs and outputs by name, and writes when it is time."""
        with self._lock:
            began = time.thread_time()
            self._guarded(self._count, feeds, answers)
            self._look_s = max(0.9 * self._look_s, time.thread_time() - began)
            if time.perf_counter() - self._since >= self.every_s:
                self._guarded(self._write)

    def close(self) -> None:
        """Writes what was counted since the last line; a program's end does that, too."""
        with self._lock:
            self._guarded(self._write)

    def _begin(self) -> None:
        self._lock, self._coin = threading.Lock(), random.Random()
        self.took, self.due = [], 1  # type: Any, float
        self._shortest_s = math.inf
        self._renew()

    def _renew(self) -> None:
        self.calls, self.looks, self.longest_s = 0, 0, 0.0
        self.start, self._since = time.time(), time.perf_counter()
        self.bins = {}  # type: dict[int, int]
        for tensor in self._inputs + self._outputs:
            tensor.renew()

    def _guarded(self, step: Any, *arguments: Any) -> None:
        """Does a step; when it fails, the monitor stops, and the program goes on."""
        try:
            step(*arguments)
        except Exception as error:
            self.took, self.due = collections.deque(maxlen=0), math.inf
            self.calls = 0
            warnings.warn(f"{self.log}: the monitor has stopped ({error!r}).", RuntimeWarning, stacklevel=4)

    def _count(self, feeds: Arrays, answers: Arrays) -> None:
        self._count_times()
        sample = self._coin.randrange(len(next(iter(feeds.values()))))
        self.looks += 1
        for tensors, arrays in ((self._inputs, feeds), (self._outputs, answers)):
            for tensor in tensors:
                array = np.asarray(arrays[tensor.name])
                if sample < len(array):
                    tensor.count(array[sample], self._coin)
        self._first_looks -= 1
        between = 1.0 if self._first_looks > 0 else self._look_s / (SHARE * self._shortest_s)
        self.due = min(MOST_BETWEEN, max(1, round(between * (0.5 + self._coin.random()))))

    def _count_times(self) -> None:
        """Counts what run.py has timed since the last look."""
        count = len(self.took)
        times = np.asarray(self.took[:count])
        del self.took[:count]
        self.calls += count
        if count:
            self._shortest_s = min(self._shortest_s, float(np.abs(times).min()))
        times = np.maximum(times[times > 0], 1e-9)
        if times.size:
            self.longest_s = max(self.longest_s, float(times.max()))
            places, counts = np.unique(np.floor(np.log(times) / math.log(STEP)), return_counts=True)
            for place, number in zip(places.astype(int).tolist(), counts.tolist()):
                self.bins[place] = self.bins.get(place, 0) + number

    def _write(self) -> None:
        if isinstance(self.took, list):
            self._count_times()
        if self.calls:
            append(self.log, self._line())
        self._renew()

    def _line(self) -> str:
        value = dict(self._always, calls=self.calls, looks=self.looks, start=self.start, end=time.time())
        if self.bins:
            p50, p90, p99 = (_percentile(self.bins, share) for share in (0.5, 0.9, 0.99))
            bins = sorted(self.bins.items())
            value["latency_s"] = {"p50": p50, "p90": p90, "p99": p99, "max": self.longest_s, "bins": bins}
        value["inputs"] = {tensor.name: tensor.counts_as_lists() for tensor in self._inputs}
        value["outputs"] = {tensor.name: tensor.counts_as_lists() for tensor in self._outputs}
        value["top"] = {one.name: one.top.tolist() for one in self._outputs if one.top is not None}
        return json.dumps(value, separators=(",", ":"), allow_nan=False)


class _Tensor:
    """The counts of an input or output."""

    def __init__(self, facts: Json):
        self.name, self.axis = facts["name"], facts["axis"]
        edges = [channel["edges"] for channel in facts["channels"]]
        self._sizes = [len(one) + 1 for one in edges]
        self._edges = np.full((len(edges), max(self._sizes) - 1, 1), np.inf)  # no value is above the rest
        for row, one in zip(self._edges, edges):
            row[: len(one), 0] = one
        self._classes = len(facts["top"]) if facts.get("top") else 0
        self.renew()

    def renew(self) -> None:
        self._counts = np.zeros((len(self._sizes), max(self._sizes)), np.int64)
        self.top = np.zeros(self._classes, np.int64) if self._classes else None

    def count(self, sample: Any, coin: random.Random) -> None:
        """Counts some values of each channel of one sample. One of another shape is left out."""
        if self.top is not None:
            if sample.shape != self.top.shape:
                return
            self.top[int(sample.argmax())] += 1
        channels = channels_of(sample, self.axis)
        number, length = channels.shape
        if number != len(self._counts) or not length:
            return
        step = max(1, length // VALUES)
        values = channels[:, coin.randrange(step) :: step]
        bins = (self._edges < values[:, None, :]).sum(axis=1)
        bins += np.arange(number)[:, None] * self._counts.shape[1]
        self._counts += np.bincount(bins.ravel(), minlength=self._counts.size).reshape(self._counts.shape)

    def counts_as_lists(self) -> list[list[int]]:
        return [row[:size].tolist() for row, size in zip(self._counts, self._sizes)]


def channels_of(sample: Any, axis: int | None) -> Any:
    """One sample as an array of channels and their values. `axis` counts from the batch, as in the manifest;
    None: all values are one channel.
    """
    if axis is None:
        return sample.reshape(1, -1)
    moved = sample if axis == 1 else np.moveaxis(sample, axis - 1, 0)
    return moved.reshape(moved.shape[0], -1)


def append(log: Path, line: str) -> None:
    """Appends a line, in one write, and starts a new file where this one is large. Several processes may
    write to one log. OSError when it cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(str(log), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_still(log, file):  # another process has just started a new file
                continue
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # somebody was killed while writing
            os.write(file, (b"\n" if torn else b"") + line.encode() + b"\n")
            if size + len(line) > LARGEST_LOG_BYTES:
                _make_room(log)
            return
        finally:
            os.close(file)


def _is_still(log: Path, file: int) -> bool:
    try:
        return os.path.samestat(log.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _make_room(log: Path) -> None:
    """Renames LOG to LOG.1, that to LOG.2 and so on; the oldest is gone."""
    for number in range(OLDER_LOGS - 1, -1, -1):
        older = log.with_name(f"{log.name}.{number}") if number else log
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))


def _percentile(bins: Mapping[int, int], share: float) -> float:
    """The seconds that a share of the inferences took at most, the middle of their bin."""
    missing = share * sum(bins.values())
    for place in sorted(bins):
        missing -= bins[place]
        if missing <= 0:
            break
    return float(STEP ** (place + 0.5))


def _cpu_model() -> str:
    """The name that the manifest's environment has, too."""
    facts = {}  # type: dict[str, str]
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, text = line.partition(":")
            facts.setdefault(key.strip(), text.strip())
    except OSError:
        pass
    return facts.get("model name") or facts.get("CPU part") or platform.processor() or platform.machine()


def _version(runtime: str) -> str | None:
    version = getattr(sys.modules.get(runtime), "__version__", None)
    return None if version is None else str(version)
