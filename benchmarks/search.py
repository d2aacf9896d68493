"""The `front` sampler against what a user could pick instead: hypervolume against wall-clock, everything
charged.

    python benchmarks/search.py run --sampler front --seed 0 --minutes 10 [--model resnet20] [--recovery]
    [--core 0] python benchmarks/search.py table

`run` searches a model of ../shared/data for so many minutes on one core with a cache of its own, so that the
level database, the tables and the sampler are paid for, and keeps what it saw in benchmarks/results/search/.
Every sampler starts from the original and uniform int8 and gets the same levels, database and evaluation;
finalists are left out. Rivals:

    dp       dynamic programming over the sensitivities, which are never corrected; no rung r0, proposals are measured at once
    jitter   a baseline of the design: one uniform level of each kind, then every slot redrawn with a probability of 0.1
    tpe      Optuna's default TPE (with `--recovery`, the product's multivariate one); nsga2, random: Optuna's. Rivals do without
             the product's first recipes (`seeds.py`)

Latencies are checked by `autocompress targets calibrate cpu … --check 50`, the sampler alone by
`search_synthetic.py`.

`table` prints medians and quartiles over the seeds, and the ratios of the issue. Ten minutes each for six
samplers and three seeds take three hours on one core; two at once fit a machine of two cores, each pinned by
--core.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "search"
NAIVE = ("jitter", "nsga2", "tpe", "random")


def main() -> None:
    """Runs, or prints what earlier runs saw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--sampler", choices=("front", "dp", *NAIVE), required=True)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--minutes", type=float, default=10)
    run.add_argument("--model", choices=("resnet20", "resnet56", "resnet8"), default="resnet20")
    run.add_argument("--recovery", action="store_true")
    run.add_argument("--core", type=int, required=True)
    run.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    run.add_argument("--keep", type=Path, help="keep the run directory here, and look at its finalists")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        print(table([json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]))
        return
    with tempfile.TemporaryDirectory(prefix="search-bench-") as folder:
        prepare_process(arguments.core, Path(folder))
        found = searched(arguments, Path(folder))
    out = RESULTS if arguments.keep is None else arguments.keep
    out.mkdir(parents=True, exist_ok=True)
    name = f"{arguments.model}-{arguments.minutes:g}m{'-recovery' if arguments.recovery else ''}-{arguments.sampler}-{arguments.seed}"
    (out / f"{name}.json").write_text(json.dumps(found) + "\n")
    print(f"{name}: hypervolume {found['history'][-1]['hypervolume']:.4f}, {found['trials']}")


def prepare_process(core: int | None, folder: Path) -> None:
    """One core, one thread, and a cache and lease of its own."""
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", XDG_CACHE_HOME=str(folder / "cache"), TMPDIR=str(folder))
    os.environ["AUTOCOMPRESS_LOCKS"] = str(folder)
    tempfile.tempdir = None
    os.environ["OMP_NUM_THREADS"] = "1"
    if core is not None:
        os.sched_setaffinity(0, {core})


def searched(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A search of so many minutes."""
    import torch
    from autocompress.search.prepare import open_search, prepare
    from autocompress.search.request import SearchRequest
    from autocompress.search.session.progress import PlainProgress

    torch.set_num_threads(1)
    progress = PlainProgress(sys.stderr)
    rival = arguments.sampler
    request = SearchRequest(
        task=f"{ROOT / 'examples' / 'cifar10.py'}:{arguments.model}",
        arguments={"data": str(arguments.data)},
        budget_s=60 * arguments.minutes,
        sampler="front" if rival in ("front", "dp") else "random",
        recovery=arguments.recovery,
        seed=arguments.seed,
        out=arguments.keep or folder / "run",
        command=" ".join(sys.argv),
    )
    problem = prepare(request, progress)
    with ExitStack() as patches:
        for target, value in replaced(rival, arguments).items():
            patches.enter_context(patch(target, value))
        search = patches.enter_context(open_search(problem, progress))
        if arguments.keep is None:
            patches.enter_context(patch.object(search.finalists, "look_at", return_value=False))
        search.run()
        run = json.loads((search.directory.path / "front.json").read_text())
    points = [*run["front"], *run["dominated"]]
    return {
        "sampler": rival,
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "model": arguments.model,
        "recovery": arguments.recovery,
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "environment": {key: run["environment"][key] for key in ("cpu_model", "runtime_version", "cores")},
        "history": run["history"],
        "trials": run["trials"],
        "points": [
            [p["drop"], p["artifact"]["size_bytes"], p["latency"]["ratio"], p["quality"]["test"]]
            for p in points
        ],
        **{key: run[key] for key in ("time", "rungs", "latency_table") if key in run},
    }


def replaced(rival: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What is different from the product: no first recipes of its own for rivals, no time kept for finalists."""
    from autocompress.compress.recipe import Recipe
    from autocompress.search import study
    from autocompress.search.rungs import rung_search
    from autocompress.search.sampling import proposals

    found: dict[str, Any] = {} if arguments.keep else {"autocompress.search.session.budget.SEARCH_SHARE": 1.0}
    if rival == "front":
        return found
    if rival == "dp":
        plain = proposals.Proposer
        found["autocompress.search.rungs.guide.Proposer"] = lambda *args, **options: plain(
            *args, **options, switches=False
        )
        found["autocompress.search.rungs.rung_search.WINDOW"] = 1
        found["autocompress.search.rungs.guide.Guide.probe"] = unprobed
        assert rung_search.WINDOW > 1
        return found
    product = study.make_sampler
    found["autocompress.search.sequential.first_recipes"] = lambda space, **_: [
        Recipe(),
        space.uniform_int8(),
    ]
    found["autocompress.search.study.make_sampler"] = lambda name, seed: sampler_of(rival, arguments, product)
    return found


def unprobed(guide: Any, levels: Any) -> float:
    """The table's own loss in place of a measured one: the rival has no rung r0."""
    kl = float(guide.proposer.losses.loss(levels))
    guide.pool.add(levels, kl)
    return kl


def sampler_of(rival: str, arguments: argparse.Namespace, product: Any) -> Any:
    """The rival's sampler."""
    from optuna.samplers import TPESampler

    if rival == "jitter":
        return jitter_sampler(arguments.seed)
    if rival == "tpe" and not arguments.recovery:
        return TPESampler(seed=arguments.seed)
    return product(rival, arguments.seed)


def jitter_sampler(seed: int) -> Any:
    """One uniform level of each kind for all slots of a trial, then each slot is redrawn with a probability
    of 0.1.
    """
    from optuna.samplers import BaseSampler

    class UniformJitter(BaseSampler):
        def __init__(self) -> None:
            self.rng, self.trial = random.Random(seed), -1
            self.share: dict[str, float] = {}

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            if trial.number != self.trial:
                self.trial = trial.number
                self.share = {
                    "keep": self.rng.random(),
                    "precision": self.rng.random(),
                    "rank": self.rng.random(),
                }
                if self.rng.random() < 0.5:
                    self.share["keep"] = 0.999
            count = param_distribution.high - param_distribution.low + 1
            share = self.share.get(param_name.partition("/")[0], 0.0)
            if self.rng.random() < 0.1:
                share = self.rng.random()
            return param_distribution.low + min(count - 1, int(share * count))

    return UniformJitter()


def table(results: list[dict[str, Any]]) -> str:
    """Medians and quartiles by problem and sampler, and the ratios."""
    lines = []
    problems = sorted({(item["model"], item["minutes"], item["recovery"]) for item in results})
    for model, minutes, recovery in problems:
        problem = (model, minutes, recovery)
        own = [item for item in results if (item["model"], item["minutes"], item["recovery"]) == problem]
        lines.append(f"{model}, {minutes:g} minutes, {'with' if recovery else 'without'} recovery")
        lines.append(
            f"  {'sampler':8} {'seeds':>5} {'measured':>8} {'hypervolume: median (quartiles)':>34} {'at a quarter':>13} {'half':>7}"
        )
        medians = {}
        for sampler in ("front", "dp", *NAIVE):
            runs = [item for item in own if item["sampler"] == sampler]
            if runs:
                values = [at(item, minutes * 60) for item in runs]
                medians[sampler] = statistics.median(values)
                low, high = quartiles(values)
                early = [
                    statistics.median(at(item, share * minutes * 60) for item in runs)
                    for share in (0.25, 0.5)
                ]
                measured = statistics.median(item["trials"]["finished"] for item in runs)
                lines.append(
                    f"  {sampler:8} {len(runs):5} {measured:8.0f} {medians[sampler]:16.4f} ({low:.4f}..{high:.4f}) "
                    f"{early[0]:12.4f} {early[1]:7.4f}"
                )
        naive = [medians[name] for name in NAIVE if name in medians]
        if "front" in medians and naive:
            lines.append(f"  front / best naive: {medians['front'] / max(naive):.3f}")
        if "front" in medians and "dp" in medians:
            lines.append(f"  front / dp: {medians['front'] / medians['dp']:.3f}")
    return "\n".join(lines)


def at(result: dict[str, Any], elapsed_s: float) -> float:
    """The hypervolume after so many seconds."""
    return max(
        (row["hypervolume"] for row in result["history"] if row["elapsed_s"] <= elapsed_s + 15), default=0.0
    )


def quartiles(values: list[float]) -> tuple[float, float]:
    """The first and third quartile; of one value it itself."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


if __name__ == "__main__":
    main()
