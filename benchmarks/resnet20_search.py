"""The 20-minute ResNet-20 search against its targets. Takes the budget and about a minute more.

    python benchmarks/resnet20_search.py [--data ../shared/data] [--budget 20m] [--run runs/NAME]

With `--run` it reads a finished run instead. Prints the best points within 1 point of the original, by the
final measurements and on the test split, and the normalized hypervolume of the search against uniform int8
alone (design section 5: drop clipped at 5 points, size and latency divided by the float32 original's,
reference point (5 pp, 1, 1)).
"""

import argparse
import subprocess
import sys
from pathlib import Path

from autocompress.results.front import hypervolume
from autocompress.results.records.latency import Latency
from autocompress.results.records.run import Run
from autocompress.results.run_directory import read_run
from autocompress.results.view import PointOn, RunOn

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Searches if asked to, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    path = arguments.run or search(arguments.data, arguments.budget)
    report(read_run(path))


def search(data: Path, budget: str) -> Path:
    """Runs the command of the README; returns the run directory."""
    out = ROOT / "runs" / "benchmark-resnet20"
    task = f"{ROOT / 'examples' / 'cifar10.py'}:resnet20"
    options = ["--task-arg", f"data={data}", "--budget", budget, "--max-drop", "1pp", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "autocompress", "search", task, *options], check=True)
    return out


def report(run: Run) -> None:
    """Prints what the issue asks for."""
    view = RunOn.of(run, run.target_names[0])
    minutes = run.elapsed_s / 60
    print(f"{len(run.points)} candidates in {minutes:.1f} minutes; original {describe(view.baseline)}")
    print("front:")
    for point in view.front:
        print(f"  {describe(point)}")
    within = [point for point in view.front if point.drop <= 0.01 and point.trial != 0]
    fastest = min(within, key=lambda point: point.latency.ratio)
    smallest = min(within, key=lambda point: point.size_ratio)
    print(f"fastest within 1 pp (target ≤ 0.53):  {describe(fastest)}")
    print(f"smallest within 1 pp (target ≤ 0.27): {describe(smallest)}")
    uniform = run.uniform_int8
    assert uniform is not None
    print(f"uniform int8:                         {describe(view.on(uniform))}")
    alone = hypervolume([run.vector(uniform)])
    print(f"normalized hypervolume: search {run.hypervolume:.3f}, uniform int8 alone {alone:.3f}")


def describe(point: PointOn) -> str:
    """One line: trial, quality on validation and test, latency ratio with its interval, size ratio."""
    latency, quality = point.latency, point.quality
    assert isinstance(latency, Latency)
    low, high = latency.ratio_interval
    tested = "not scored" if quality.test is None else f"{100 * quality.test:.2f} %"
    return (
        f"trial {point.trial}: validation {100 * quality.validation:.2f} %, test {tested}, "
        f"latency {latency.ratio:.3f} ({low:.3f}..{high:.3f}), size {point.size_ratio:.3f}"
    )


if __name__ == "__main__":
    main()
