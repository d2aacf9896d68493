"""What a search reaches on networks that people ship: hypervolume, smallest and fastest point within 1 pp.

    python benchmarks/nets.py dscnn mobilenet stories resnet20 --minutes 20 --seed 0 --core 0 [--no-recovery]
        [--max-drop 1pp]
    python benchmarks/nets.py dscnn mobilenet --minutes 20 --seed 0 --core 0 --runtimes all
    python benchmarks/nets.py --run RUN [RUN ...]

Each network of ../shared/data is searched for so many minutes on one core with a cache of its own, so that
tables and database are paid for; with `--run` finished runs are read instead. A row has the normalized
hypervolume (design section 5), the smallest and the fastest point of the front that lose at most 1 pp on
validation, and uniform int8. Sizes and latencies are ratios to the float32 original in the same runtime,
timed in turns. With `--runtimes` a point is in the runtime where it is best, latencies are ratios to the
float32 original in ONNX Runtime; the hypervolume counts from the original in its fastest runtime, and a line
below has the one that counts from it in ONNX Runtime. Only ratios within one run compare: hosts and
neighbours differ. Without `--max-drop` the searches aim at the
hypervolume, in which drops of up to 5 pp count.

Takes the minutes for each network and about one more. Searches do not wait for others on the machine:
beside load let only runs that shared it compare.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autocompress.results.front import hypervolume
from autocompress.results.placed import originals_note, place_of, ratio_to_onnxruntime
from autocompress.results.records.point import Point
from autocompress.results.records.run import Run
from autocompress.results.run_directory import read_run

ROOT = Path(__file__).resolve().parent.parent
TASKS = {
    "dscnn": "benchmarks/edge_nets.py:keywords",
    "mobilenet": "benchmarks/edge_nets.py:mobilenet",
    "stories": "benchmarks/edge_nets.py:stories",
    "resnet20": "examples/cifar10.py:resnet20",
    "resnet56": "examples/cifar10.py:resnet56",
    "resnet8": "examples/cifar10.py:resnet8",
}
WITHIN = 0.01  # of the metric


def main() -> None:
    """Searches, or reads runs, and prints a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(TASKS))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--core", type=int, required="--run" not in sys.argv)
    parser.add_argument("--no-recovery", action="store_true")
    parser.add_argument("--runtimes", help="runtimes of the CPU, or all")
    parser.add_argument("--max-drop", metavar="DROP", help="a limit that steers the searches")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="the folder of the runs")
    parser.add_argument("--run", type=Path, nargs="+", default=[])
    arguments = parser.parse_args()
    unknown = set(arguments.networks) - TASKS.keys()
    if unknown:
        parser.error(f"there is no network {', '.join(sorted(unknown))}: choose from {', '.join(TASKS)}")
    print(HEADER, flush=True)
    for path in arguments.run:
        print(row(path.name, read_run(path)))
    for network in arguments.networks:
        print(row(network, read_run(searched(network, arguments))), flush=True)


def searched(network: str, arguments: argparse.Namespace) -> Path:
    """The folder of a new run on one core."""
    out = arguments.out / f"nets-{network}-{arguments.minutes:g}m-{arguments.seed}"
    file, function = TASKS[network].split(":")
    options = [f"{ROOT / file}:{function}", "--task-arg", f"data={arguments.data}", "--fresh", "--quiet"]
    options += ["--budget", f"{60 * arguments.minutes:g}s", "--seed", str(arguments.seed), "--out", str(out)]
    options += ["--runtimes", arguments.runtimes] if arguments.runtimes else []
    options += ["--no-recovery"] if arguments.no_recovery else []
    options += ["--max-drop", arguments.max_drop] if arguments.max_drop else []
    with tempfile.TemporaryDirectory(prefix="nets-") as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache, "AUTOCOMPRESS_LOCKS": cache}
        environment["OMP_NUM_THREADS"] = "1"
        command = ["taskset", "-c", str(arguments.core), sys.executable, "-m", "autocompress", "search"]
        subprocess.run([*command, *options], env=environment, stdout=subprocess.DEVNULL, check=False)
    return out


HEADER = f"{'network':12} {'volume':>6} {'points':>6}  {'smallest within 1 pp':26} {'fastest within 1 pp':26} uniform int8"


def row(name: str, run: Run) -> str:
    """The figures of a run; `-` where no point of the front is within 1 pp."""
    if run.device is None:
        run = run.only(run.target_names[0])
    within = [point for point in run.front if run.worst_drop(point).drop <= WITHIN and point.trial != 0]
    uniform = run.uniform_int8
    cells = (
        described(run, sorted(within, key=lambda point: run.vector(point)[1])[:1]),
        described(run, sorted(within, key=lambda point: run.vector(point)[2])[:1]),
        described(run, [] if uniform is None else [uniform]),
    )
    lines = [f"{name:12} {run.hypervolume:6.3f} {len(run.points):6}  {cells[0]:26} {cells[1]:26} {cells[2]}"]
    if run.device:
        lines.append(f"{'':12} {volume_to_onnxruntime(run):6.3f} to ONNX Runtime. {originals_note(run)}")
    return "\n".join(lines)


def volume_to_onnxruntime(run: Run) -> float:
    """The normalized hypervolume of placements whose latencies count from the original in ONNX Runtime."""
    vectors = []
    for point in filter(run.complete, run.placements):
        drop, size, _ = run.vector(point)
        ratio = ratio_to_onnxruntime(run, point)
        if ratio is not None:
            vectors.append((drop, size, ratio))
    return hypervolume(vectors)


def described(run: Run, points: Sequence[Point]) -> str:
    """Size, latency and drop of the one point, or `-`."""
    if not points:
        return "-"
    (point,) = points
    _, size, latency = run.vector(point)
    there, where = ratio_to_onnxruntime(run, point), f", {place_of(run, point)}" if run.device else ""
    ratio = latency if there is None else there
    return f"{size:.3f}, {ratio:.2f} ×, {100 * run.worst_drop(point).drop:+.2f} pp{where}"


if __name__ == "__main__":
    main()
