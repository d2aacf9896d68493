"""What races save, and whether they lose a point of the front: a search, then everything that it stopped, in full.

    python benchmarks/racing.py resnet56 --data ../shared/data --budget 15m
    python benchmarks/racing.py resnet8 --data ../shared/data --trials 20 --no-recovery

The network is one of examples/cifar10.py. Artifacts that the search stopped are validated on the whole split
afterwards; the front and the hypervolume are then computed of all candidates, as without a race.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import autocompress as ac
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.profiles import load_profile
from autocompress.results.records.run import Run
from autocompress.targets.target import Target
from autocompress.tasks.load import load_task
from autocompress.tasks.metrics.accumulate import accumulator_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.py"


def in_full(run: Run, folder: Path, spec: str, data: Path) -> Run:
    """The run with all that was stopped as points, their drops of the whole split."""
    task, base = load_task(spec, {"data": str(data)}), run.baseline
    split, points = StoredSplit(task.validation, folder / "split"), list(run.points)
    before = base.measured["cpu"].quality.validation
    for stopped in run.stopped:
        accumulator = accumulator_of(task.metric)
        with Target(load_profile("cpu")).session() as session:
            for outputs, targets in split.answered(
                session, folder / "run" / stopped.artifact.file, batch=250
            ):
                accumulator.add(outputs, targets)
        drop = task.metric.drop(accumulator.value(), baseline=before)
        point = stopped.estimated(base, better=task.metric.direction)
        outcome = replace(point.measured["cpu"], drop=drop, drop_interval=None)
        points.append(replace(point, outcomes={"cpu": outcome}))
        inside = stopped.drop_interval[0] <= drop <= stopped.drop_interval[1]
        print(
            f"trial {stopped.trial}: {stopped.samples} of {stopped.of} samples said {100 * stopped.drop:.2f} pp "
            f"({100 * stopped.drop_interval[0]:.2f} to {100 * stopped.drop_interval[1]:.2f}), all {100 * drop:.2f}"
            f"{'' if inside else ', outside'}"
        )
    return replace(run, points=tuple(points), stopped=())


def main() -> None:
    """Searches, and prints what races did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=("resnet8", "resnet20", "resnet56"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--no-recovery", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    spec = f"{EXAMPLE}:{asked.network}"
    with TemporaryDirectory() as name:
        folder = Path(name)
        run = ac.search(
            spec, arguments={"data": str(asked.data)}, budget=asked.budget, trials=asked.trials, seed=asked.seed,
            recovery=not asked.no_recovery, out=folder / "run", progress=False,
        ).record  # fmt: skip
        whole = in_full(run, folder, spec, asked.data)
    stopped = {one.trial for one in run.stopped}
    lost = stopped & {point.trial for point in whole.front}
    print(
        f"{asked.network}: {len(run.points)} validated in full, {len(stopped)} stopped, {run.saved_samples:.0%} of "
        f"the samples saved; points of the front lost: {sorted(lost) or 'none'}; hypervolume {run.hypervolume:.4f}, "
        f"without races {whole.hypervolume:.4f}"
    )


if __name__ == "__main__":
    main()
