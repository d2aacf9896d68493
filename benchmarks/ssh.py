"""What a measurement over SSH costs beyond the worker's own work: an artifact's first one (1 MB is sent), and
a repeated one.

    python benchmarks/ssh.py [--target T@user@host] [--repetitions 10] [--pause 2] [--json]

Without --target, a real SSH server on loopback. A measurement is what a candidate takes: lock, worker,
request, end of the worker; the pause before it is what a search spends on the next candidate, meanwhile the
board gets a worker ready. Medians in milliseconds. `transport`: all but the worker's own time, targets ≤ 300
ms (first) and ≤ 20 ms (repeated). `beyond the loop`: all but the timing loop, so with loading models and
warm-up, beside the same here, where each measurement starts an interpreter. Exit code 1 if a target is
missed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from autocompress.profiles import TimingConfig, load_profile, parse_target
from autocompress.targets.ssh.transport import SshTransport
from autocompress.targets.target import Target
from autocompress.tests.sshd import Sshd
from onnx import TensorProto, helper, numpy_helper

SHORT = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.05, block_s=0.005, warmup_s=0.02, half_width=1.0)
WIDTH = 512  # a matrix of 1 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Medians of one situation in milliseconds; `transport` is None for a worker here."""

    situation: str
    transport_ms: float | None
    beyond_loop_ms: float
    target_ms: float | None

    @property
    def good(self) -> bool:
        """Whether the target is met, if there is one."""
        return self.target_ms is None or self.transport_ms is None or self.transport_ms <= self.target_ms


def main() -> int:
    """Prints the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", help="a board; a server on loopback if not given")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between measurements")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, target_of(given.target) as board:
        models = [matrix(Path(folder) / f"{seed}.onnx", seed) for seed in range(given.repetitions + 1)]
        here = Target(replace(board.profile, python="python3"))
        results = []
        for target, place in ((board, "over SSH"), (here, "here")):
            take(target, models[0], models[0])  # connects, and brings the worker there
            firsts = [take(target, model, models[0], pause_s=given.pause) for model in models[1:]]
            again = [
                take(target, models[1], models[0], pause_s=given.pause) for _ in range(given.repetitions)
            ]
            results += [figures(f"first, {place}", firsts, 300.0), figures(f"repeated, {place}", again, 20.0)]
    report(results, as_json=given.json)
    return 0 if all(item.good for item in results) else 1


@contextmanager
def target_of(text: str | None) -> Iterator[Target]:
    """The board that is named, or one on loopback."""
    if text is not None:
        address = parse_target(text)
        target = Target(load_profile(address.profile), address=address)
        yield target
        target.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        server = Sshd(Path(folder))
        target = Target(load_profile("cpu"), board=server.board())
        yield target
        target.close()
        server.stop()


def take(target: Target, model: Path, baseline: Path, *, pause_s: float = 0.0) -> tuple[float | None, float]:
    """Seconds of one measurement: without the worker's own time (None: not known), without the timing loop."""
    time.sleep(pause_s)
    start = time.perf_counter()
    with target.measuring(), target.open_worker() as worker:
        seen = target.measure_once(worker, model, baseline, timing=SHORT, digests=("model", "baseline"))
    took = time.perf_counter() - start
    return (took - worker.last_worker_s if isinstance(worker, SshTransport) else None), took - seen.loop_s


def figures(situation: str, taken: list[tuple[float | None, float]], target_ms: float) -> Figures:
    """Medians of several measurements."""
    transport = [1e3 * item for item, _ in taken if item is not None]
    return Figures(
        situation=situation,
        transport_ms=statistics.median(transport) if transport else None,
        beyond_loop_ms=1e3 * statistics.median(item for _, item in taken),
        target_ms=target_ms if transport else None,
    )


def matrix(path: Path, seed: int) -> Path:
    """A product with a matrix of 1 MB."""
    weight = np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def report(results: list[Figures], *, as_json: bool) -> None:
    """Prints a table, or JSON."""
    if as_json:
        print(json.dumps([{**asdict(result), "good": result.good} for result in results]))
        return
    print(f"{'median ms':<20}{'transport':>10}{'beyond the loop':>17}")
    for result in results:
        transport = "" if result.transport_ms is None else f"{result.transport_ms:.1f}"
        verdict = (
            ""
            if result.target_ms is None
            else f"  target ≤ {result.target_ms:.0f}: {'met' if result.good else 'MISSED'}"
        )
        print(f"{result.situation:<20}{transport:>10}{result.beyond_loop_ms:>17.1f}{verdict}")


if __name__ == "__main__":
    sys.exit(main())
