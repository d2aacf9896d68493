"""The worker: one process beside the model.

It reads one JSON request per line on standard input, answers with one JSON line each, and dies when its input
closes, in the middle of a job too, so that a killed coordinator leaves no stray load behind. Whatever
libraries print goes to standard error. A reply is {"id", "ok": true, "result"} or {"id", "ok": false, "kind",
"message"}; a bug is a traceback on standard error and a dead worker.

Operations: probe (the environment), run (outputs of a model), optimized (what the runtime really executes),
measure (a candidate beside its baseline: the protocol is described in docs/measuring.md), profile (seconds
per kernel), energy (which sensor counts it), condition (temperatures, clocks, throttling: board/state.py),
set_clocks and restore_clocks (board/clocks.py).
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Iterator

# BLAS pools of numpy would only cost start-up time and address space here.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", ORT_DISABLE_TELEMETRY="1")

from .board.clocks import condition, restore_clocks, restore_left_behind, set_clocks
from .board.throttling import Watch
from .energy import Meter, block_seconds, energy, find_meter, idle_watts
from .load import Load
from .machine import is_emulated, machine_facts
from .memory import limit_memory, peak_memory
from .runtime import DeviceRuntime, Feeds, RefusedError, Request, Runtime, Session
from .runtimes.listed import lacking, load_runtime

try:
    import numpy as np

    from .inputs import Picked, feeds_of, require_batch, sizes_of, stored_arrays, stored_groups
    from .timing import Pair, Timing, WeightedFeeds, finished, measure_pair, of_side
except ImportError as missing:
    MISSING: str | None = str(missing)
else:
    MISSING = None

# --- operations


def probe(runtime: Runtime, request: Request) -> dict[str, Any]:
    """The environment, in the fields of profiles.environment.Environment."""
    library = {"runtime": request["runtime"], "runtime_version": runtime.version()}
    return {**machine_facts(request), **library, **runtime.facts(request)}


def run(runtime: Runtime, request: Request) -> dict[str, Any]:
    """Outputs of stored samples, written as .npz with keys "0", "1" …; a fixed batch size is padded up to.
    An output whose shape differs from batch to batch has the keys "0_0", "0_1" …, one for each batch.

    `pick` asks for a part of the samples (see Picked). The first `start` of what is asked for are left out.
    Once there are `most_bytes` of outputs, or `most_s` are over, `next` says where to go on; otherwise it is
    None. What is left of a file of several parts is asked of the same session.
    """
    session, ends = kept_session(runtime, request), time.monotonic() + request.get("most_s", 1e9)
    collected: list[list[Any]] = []
    start, samples, written, more = request.get("start", 0), 0, 0, False
    for arrays in asked_samples(request, start, session):
        if collected and (written >= request.get("most_bytes", 1 << 62) or time.monotonic() > ends):
            more = True
            break
        collected.append(outputs_of(session, arrays))
        samples += len(arrays[0])
        written += sum(output.nbytes for output in collected[-1])
    np.savez(request["outputs"], **named_outputs(collected))
    return {"samples": samples, "next": start + samples if more else None}


def kept_session(runtime: Runtime, request: Request) -> Session:
    """The session of the last request, if that was to run the same model."""
    key = request["model"], bool(request.get("exact")), request["batch"]
    if key not in KEPT:
        KEPT.clear()
        KEPT[key] = runtime.open_session(request["model"], request)
    return KEPT[key]


def named_outputs(collected: list[list[Any]]) -> dict[str, Any]:
    """The outputs of all batches by their keys."""
    named: dict[str, Any] = {}
    for index, parts in enumerate(zip(*collected)):
        if len({part.shape[1:] for part in parts}) == 1:
            named[str(index)] = np.concatenate(parts)
        else:
            named.update({f"{index}_{number}": part for number, part in enumerate(parts)})
    return named


def asked_samples(request: Request, start: int, session: Session) -> Iterator[list[Any]]:
    """The samples that are asked for but the first `start`, in batches of one shape each."""
    pick = request.get("pick")
    picked = None if pick is None else Picked(pick["low"], pick["high"], first=pick["first"])
    batch, number = fixed_batch(session) or request["batch"], 0
    for arrays in stored_groups(request["inputs"]):
        count = len(arrays[0])
        rows = np.arange(count) if picked is None else picked.rows(number, count)
        number += count
        rows, start = rows[start:], max(0, start - len(rows))
        for first in range(0, len(rows), batch):
            chosen = rows[first : first + batch]
            whole = slice(chosen[0], chosen[-1] + 1)
            yield [array[whole if picked is None else chosen] for array in arrays]


def fixed_batch(session: Session) -> int | None:
    """The only batch size that the model takes; None where it takes any."""
    shape = session.inputs[0].shape if session.inputs else ()
    return shape[0] if shape and isinstance(shape[0], int) else None


def outputs_of(session: Session, arrays: list[Any]) -> list[Any]:
    """The outputs of a batch."""
    inputs, fixed, count = session.inputs, fixed_batch(session), len(arrays[0])
    if len(arrays) != len(inputs):
        raise RefusedError(
            f"The model has {len(inputs)} inputs, but {len(arrays)} arrays were given.", kind="wrong-output"
        )
    rows = [np.ascontiguousarray(array) for array in arrays]
    if fixed and count < fixed:
        rows = [np.resize(row, (fixed, *row.shape[1:])) for row in rows]
    outputs = session.run({declared.name: row for declared, row in zip(inputs, rows)})
    return [output[:count] for output in outputs]


def optimized(runtime: Runtime, request: Request) -> dict[str, Any]:
    """What the runtime made of the model; see Runtime."""
    return runtime.optimized(request)


def profile(runtime: Runtime, request: Request) -> dict[str, Any]:
    """Seconds per inference of each kernel; see Runtime."""
    return runtime.profile(request, stored_arrays(request.get("inputs")))


def measure(runtime: Runtime, request: Request) -> dict[str, Any]:
    """Block times of fresh session pairs, peak memory of the candidate, and the environment at the end.

    Pairs during which the device throttled are repeated while there is time. RefusedError of the kind noisy
    if that leaves fewer than two. Where a sensor counts energy, joules are measured beside the times.
    """
    meter = find_meter(request.get("root", "/"))
    if meter is not None and meter.inline:
        longer = block_seconds(meter, request["timing"]["block_s"])
        request = {**request, "timing": {**request["timing"], "block_s": longer}}
    timing, device = Timing.of(request), runtime if isinstance(runtime, DeviceRuntime) else None
    if device is not None:
        device.prepare(request)
    started = time.perf_counter()
    feeds = input_feeds(runtime, request)
    if device is None:
        memory = peak_memory(runtime, of_side(request, "model"), largest(feeds[1]))
    else:
        memory = device.peak_memory(request, feeds[1][0][1])
    pairs: list[Pair] = []
    ratios: list[float] = []
    frozen_s = 0.0
    idle_w = None if meter is None else idle_watts(meter)
    watch, load = Watch(request.get("root", "/")), Load(request.get("root", "/"))
    gc.collect()
    gc.disable()
    try:
        while not finished(ratios, timing, time.perf_counter() - started - frozen_s):
            pair = measure_pair(runtime, request, feeds, number=len(pairs), meter=meter)
            frozen_s += pair.pop("frozen_s")
            if watch.throttled():
                watch.rest(timing.max_s - (time.perf_counter() - started - frozen_s), pairs=len(pairs))
                continue
            pairs.append(pair)
            times = zip(pair["baseline_s"], pair["candidate_s"])
            ratios.append(statistics.median(candidate / baseline for baseline, candidate in times))
    finally:
        gc.enable()
    return {
        "pairs": pairs,
        "peak_memory_bytes": memory,
        "environment": probe(runtime, request),
        "conditions": {**watch.conditions(), **load.conditions(), **counted(pairs, meter, idle_w)},
        "details": {} if device is None else device.details(request, feeds[1][0][1]),
    }


def counted(pairs: list[Pair], meter: Meter, idle_w: float | None) -> dict[str, Any]:
    """What the conditions say of energy. A counter that stood still during a pair counts nothing: its blocks
    are taken out of all pairs.
    """
    if meter is None or idle_w is None:
        return {}
    sensor = f"{meter.kind}: {', '.join(meter.parts)}"
    still = any(sum(pair.get(side, [1])) <= 0 for pair in pairs for side in ("baseline_j", "candidate_j"))
    if not still:
        return {"energy_sensor": sensor, "idle_w": round(idle_w, 3)}
    for pair in pairs:
        del pair["baseline_j"], pair["candidate_j"]
    return {"energy_missing": f"{sensor} stood still"}


def input_feeds(runtime: Runtime, request: Request) -> list[WeightedFeeds]:
    """The inputs that the baseline and the model are timed with, for each size that is asked for.

    Running both once here also pages in the runtime's code, before anything is measured.
    """
    batch, shapes = request["timing"]["batch"], request.get("shapes") or {}
    arrays = stored_arrays(request.get("inputs"))
    feeds = []
    for side in ("baseline", "model"):
        session = runtime.open_session(request[side], of_side(request, side))
        require_batch(session.inputs, batch, shapes)
        sized = []
        for weight, size in sizes_of(request):
            sized.append((weight, feeds_of(session.inputs, arrays, batch, shapes, size)))
            session.run(sized[-1][1])
        feeds.append(sized)
    return feeds


def largest(feeds: WeightedFeeds) -> Feeds:
    """Those with most bytes."""
    return max((one for _, one in feeds), key=lambda one: sum(array.nbytes for array in one.values()))


# --- the conversation

OPERATIONS = {
    **{"probe": probe, "run": run, "optimized": optimized, "measure": measure, "profile": profile},
    **{"energy": energy, "set_clocks": set_clocks, "restore_clocks": restore_clocks, "condition": condition},
}
KEPT: dict[tuple[str, bool, int], Session] = {}  # at most one
# The first line of a worker that is asked to announce itself (`announce` in its configuration).
READY = '{"ready": true}'
FULL, LEAST_BYTES = (errno.ENOSPC, errno.EDQUOT), 1 << 14
SHORT = ("bad_alloc", "Failed to allocate", "bad allocation", "out of memory", "OutOfMemory")


def answer(request: Request) -> dict[str, Any]:
    """The reply to one request."""
    errors: Any = ()
    try:
        if MISSING:
            raise lacking(request["runtime"], MISSING)
        runtime = load_runtime(request["runtime"])
        errors = runtime.ERRORS
        if request["op"] != "run":
            KEPT.clear()  # it must not stand beside what is measured
        return {"ok": True, "result": OPERATIONS[request["op"]](runtime, request)}
    except RefusedError as refusal:
        return {"ok": False, "kind": refusal.kind, "message": str(refusal)}
    except MemoryError as error:
        return {"ok": False, "kind": "memory", "message": f"Not enough memory: {error}"}
    except OSError as error:
        if error.errno not in FULL:
            raise
        return {"ok": False, "kind": "full", "message": error.filename or place_of(request)}
    except errors as error:
        if is_full(place_of(request)):  # a runtime says no more than that it could not write
            return {"ok": False, "kind": "full", "message": place_of(request)}
        short = any(word in str(error) for word in SHORT)
        return {"ok": False, "kind": "memory" if short else "error", "message": str(error)}


def place_of(request: Request) -> str:
    """The folder that an operation writes to."""
    written = request.get("output") or request.get("outputs")
    return str(Path(written).parent) if written else tempfile.gettempdir()


def is_full(folder: str) -> bool:
    """Whether no file fits into a folder."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < LEAST_BYTES


def read_requests(requests: queue.SimpleQueue[str]) -> None:
    """Queues the lines of standard input, and ends the process at once when it closes."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def main() -> None:
    """Answers requests until standard input closes. The first argument is the configuration as JSON."""
    config = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up between replies
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, config["cores"])
    restore_left_behind(config)
    with contextlib.suppress(RefusedError, KeyError):
        # before the first request, and outside of the memory that models may add
        load_runtime(config["runtime"])
    if config.get("memory_limit_bytes"):
        limit_memory(config["memory_limit_bytes"])
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    config["emulated"] = is_emulated()  # forks: before there are threads
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    if config.get("announce"):
        replies.write(READY + "\n")
        replies.flush()
    while True:
        request = {**config, **json.loads(requests.get())}
        replies.write(json.dumps({"id": request["id"], **answer(request)}) + "\n")
        replies.flush()
