"""The `front` sampler on a synthetic problem, against its rivals. Half an hour on one core for the defaults.

    python benchmarks/search_synthetic.py [--seeds 10] [--evaluations 300] [--samplers front,dp,…]

120 layers of 6 levels. A layer's loss spreads over orders of magnitude; pairs of layers interact, with both
signs, as error vectors that are correlated do; size is additive, latency has a cost for switching between
neighbours. Sensitivities are the true losses of single layers with log-normal errors. The drop is a
saturating function of the true loss. The scale of the losses was set by the naive samplers alone: uniform
plus jitter reaches 0.08, as in the measurements of the design.

Every rival goes through Optuna on the same objective; `front` and `dp` also know the sensitivities, size and
latency, and read the true loss of evaluated candidates (in a search it is always measured). `dp` may place
its trade-offs by the drops seen (it has the same curve and scoring), but its table stays as it is. Fronts are
compared by normalized hypervolume. Raw results go to benchmarks/results/search_synthetic.json; those of
samplers that are not run again stay in it.
"""

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from autocompress.explore.sampling.losses import LossTable
from autocompress.explore.sampling.proposals import Proposer
from autocompress.explore.sampling.sampler import FrontSampler
from autocompress.explore.space.problem import LevelProblem, Slot, Term
from autocompress.results.front import hypervolume
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

LAYERS, LEVELS = 120, 6
NAIVE = ("uniform", "nsga2", "tpe", "random")
RESULTS = Path(__file__).resolve().parent / "results" / "search_synthetic.json"


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A problem with known truth: losses L × 6, pairs P × 2 with their strengths, and the imperfect
    sensitivities L × 6.
    """

    problem: LevelProblem
    losses: np.ndarray
    pairs: np.ndarray
    strengths: np.ndarray
    sensitivities: np.ndarray

    @classmethod
    def draw(cls, seed: int) -> "Synthetic":
        """The problem of a seed."""
        rng = np.random.default_rng(10_000 + seed)
        scale = 10 ** rng.uniform(-3.0, -1.0, LAYERS)
        growth = rng.uniform(2.0, 5.0, (LAYERS, LEVELS - 1))
        losses = np.concatenate(
            [np.zeros((LAYERS, 1)), scale[:, None] * np.cumprod(growth, axis=1) / growth[:, :1] / 20], axis=1
        )
        close = np.stack([np.arange(LAYERS - 1), np.arange(1, LAYERS)], axis=1)
        far = np.array([rng.choice(LAYERS, 2, replace=False) for _ in range(LAYERS)])
        strengths = np.concatenate([rng.normal(0.2, 0.6, len(close)), rng.normal(0.0, 0.6, len(far))]).clip(
            -1.0, 2.0
        )
        errors = np.exp(rng.normal(0.0, 0.4, (LAYERS, 1)) + rng.normal(0.0, 0.2, (LAYERS, LEVELS)))
        sensitivities = np.maximum.accumulate(losses * errors, axis=1)
        return cls(
            problem=_problem(rng),
            losses=losses,
            pairs=np.concatenate([close, far]),
            strengths=strengths,
            sensitivities=sensitivities,
        )

    def loss(self, levels: np.ndarray) -> float:
        """The true loss: the sum over layers plus strength · √(lossᵢ lossⱼ) over pairs, at least a tenth of
        the sum.
        """
        alone = self.losses[np.arange(LAYERS), levels]
        first, second = alone[self.pairs[:, 0]], alone[self.pairs[:, 1]]
        total = alone.sum()
        return float(max(total + (self.strengths * np.sqrt(first * second)).sum(), 0.1 * total))

    def drop(self, loss: float) -> float:
        """The normalized drop: 1 is five points; it saturates at 18."""
        return 18.0 * (1.0 - float(np.exp(-0.2 * loss**0.9)))


def _problem(rng: np.random.Generator) -> LevelProblem:
    sizes, latencies = (values / values.sum() for values in 10 ** rng.uniform(-1.0, 0.5, (2, LAYERS)))
    bits = np.array([32, 16, 8, 6, 4, 2]) / 32
    speed = np.array([1.0, 0.7, 0.42, 0.4, 0.33, 0.28])
    terms = [
        Term(scope=(i,), size=(sizes[i] * bits)[None], latency=(latencies[i] * speed)[None])
        for i in range(LAYERS)
    ]
    switch = 0.12 / LAYERS * (1.0 - np.eye(LEVELS))[None]
    terms += [Term(scope=(i, i + 1), size=np.zeros_like(switch), latency=switch) for i in range(LAYERS - 1)]
    slots = tuple(Slot(name=f"precision/{i}", levels=LEVELS, original=0) for i in range(LAYERS))
    return LevelProblem(slots=slots, terms=tuple(terms))


class Uniform(RandomSampler):
    """One level for all layers plus jitter: a layer's level moves by one with a drawn probability."""

    def infer_relative_search_space(self, study, trial):
        return {f"precision/{i}": optuna.distributions.IntDistribution(0, LEVELS - 1) for i in range(LAYERS)}

    def sample_relative(self, study, trial, search_space):
        rng = np.random.default_rng(int(self._rng.rng.randint(2**31)))
        level, chance = rng.integers(LEVELS), rng.uniform(0.0, 0.5)
        moved = level + rng.choice([-1, 1], LAYERS) * (rng.random(LAYERS) < chance)
        return {name: int(value) for name, value in zip(search_space, moved.clip(0, LEVELS - 1), strict=True)}


def sampler_of(name: str, case: Synthetic, seed: int) -> BaseSampler:
    """The rival called `name`."""
    if name in ("front", "dp"):
        losses = {slot.name: case.sensitivities[i].tolist() for i, slot in enumerate(case.problem.slots)}
        return FrontSampler(
            lambda: Proposer(
                case.problem, LossTable(case.problem, losses), seed=seed, switches=name == "front"
            ),
            seed=seed,
        )
    made = {"uniform": Uniform, "nsga2": NSGAIISampler, "tpe": TPESampler, "random": RandomSampler}
    return made[name](seed=seed)


def search(name: str, seed: int, evaluations: int) -> dict[str, float]:
    """Hypervolume of a search, and the seconds a trial spent outside the objective."""
    case = Synthetic.draw(seed)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler_of(name, case, seed))
    began, inside = time.perf_counter(), 0.0
    for _ in range(evaluations):
        trial = study.ask()
        levels = np.array([trial.suggest_int(slot.name, 0, slot.levels - 1) for slot in case.problem.slots])
        entered = time.perf_counter()
        loss, key = case.loss(levels), tuple(map(int, levels))
        vector = case.drop(loss), case.problem.size(key), case.problem.latency(key)
        inside += time.perf_counter() - entered
        trial.set_user_attr("kl", loss)
        study.tell(trial, vector)
    seconds = (time.perf_counter() - began - inside) / evaluations
    vectors = [tuple(trial.values) for trial in study.get_trials(deepcopy=False)]
    return {"hypervolume": hypervolume(vectors), "overhead_s": seconds}


def main() -> None:
    """Runs all, prints the table, keeps the raw results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--samplers", default="front,dp,uniform,nsga2,tpe,random")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shape = {"seeds": arguments.seeds, "evaluations": arguments.evaluations}
    command = "python benchmarks/search_synthetic.py "
    command += f"--seeds {arguments.seeds} --evaluations {arguments.evaluations}"
    ratios: dict[str, float] = {}
    for name in arguments.samplers.split(","):
        runs = [search(name, seed, arguments.evaluations) for seed in range(arguments.seeds)]
        show(name, runs)
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        results = (before["results"] if before.get("shape") == shape else {}) | {name: runs}
        ratios = compare(results)
        content = {"command": command, "shape": shape, "results": results, "ratios": ratios}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    for text, value in ratios.items():
        print(f"{text}: {value:.3f}")


def show(name: str, runs: list[dict[str, float]]) -> None:
    """Prints a sampler's median and quartiles."""
    low, middle, high = np.percentile([run["hypervolume"] for run in runs], [25, 50, 75])
    spent = 1000 * np.median([run["overhead_s"] for run in runs])
    print(f"{name:8} hypervolume {middle:.4f} ({low:.4f} … {high:.4f}), {spent:.1f} ms a trial", flush=True)


def compare(results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Ratios of the medians of `front` to the best naive sampler and to dynamic programming alone, with the
    paired least.
    """
    medians: dict[str, float] = {}
    for name, runs in results.items():
        medians[name] = float(np.median([run["hypervolume"] for run in runs]))
    ratios: dict[str, float] = {}
    naive = [medians[name] for name in NAIVE if name in medians]
    if "front" in medians and naive:
        ratios["front / best naive (target 1.8)"] = medians["front"] / max(naive)
    if "front" in medians and "dp" in medians:
        ratios["front / dynamic programming alone (target 1.03)"] = medians["front"] / medians["dp"]
        pairs = zip(results["front"], results["dp"], strict=True)
        ratios["the least of that over seeds"] = min(a["hypervolume"] / b["hypervolume"] for a, b in pairs)
    return ratios


if __name__ == "__main__":
    main()
