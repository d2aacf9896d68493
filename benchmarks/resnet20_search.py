"""The 20-minute ResNet-20 search against its targets. Takes the budget and about a minute more.

    python benchmarks/resnet20_search.py [--data ../shared/data] [--budget 20m] [--run runs/NAME]

With `--run` it reads a finished run instead. Prints the best points within 1 point of the original, by the
final measurements and on the test split, and the normalized hypervolume of the search against uniform int8
alone (design section 5: drop clipped at 5 points, size and latency divided by the float32 original's,
reference point (5 pp, 1, 1)).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from autocompress.results.front import drop_scale, hypervolume

ROOT = Path(__file__).resolve().parent.parent
Vector = tuple[float, float, float]


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
    report(json.loads((path / "front.json").read_text()))


def search(data: Path, budget: str) -> Path:
    """Runs the command of the README; returns the run directory."""
    out = ROOT / "runs" / "benchmark-resnet20"
    task = f"{ROOT / 'examples' / 'cifar10.py'}:resnet20"
    options = ["--task-arg", f"data={data}", "--budget", budget, "--max-drop", "1pp", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "autocompress", "search", task, *options], check=True)
    return out


def report(run: dict[str, Any]) -> None:
    """Prints what the issue asks for."""
    base, uniform = run["baseline"], run["uniform_int8"]
    every = [uniform, *run["front"], *run["dominated"]]
    print(f"{run['trials']} in {run['elapsed_s'] / 60:.1f} minutes; original {describe(base, base)}")
    print("front:")
    for point in run["front"]:
        print(f"  {describe(point, base)}")
    within = [p for p in run["front"] if p["drop"] <= 0.01 and p["trial"] != 0]
    fastest, smallest = (
        min(within, key=lambda p: p["latency"]["ratio"]),
        min(within, key=lambda p: size_ratio(p, base)),
    )
    print(f"fastest within 1 pp (target ≤ 0.53):  {describe(fastest, base)}")
    print(f"smallest within 1 pp (target ≤ 0.27): {describe(smallest, base)}")
    print(f"uniform int8:                         {describe(uniform, base)}")
    whole, alone = (hypervolume(vector(p, base) for p in points) for points in (every, [uniform]))
    print(f"normalized hypervolume: search {whole:.3f}, uniform int8 alone {alone:.3f} (target: above it)")


def size_ratio(point: dict[str, Any], base: dict[str, Any]) -> float:
    """File size over the original's."""
    return float(point["artifact"]["size_bytes"] / base["artifact"]["size_bytes"])


def vector(point: dict[str, Any], base: dict[str, Any]) -> Vector:
    """Normalized drop on validation, size ratio, latency ratio."""
    scale = drop_scale("fraction", base["quality"]["validation"])
    return point["drop"] / scale, size_ratio(point, base), point["latency"]["ratio"]


def describe(point: dict[str, Any], base: dict[str, Any]) -> str:
    """One line: trial, quality on validation and test, latency ratio with its interval, size ratio."""
    low, high = point["latency"]["ratio_interval"]
    test = point["quality"]["test"]
    tested = "not scored" if test is None else f"{100 * test:.2f} %"
    return (
        f"trial {point['trial']}: validation {100 * point['quality']['validation']:.2f} %, test {tested}, latency "
        f"{point['latency']['ratio']:.3f} ({low:.3f}..{high:.3f}), size {size_ratio(point, base):.3f}"
    )


if __name__ == "__main__":
    main()
