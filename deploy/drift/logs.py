"""The logs of monitor.py, read strictly: each line is a window, and their counts are added up.

Half a line, as a process leaves it that is killed while it writes, is left out and counted. Any other line
that does not fit is an InputError: it is of something else. Of a folder, the logs of other models are left
out and counted: a bundle that is replaced leaves its own there.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import LARGEST_TEXT_BYTES
from ...results.records.manifest import Manifest
from ...results.records.reading import Fields, Unfit, parse
from ...results.records.statistics import SampleStatistics, TensorStatistics

SCHEMA_VERSION = 1  # of a line, as in monitor.py
STEP = 1.02  # of latency bins, likewise
LARGEST_LINE_BYTES = 1 << 22
MOST_LOGS = 1000
_BINS = range(-1500, 1500)  # 1e-13 to 1e13 seconds

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(slots=True, kw_only=True)
class Observed:
    """What all lines say together; `earlier` lines began before `since_s` (seconds since 1970) and do not
    count. `inputs` and `outputs` have an array of counts for each channel, by name;
    `top` how often each class had the largest value.
    """

    since_s: float | None = None
    logs: int = 0
    other_logs: int = 0
    earlier: int = 0
    lines: int = 0
    torn: int = 0
    calls: int = 0
    looks: int = 0
    start_s: float = float("inf")
    end_s: float = float("-inf")
    longest_s: float = 0.0
    bins: Counter[int] = field(default_factory=Counter)
    cpu_models: set[str] = field(default_factory=set)
    runtime_versions: set[str] = field(default_factory=set)
    inputs: dict[str, list[Counts]] = field(default_factory=dict)
    outputs: dict[str, list[Counts]] = field(default_factory=dict)
    top: dict[str, Counts] = field(default_factory=dict)

    def latency_s(self, share: float) -> float | None:
        """The seconds that this share of the timed inferences took at most, ±1 %; None without any."""
        missing = share * self.bins.total()
        for place in sorted(self.bins):
            missing -= self.bins[place]
            if missing <= 0:
                return float(STEP ** (place + 0.5))
        return None


def read_logs(paths: Sequence[Path], manifest: Manifest, *, since_s: float | None = None) -> Observed:
    """The logs added up, as far as their lines began at `since_s` or later; a folder stands for the *.jsonl*
    files in it that are of this bundle's model. InputError when there is none, or a file that is given is
    not.
    """
    observed = Observed(since_s=since_s)
    for log in _files(paths):
        try:
            if log not in paths and _is_of_another(log, manifest):
                observed.other_logs += 1
                continue
            if log.stat().st_size > LARGEST_TEXT_BYTES:
                raise InputError(f"{log} has more than {LARGEST_TEXT_BYTES >> 20} MB, which no log has.")
            with log.open("rb") as file:
                _add_lines(observed, log, iter(lambda: file.readline(LARGEST_LINE_BYTES), b""), manifest)
        except OSError as error:
            raise InputError(
                f"The log {log} cannot be read ({error.strerror}): give a readable file."
            ) from error
        observed.logs += 1
    if not observed.calls and observed.earlier:
        raise InputError(
            f"All {observed.earlier} lines in {', '.join(map(str, paths))} began before --since: give an "
            "earlier time."
        )
    if not observed.calls:
        raise InputError(
            f"There is no inference in {', '.join(map(str, paths))}: let the monitor run for longer."
        )
    return observed


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files, each once. InputError for what is none."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"There is no log in {path}: give what `run.py --monitor LOG.jsonl` wrote.")
        for file in inside:
            if not file.is_file():
                what = "is no file" if file.exists() else "does not exist"
                raise InputError(f"The log {file} {what}: give what `run.py --monitor LOG.jsonl` wrote.")
        files += inside
    files = list({file.resolve(): file for file in files}.values())
    if len(files) > MOST_LOGS:
        raise InputError(f"{len(files)} logs are too many: give {MOST_LOGS} at most.")
    return files


def _is_of_another(log: Path, manifest: Manifest) -> bool:
    """Whether the first line of a log names another model."""
    with log.open("rb") as file:
        line = file.readline(LARGEST_LINE_BYTES)
    try:
        return Fields(parse(line.decode("utf-8"))).text("model") != manifest.model.sha256
    except (Unfit, UnicodeDecodeError):
        return False  # whoever reads the line says what is wrong with it


def _add_lines(observed: Observed, log: Path, lines: Iterator[bytes], manifest: Manifest) -> None:
    for number, line in enumerate(lines, 1):
        whole = line.rstrip(b"\n")
        if not whole:
            continue
        if not whole.startswith(b"{") or not whole.endswith(b"}"):
            if len(line) >= LARGEST_LINE_BYTES or not (whole.startswith(b"{") or number > 1):
                raise InputError(f"{log}, line {number} is no line of a monitor: give a log of run.py.")
            observed.torn += 1
            continue
        try:
            _add_line(observed, Fields(parse(whole.decode("utf-8"))), manifest)
        except (Unfit, UnicodeDecodeError) as error:
            raise InputError(f"{log}, line {number}: {error}: give a log of run.py.") from error


def _add_line(observed: Observed, fields: Fields, manifest: Manifest) -> None:
    """Adds a line, or counts it among the earlier ones. Unfit when it does not fit the manifest."""
    if observed.since_s is not None and fields.number("start") < observed.since_s:
        observed.earlier += 1
    else:
        _add(observed, fields, manifest)
        observed.lines += 1


def _add(observed: Observed, fields: Fields, manifest: Manifest) -> None:
    """Adds a line. Unfit when it does not fit the manifest."""
    fields.choice("schema_version", (SCHEMA_VERSION,))
    if fields.text("model") != manifest.model.sha256:
        raise Unfit("it is of another model than the bundle's")
    observed.cpu_models.add(fields.text("cpu_model"))
    fields.text("runtime")
    observed.runtime_versions |= {fields.maybe("runtime_version", fields.text) or "unknown"}
    observed.calls += fields.whole("calls", least=1)
    observed.looks += fields.whole("looks")
    observed.start_s = min(observed.start_s, fields.number("start"))
    observed.end_s = max(observed.end_s, fields.number("end"))
    if fields.has("latency_s"):
        _add_latency(observed, fields.object("latency_s"))
    statistics = manifest.statistics
    known = (
        statistics if isinstance(statistics, SampleStatistics) else SampleStatistics(inputs=(), outputs=())
    )
    _add_tensors(observed.inputs, fields.object("inputs"), known.inputs)
    _add_tensors(observed.outputs, fields.object("outputs"), known.outputs)
    top = fields.object("top")
    for tensor in known.outputs:
        if tensor.top is not None:
            counts = _counts(top.value(tensor.name), len(tensor.top), top.at(tensor.name))
            observed.top[tensor.name] = observed.top.get(tensor.name, 0) + counts
    top.record(lambda: None)
    fields.record(lambda: None)  # refuses a key that nothing asked for


def _add_latency(observed: Observed, fields: Fields) -> None:
    for key in ("p50", "p90", "p99"):
        fields.positive(key)
    observed.longest_s = max(observed.longest_s, fields.positive("max"))
    pairs: list[Any] = fields.value("bins")
    if not isinstance(pairs, list):
        raise Unfit("latency_s.bins must be a list")
    for pair in pairs:
        place, count = _counts(pair, 2, "latency_s.bins", least=_BINS.start).tolist()
        if place not in _BINS or count < 0:
            raise Unfit("latency_s.bins has a latency that no inference has")
        observed.bins[place] += count
    fields.record(lambda: None)


def _add_tensors(sums: dict[str, list[Counts]], fields: Fields, tensors: Sequence[TensorStatistics]) -> None:
    for tensor in tensors:
        rows: list[Any] = fields.value(tensor.name)
        if not isinstance(rows, list) or len(rows) != len(tensor.channels):
            raise Unfit(f"{fields.at(tensor.name)} has another number of channels than the manifest")
        counts = [
            _counts(row, len(channel.shares), fields.at(tensor.name))
            for row, channel in zip(rows, tensor.channels, strict=True)
        ]
        before = sums.get(tensor.name)
        sums[tensor.name] = counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
    fields.record(lambda: None)


def _counts(value: object, length: int, place: str, *, least: int = 0) -> Counts:
    """A list of so many whole numbers, none of them so large that sums would overflow."""
    good: Callable[[object], bool] = lambda one: type(one) is int and least <= one < 1 << 40  # noqa: E731
    if not isinstance(value, list) or len(value) != length or not all(map(good, value)):
        raise Unfit(f"{place} must be {length} whole numbers")
    return np.asarray(value, np.int64)
