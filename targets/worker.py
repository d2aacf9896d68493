"""The worker: one process beside the model. Standard library, numpy and onnxruntime only; nothing of the package.

It reads one JSON request per line on standard input, answers with one JSON line each, and dies when its input closes,
in the middle of a job too, so that a killed coordinator leaves no stray load behind. Whatever libraries print goes to
standard error. A reply is {"id", "ok": true, "result"} or {"id", "ok": false, "kind", "message"}; a bug is a traceback
on standard error and a dead worker.

Operations: probe (the environment), run (outputs of a model), optimized (the graph that the runtime really executes),
measure (a candidate beside its baseline: the protocol is described in docs/measuring.md), profile (seconds per kernel).

It does not know recipes, layers, profiles, or why it is asked.
"""

import contextlib
import ctypes
import gc
import json
import math
import os
import platform
import queue
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

# BLAS pools of numpy would only cost start-up time and address space here.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", ORT_DISABLE_TELEMETRY="1")

try:
    import numpy as np
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
except ImportError as missing:
    MISSING: str | None = str(missing)
    RUNTIME_ERRORS: tuple[type[Exception], ...] = ()
else:
    MISSING = None
    names = "EPFail Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NoSuchFile NotImplemented RuntimeException"
    RUNTIME_ERRORS = tuple(getattr(ort_state, name) for name in names.split())

Request = dict[str, Any]
Feeds = dict[str, Any]

# CPU features that decide which kernels run, on x86 and on ARM.
X86_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
FLAGS = (*X86_FLAGS, "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve")
DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
DISABLED = "optimization.disable_specified_optimizers"
INFERENCES_KEPT = 200  # single inference times that are kept of each pair, for percentiles
PROFILE_WARM_UP, PROFILE_LEAST, PROFILE_MOST = 5, 10, 500  # inferences under the profiler; it keeps a million events
KERNEL = "_kernel_time"  # how the profiler's events of computing end
SETTLED = 0.02  # relative difference of block medians below which warm-up is over


class RefusedError(Exception):
    """A request that cannot be answered; `kind` goes into the reply."""

    def __init__(self, message: str, *, kind: str):
        super().__init__(message)
        self.kind = kind


# --- sessions and inputs


def open_session(
    model: str, request: Request, *, optimized_path: str = "", also_disabled: str = "", profile_prefix: str = ""
) -> Any:
    """A session with exactly what the request says: threads, profile options, every optimization."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in request.get("runtime_options", {}).items():
        more = f";{also_disabled}" if also_disabled and key == DISABLED else ""
        options.add_session_config_entry(key, value + more)
    if optimized_path:
        options.optimized_model_filepath = optimized_path
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def require_batch(session: Any, batch: int, shapes: dict[str, list[int]]) -> None:
    """Refuses a batch size other than the one that the model fixes; an input in `shapes` is the caller's business."""
    for item in session.get_inputs():
        fixed = item.shape[0] if item.shape else None
        if isinstance(fixed, int) and fixed != batch and item.name not in shapes:
            raise RefusedError(
                f"The model's input {item.name!r} has the fixed batch size {fixed}, not {batch}: "
                f"ask for batch {fixed}, or export the model with a dynamic batch dimension.",
                kind="input",
            )


def random_feeds(session: Any, batch: int, shapes: dict[str, list[int]]) -> Feeds:
    """Seeded random arrays for every input: dynamic dimension 0 is the batch, others must be named in `shapes`."""
    rng, feeds = np.random.default_rng(0), {}
    for item in session.get_inputs():
        shape = shapes.get(item.name) or ([batch, *item.shape[1:]] if item.shape else [])
        if not all(isinstance(size, int) for size in shape):
            example = ",".join(str(size) if isinstance(size, int) else "32" for size in shape)
            raise RefusedError(
                f"The model's input {item.name!r} has the dynamic shape {item.shape}: "
                f"say its size with --shape {item.name}={example}",
                kind="input",
            )
        kind = item.type.removeprefix("tensor(").removesuffix(")")
        dtype = np.dtype(DTYPES.get(kind, kind))
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[item.name] = np.ascontiguousarray(values, dtype=dtype)
    return feeds


def stored_arrays(path: str) -> list[Any]:
    """The input arrays "0", "1" … of an .npz file, or of a folder of .npy files (mapped, not read)."""
    if Path(path).is_dir():
        found = sorted(Path(path).glob("*.npy"), key=lambda file: int(file.stem))
        return [np.load(file, mmap_mode="r", allow_pickle=False) for file in found]
    with np.load(path, allow_pickle=False) as archive:
        return [archive[key] for key in sorted(archive.files, key=int)]


def input_feeds(request: Request) -> list[Feeds]:
    """The inputs that the baseline and the model are timed with: stored samples if there are any, else random ones.

    Running both once here also pages in the runtime's code, before anything is measured.
    """
    batch, shapes = request["timing"]["batch"], request.get("shapes") or {}
    arrays = stored_arrays(request["inputs"]) if request.get("inputs") else None
    feeds = []
    for side in ("baseline", "model"):
        session = open_session(request[side], request)
        require_batch(session, batch, shapes)
        feeds.append(feeds_of(session, arrays, batch, shapes))
        session.run(None, feeds[-1])
    return feeds


def feeds_of(session: Any, arrays: list[Any] | None, batch: int, shapes: dict[str, list[int]]) -> Feeds:
    """One batch for every input: the first stored samples, or random ones where nothing is stored."""
    if arrays is None:
        return random_feeds(session, batch, shapes)
    named = zip(session.get_inputs(), arrays, strict=True)
    return {item.name: first_samples(array, batch) for item, array in named}


def first_samples(array: Any, batch: int) -> Any:
    """The first `batch` samples, repeated if there are fewer."""
    return np.ascontiguousarray(np.resize(array[:batch], (batch, *array.shape[1:])))


# --- operations


def probe(request: Request) -> dict[str, Any]:
    """The environment, in the fields of profiles.environment.Environment."""
    info = cpu_info()
    present = info.get("flags", info.get("Features", "")).split()
    governor = Path(f"/sys/devices/system/cpu/cpu{request['cores'][0]}/cpufreq/scaling_governor")
    clock = info.get("cpu MHz")
    return {
        "cpu_model": info.get("model name") or info.get("CPU part") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in present],
        "governor": governor.read_text().strip() if governor.is_file() else None,
        "threads": request["threads"],
        "cores": request["cores"],
        "runtime": "onnxruntime",
        "runtime_version": ort.__version__,
        "python_version": platform.python_version(),
        "os": platform.platform(),
        "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "clock_mhz": float(clock) if clock else None,
    }


def cpu_info() -> dict[str, str]:
    """The first value of every key in /proc/cpuinfo; empty where there is none."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    return found


def run(request: Request) -> dict[str, Any]:
    """Outputs of all stored samples, written as .npz with keys "0", "1" …; a fixed batch size is padded up to."""
    session = open_session(request["model"], request)
    arrays = stored_arrays(request["inputs"])
    inputs = session.get_inputs()
    if len(arrays) != len(inputs):
        raise RefusedError(f"The model has {len(inputs)} inputs, but {len(arrays)} arrays were given.", kind="wrong-output")
    fixed = inputs[0].shape[0] if inputs[0].shape and isinstance(inputs[0].shape[0], int) else None
    batch, total = fixed or request["batch"], len(arrays[0])
    collected = []
    for start in range(0, total, batch):
        rows = [np.ascontiguousarray(array[start : start + batch]) for array in arrays]
        count = len(rows[0])
        if fixed and count < fixed:
            rows = [np.resize(row, (fixed, *row.shape[1:])) for row in rows]
        outputs = session.run(None, {item.name: row for item, row in zip(inputs, rows, strict=True)})
        collected.append([output[:count] for output in outputs])
    joined = [np.concatenate(parts) for parts in zip(*collected, strict=True)]
    named: dict[str, Any] = {str(index): array for index, array in enumerate(joined)}
    np.savez(request["outputs"], **named)
    return {"samples": total}


def optimized(request: Request) -> dict[str, Any]:
    """Writes the optimized graph, but for the NCHWc layout of float32 convolutions: it would rename their weights."""
    open_session(request["model"], request, optimized_path=request["output"], also_disabled="NchwcTransformer")
    return {}


def profile(request: Request) -> dict[str, Any]:
    """Seconds per inference of each kernel, by the runtime's name for it, as its profiler sees them.

    The mean of the middle half of an inference's durations: the profiler counts whole microseconds, so that a median of
    short kernels would be rounded, and a mean would hold every interruption.
    """
    arrays = stored_arrays(request["inputs"]) if request.get("inputs") else None
    with tempfile.TemporaryDirectory(prefix="autocompress-profile-") as folder:
        session = open_session(request["model"], request, profile_prefix=str(Path(folder) / "profile"))
        feeds = feeds_of(session, arrays, request["batch"], request.get("shapes") or {})
        for _ in range(PROFILE_WARM_UP):
            session.run(None, feeds)
        runs, started = 0, time.perf_counter()
        while runs < PROFILE_LEAST or (runs < PROFILE_MOST and time.perf_counter() - started < request["profile_s"]):
            session.run(None, feeds)
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text())
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            durations.setdefault(event["name"].removesuffix(KERNEL), []).append(event["dur"])
    # A kernel inside a loop runs several times in an inference.
    return {
        "runs": runs,
        "kernels": {name: 1e-6 * middle_mean(times) * len(times) / (runs + PROFILE_WARM_UP) for name, times in durations.items()},
    }


def middle_mean(values: list[float]) -> float:
    """The mean without the lowest and the highest quarter."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def measure(request: Request) -> dict[str, Any]:
    """Block times of fresh session pairs, peak memory of the candidate, and the environment at the end."""
    timing, started = request["timing"], time.perf_counter()
    feeds = input_feeds(request)
    memory = peak_memory(request, feeds[1])
    pairs: list[dict[str, Any]] = []
    ratios: list[float] = []
    gc.collect()
    gc.disable()
    try:
        while not finished(ratios, timing, request["critical"], time.perf_counter() - started):
            pair = measure_pair(request, feeds, number=len(pairs))
            pairs.append(pair)
            times = zip(pair["baseline_s"], pair["candidate_s"], strict=True)
            ratios.append(statistics.median(candidate / baseline for baseline, candidate in times))
    finally:
        gc.enable()
    return {"pairs": pairs, "peak_memory_bytes": memory, "environment": probe(request)}


# --- the timing loop


def finished(ratios: list[float], timing: dict[str, Any], critical: list[float], elapsed: float) -> bool:
    """The stop rule: interval narrow enough, enough pairs, or time over (but never fewer than two pairs)."""
    count = len(ratios)
    if count < 2:
        return False
    if count >= timing["pairs_max"] or elapsed >= timing["max_s"]:
        return True
    if count < timing["pairs_min"]:
        return False
    spread = critical[count - 2] * statistics.stdev(ratios) / math.sqrt(count)
    return bool(spread / statistics.fmean(ratios) <= timing["half_width"])


def measure_pair(request: Request, feeds: list[Feeds], *, number: int) -> dict[str, Any]:
    """One fresh pair of sessions: ABBA blocks. Which side is opened and timed first alternates from pair to pair."""
    timing, models = request["timing"], (request["baseline"], request["model"])
    order = (0, 1) if number % 2 == 0 else (1, 0)
    opened = {side: Subject(models[side], request, feeds[side]) for side in order}
    subjects = [opened[0], opened[1]]
    started = time.perf_counter()
    warm_up(subjects, timing, full=number == 0)
    block_s = sum(max(timing["block_s"], subject.inference_s) for subject in subjects) / 2
    names = ("baseline_s", "candidate_s", "baseline_wall_s", "candidate_wall_s")
    times: dict[str, list[float]] = {name: [] for name in names}
    single: list[float] = []
    for _ in range(max(1, round(timing["pair_s"] / (4 * block_s)))):
        for side in [*order, *reversed(order)]:
            own, wall, stamps = subjects[side].block()
            times[names[side]].append(own)
            times[names[side + 2]].append(wall)
            if side == 1:
                single.extend(stamps)
    chosen = np.random.default_rng(number).permutation(len(single))[:INFERENCES_KEPT]
    return {**times, "inference_wall_s": [single[index] for index in chosen], "loop_s": time.perf_counter() - started}


class Subject:
    """A session with bound inputs, ready to be timed. `inference_s` is its last known time of one inference."""

    def __init__(self, model: str, request: Request, feeds: Feeds):
        self.session = open_session(model, request)
        self.binding = self.session.io_binding()
        for name, array in feeds.items():
            self.binding.bind_cpu_input(name, array)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)
        self.block_s: float = request["timing"]["block_s"]
        self.clock = time.thread_time if request["timer"] == "thread-cpu" else time.perf_counter
        self.inference_s = self.block_s
        self.run_once()  # the first inference allocates
        self.inference_s = min(self.run_once(), self.run_once())

    def run_once(self) -> float:
        """Wall-clock seconds of one inference."""
        start = time.perf_counter()
        self.session.run_with_iobinding(self.binding)
        return time.perf_counter() - start

    def block(self) -> tuple[float, float, list[float]]:
        """Seconds per inference of one block (timer, wall-clock) and the wall-clock seconds of each inference."""
        count = max(1, round(self.block_s / self.inference_s))
        run_model, binding, now, stamps = (
            self.session.run_with_iobinding,
            self.binding,
            time.perf_counter,
            [0.0] * count,
        )
        self.refill()
        wall, own = now(), self.clock()
        for index in range(count):
            run_model(binding)
            stamps[index] = now()
        own = self.clock() - own
        return own / count, (stamps[-1] - wall) / count, np.diff([wall, *stamps]).tolist()

    def refill(self) -> None:
        """Untimed inferences after a switch of sides: caches fill, the other side's threads go to sleep."""
        spent = self.run_once()
        while spent < 0.05 * self.block_s:
            spent += self.run_once()


def warm_up(subjects: list[Subject], timing: dict[str, Any], *, full: bool) -> None:
    """Runs both sides in turn; `full`: for `warmup_s` each and until the block medians of both settle."""
    histories: list[list[float]] = [[], []]
    spent, least = [0.0, 0.0], timing["warmup_s"] if full else 0.0
    while True:
        for side, subject in enumerate(subjects):
            start = time.perf_counter()
            histories[side].append(subject.block()[0])
            spent[side] += time.perf_counter() - start
            subject.inference_s = statistics.median(histories[side][-3:])
        if min(spent) >= least and (not full or all(map(settled, histories))):
            return
        if min(spent) >= 5 * max(least, timing["block_s"]):
            return


def settled(history: list[float]) -> bool:
    """Whether the median of the last three blocks equals that of the three before, within `SETTLED`."""
    if len(history) < 6:
        return False
    before, after = statistics.median(history[-6:-3]), statistics.median(history[-3:])
    return abs(after / before - 1) <= SETTLED


# --- memory


def peak_memory(request: Request, feeds: Feeds) -> int | None:
    """Bytes that loading and running the candidate adds to resident memory at its peak; None if the system hides it.

    The runtime's own code is in memory already: `input_feeds` has run the candidate before.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # freed heap would otherwise hide what the model needs
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None  # without it, the peak could be that of earlier work
    before = status_bytes("VmRSS")
    open_session(request["model"], request).run(None, feeds)
    return max(0, status_bytes("VmHWM") - before)


def status_bytes(key: str) -> int:
    """A size in bytes out of /proc/self/status, 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def limit_memory(limit_bytes: int) -> None:
    """Lets the address space grow by `limit_bytes` from here, and no further."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status_bytes("VmSize") + limit_bytes, hard))


# --- the conversation

OPERATIONS = {"probe": probe, "run": run, "optimized": optimized, "measure": measure, "profile": profile}


def answer(request: Request) -> dict[str, Any]:
    """The reply to one request."""
    try:
        if MISSING:
            raise RefusedError(f"The worker's Python {sys.executable} lacks a module ({MISSING}).", kind="unavailable")
        return {"ok": True, "result": OPERATIONS[request["op"]](request)}
    except RefusedError as refusal:
        return {"ok": False, "kind": refusal.kind, "message": str(refusal)}
    except MemoryError as error:
        return {"ok": False, "kind": "memory", "message": f"Not enough memory: {error}"}
    except RUNTIME_ERRORS as error:
        short = any(word in str(error) for word in ("bad_alloc", "Failed to allocate", "bad allocation"))
        return {"ok": False, "kind": "memory" if short else "error", "message": str(error)}


def read_requests(requests: "queue.SimpleQueue[str]") -> None:
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
    if config.get("memory_limit_bytes"):
        limit_memory(config["memory_limit_bytes"])
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    while True:
        request = {**config, **json.loads(requests.get())}
        replies.write(json.dumps({"id": request["id"], **answer(request)}) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
