"""ResNet-20 in float32 and int8 in OpenVINO and in ONNX Runtime, as ratios to float32 in ONNX Runtime, one
thread, batch 1.

    python benchmarks/openvino.py [--data ../shared/data] [--rounds 6] [--json]

A worker process holds one runtime, so the two cannot share an ABBA pair: a round measures each file in turn,
forth and back (ABCDDCBA), each with a fresh session pair of the file beside itself in a fresh process, all of
it under one lease. A ratio is that of a round's means; the interval is over rounds.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from autocompress.compress import Compressor, Network, Recipe
from autocompress.files import digest_of_file
from autocompress.profiles import SEARCH_TIMING, load_profile
from autocompress.profiles.measurement import critical_value
from autocompress.targets.lease import measuring
from autocompress.targets.target import Target
from autocompress.tasks.load import load_task

ROOT = Path(__file__).resolve().parent.parent
TIMING = replace(SEARCH_TIMING, pairs_min=2, pairs_max=2, pair_s=0.2, warmup_s=0.1, max_s=5.0)
AIMS = {("cpu", "int8"): 0.55, ("cpu-openvino", "int8"): 0.30}
SUBJECTS = [(target, precision) for precision in ("float32", "int8") for target in ("cpu", "cpu-openvino")]


def main() -> int:
    """Builds the two files, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    targets = {name: Target(load_profile(name)) for name in ("cpu", "cpu-openvino")}
    environment = targets["cpu"].probe()
    with tempfile.TemporaryDirectory() as folder:
        files = build(arguments.data, Path(folder))
        rounds = [measure_round(targets, files) for _ in range(arguments.rounds)]
    results = [describe(subject, rounds) for subject in SUBJECTS]
    flags = ", ".join(environment.flags)
    if arguments.json:
        print(
            json.dumps(
                {
                    "cpu": environment.cpu_model,
                    "flags": flags,
                    "load_1m": environment.load_1m,
                    "results": [asdict(result) for result in results],
                }
            )
        )
        return 0
    versions = ", ".join(
        f"{target.profile.runtime} {target.probe().runtime_version}" for target in targets.values()
    )
    print(f"{environment.cpu_model}: {flags}; load {environment.load_1m:.1f}; {versions}")
    for result in results:
        aim = AIMS.get((result.target, result.precision))
        verdict = "" if aim is None else f"  target ≤ {aim:.2f}: {'met' if result.ratio <= aim else 'MISSED'}"
        spread = f"± {result.half_width:.3f}" if arguments.rounds > 1 else "(one round)"
        latency = f"{1e3 * result.latency_s:>8.3f} ms"
        print(f"{result.target:<14}{result.precision:<9}{latency}   {result.ratio:.3f} {spread}{verdict}")
    return 0


def build(data: str, folder: Path) -> dict[str, Path]:
    """The files by precision."""
    task = load_task(f"{ROOT / 'examples' / 'cifar10.py'}:resnet20", {"data": data})
    network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network)
    int8 = Recipe(precision={layer.name: "int8" for layer in network.layers})
    return {
        name: compressor.build(recipe, folder).only.artifact.path
        for name, recipe in (("float32", Recipe()), ("int8", int8))
    }


def measure_round(targets: dict[str, Target], files: dict[str, Path]) -> dict[tuple[str, str], float]:
    """Seconds of an inference by target and precision: the mean of both ways."""
    found: dict[tuple[str, str], list[float]] = {subject: [] for subject in SUBJECTS}
    with measuring(cores=targets["cpu"].cores):
        for subject in [*SUBJECTS, *reversed(SUBJECTS)]:
            target, file = targets[subject[0]], files[subject[1]]
            digest = digest_of_file(file)
            with target.open_worker() as worker:
                seen = target.measure_once(worker, file, file, timing=TIMING, digests=(digest, digest))
            found[subject].append(seen.baseline_reference_s)
    return {subject: statistics.fmean(times) for subject, times in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Median latency, ratio to float32 in ONNX Runtime, and half the width of its 95 % interval."""

    target: str
    precision: str
    latency_s: float
    ratio: float
    half_width: float


def describe(subject: tuple[str, str], rounds: list[dict[tuple[str, str], float]]) -> Result:
    """The result of all rounds."""
    ratios = [times[subject] / times["cpu", "float32"] for times in rounds]
    spread = (
        statistics.stdev(ratios) / len(ratios) ** 0.5 * critical_value(len(ratios) - 1)
        if len(ratios) > 1
        else 0.0
    )
    latency = statistics.median(times[subject] for times in rounds)
    return Result(
        target=subject[0],
        precision=subject[1],
        latency_s=latency,
        ratio=statistics.fmean(ratios),
        half_width=spread,
    )


if __name__ == "__main__":
    sys.exit(main())
