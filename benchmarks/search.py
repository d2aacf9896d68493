"""The `front` sampler against what a user could pick instead: hypervolume against wall-clock, everything
charged.

    python benchmarks/search.py run --sampler front --seed 0 --minutes 10 [--model resnet20] [--recovery]
    [--core 0] [--hub REGISTRY/package]
    python benchmarks/search.py table

`run` searches a model of ../shared/data for so many minutes on one core with a cache of its own, so that the
level database, the tables and the sampler are paid for, and keeps what it saw in benchmarks/results/search/.
Every sampler starts from the original and uniform int8 and gets the same levels, database and evaluation;
finalists are left out. Rivals:

    dp       dynamic programming over the sensitivities, which are never corrected; no rung r0, proposals are measured at once
    jitter   a baseline of the design: one uniform level of each kind, then every slot redrawn with a probability of 0.1
    tpe      Optuna's default TPE (with `--recovery`, the product's multivariate one); nsga2, gp, random: Optuna's. Rivals do without
             the product's first recipes (`seeds.py`)
    auto_sampler, nsgaii_with_tpe_warmup, moead, speaii
             those of OptunaHub, from a checkout of github.com/optuna/optunahub-registry (--hub; pip install
             optunahub cmaes). moead and speaii draw their first 100 and 50 trials at random.

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
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocompress.compress.compressor import Compressor
    from autocompress.evaluation.evaluate import Evaluator
    from autocompress.explore.preparation.checked_request import CheckedRequest
    from autocompress.explore.search import Strategy
    from autocompress.explore.session.progress import Progress
    from autocompress.results.records.run import Run
    from autocompress.results.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "search"
HUB = {
    "auto_sampler": "AutoSampler",
    "nsgaii_with_tpe_warmup": "NSGAIIWithTPEWarmupSampler",
    "moead": "MOEADSampler",
    "speaii": "SPEAIISampler",
}
NAIVE = ("jitter", "nsga2", "tpe", "gp", "random", *HUB)
TASKS = {
    **{name: ("examples/cifar10.py", name) for name in ("resnet20", "resnet56", "resnet8")},
    "dscnn": ("benchmarks/edge_nets.py", "keywords"),
    "mobilenet": ("benchmarks/edge_nets.py", "mobilenet"),
    "stories": ("benchmarks/edge_nets.py", "stories"),
}


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
    run.add_argument("--model", choices=tuple(TASKS), default="resnet20")
    run.add_argument("--recovery", action="store_true")
    run.add_argument("--core", type=int, required=True)
    run.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    run.add_argument("--hub", type=Path, help="the folder package/ of the registry of OptunaHub")
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
    from autocompress.explore.preparation.open_search import open_search
    from autocompress.explore.preparation.prepare import prepare
    from autocompress.explore.preparation.request import SearchRequest
    from autocompress.explore.session.budget import Budget
    from autocompress.explore.session.progress import PlainProgress
    from autocompress.results.run_directory import read_run

    torch.set_num_threads(1)
    progress = PlainProgress(sys.stderr)
    request = SearchRequest(
        task=f"{ROOT / TASKS[arguments.model][0]}:{TASKS[arguments.model][1]}",
        arguments={"data": str(arguments.data)},
        budget_s=60 * arguments.minutes,
        sampler="front" if arguments.sampler in ("front", "dp") else "random",
        recovery=arguments.recovery,
        seed=arguments.seed,
        out=arguments.keep or folder / "run",
        command=" ".join(sys.argv),
    )
    checked = prepare(request, progress)
    budget = Budget(total_s=request.budget_s, recovery=request.recovery)
    if arguments.keep is None:  # no finalists, and no time for them
        budget = replace(budget, search_share=1.0)
    with open_search(
        checked,
        progress,
        strategy=partial(rival_strategy, arguments),
        budget=budget,
        finalists=arguments.keep is not None,
    ) as search:
        search.run()
    return facts_of(read_run(search.directory.path), arguments)


def facts_of(run: "Run", arguments: argparse.Namespace) -> dict[str, Any]:
    """What is kept of a run."""
    (target,) = run.targets
    environment = target.environment
    assert environment is not None
    points = [point.measured[target.name] for point in run.points]
    trials = {"finished": len(run.points), "failed": len(run.failures), "screened": run.screened}
    search = run.search.to_json()
    return {
        "sampler": arguments.sampler,
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "model": arguments.model,
        "recovery": arguments.recovery,
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "environment": {
            "cpu_model": environment.cpu_model,
            "runtime_version": environment.runtime_version,
            "cores": list(environment.cores),
        },
        "history": [asdict(entry) for entry in run.history],
        "trials": trials,
        "points": [[p.drop, p.artifact.size_bytes, p.latency.ratio, p.quality.test] for p in points],
        **{key: search[key] for key in ("time", "rungs", "latency_tables")},
    }


def rival_strategy(
    arguments: argparse.Namespace,
    checked: "CheckedRequest",
    compressor: "Compressor",
    evaluator: "Evaluator",
    directory: "RunDirectory",
    *,
    progress: "Progress",
) -> "Strategy":
    """The strategy of the product, or of a rival, which does without the product's first recipes."""
    from autocompress.compress.recipe import Recipe
    from autocompress.explore.preparation.strategy import strategy_of
    from autocompress.explore.rungs.make_tables import make_tables
    from autocompress.explore.rungs.rung_search import RungSearch
    from autocompress.explore.sequential import Sequential

    if arguments.sampler == "front":
        return strategy_of(checked, compressor, evaluator, directory, progress=progress)
    if arguments.sampler == "dp":
        tables = partial(
            make_tables,
            compressor=compressor,
            evaluator=evaluator,
            directory=directory,
            batch=checked.request.batch,
            seed=arguments.seed,
            switches=False,
            probing=False,
        )
        return RungSearch(make_tables=tables, window=1)
    return Sequential(
        first=lambda space, *, int8_pays: [Recipe(), space.uniform_int8()],
        sampler=partial(sampler_of, arguments),
    )


def sampler_of(arguments: argparse.Namespace) -> Any:
    """The rival's sampler."""
    from autocompress.explore.study import make_sampler
    from optuna.samplers import TPESampler

    if arguments.sampler == "jitter":
        return jitter_sampler(arguments.seed)
    if arguments.sampler in HUB:
        import optunahub

        module = optunahub.load_local_module(
            f"samplers/{arguments.sampler}", registry_root=str(arguments.hub.resolve())
        )
        return getattr(module, HUB[arguments.sampler])(seed=arguments.seed)
    if arguments.sampler == "tpe" and not arguments.recovery:
        return TPESampler(seed=arguments.seed)
    return make_sampler(arguments.sampler, arguments.seed)


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
            f"  {'sampler':22} {'seeds':>5} {'measured':>8} {'hypervolume: median (quartiles)':>34} {'at a quarter':>13} {'half':>7}"
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
                    f"  {sampler:22} {len(runs):5} {measured:8.0f} {medians[sampler]:16.4f} ({low:.4f}..{high:.4f}) "
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
