"""`--deterministic`: the same candidates, whatever is measured, and however often the search is stopped."""

import random
from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import InputError, RunDirectoryError, TargetUnavailable
from autocompress.explore.latency.fixed import FixedLatencies
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.rungs.rung_search import RungSearch
from autocompress.explore.rungs.sensitivity import Sensitivity, measure_sensitivity, plan_changes
from autocompress.explore.rungs.tables import FrontTables
from autocompress.explore.space.space import SearchSpace
from autocompress.results.limits import Constraints
from autocompress.results.records.latency import Latency, Predicted
from autocompress.results.records.point import Failure, Measured
from autocompress.results.run_directory import read_front
from autocompress.tests.explore.fakes import PROFILE, FakeEvaluator, FakeNetwork, run_search
from autocompress.tests.explore.rungs.test_rung_search import FakeScorer
from autocompress.tests.present import present
from autocompress.tests.results.records import TARGET, latency

SAMPLERS = ["front", "tpe", "nsga2", "gp", "random"]


class RestlessEvaluator(FakeEvaluator):
    """Measures other latencies each time; stops the search in the `stops_in`-th candidate."""

    def __init__(self, *, stops_in: int = 0, failing=lambda recipe: None):
        super().__init__(FakeNetwork(), failing=failing)
        self.stops_in, self.load = stops_in, random.Random()

    def outcome(self, target, trial, recipe):
        if len(self.evaluated) == self.stops_in:
            raise KeyboardInterrupt
        usual = super().outcome(target, trial, recipe)
        assert isinstance(usual, Measured)
        ratio = usual.latency.ratio * self.load.uniform(0.5, 2.0)
        return replace(usual, latency=latency(ratio))


def tables_of(network):
    """Makes the tables of a deterministic search; a recipe's KL is asked for once."""
    scorer = FakeScorer(network)

    def make(trials):
        fixed = FixedLatencies.of([PROFILE], network, trials.space, batch=1)
        known = {recipe.digest: FakeScorer(network).kl(recipe) for recipe in plan_changes(trials.space)}
        sensitivity = Sensitivity(measured=known, complete=True)
        return FrontTables.of(
            trials.space,
            scorer=scorer,
            predictors=fixed.predictors,
            open_predictor=fixed.predictor,
            losses=sensitivity.losses(trials.space),
            measured=sensitivity.known(trials.space),
            run=trials.run,
            directory=trials.directory,
            seed=0,
            replayed=True,
        )

    return make, scorer


def run_it(path, sampler, evaluator, *, trials=8, **options):
    """A deterministic search."""
    if sampler == "front":
        options["strategy"] = RungSearch(make_tables=tables_of(evaluator.network)[0])
    return run_search(path, evaluator, trials=trials, sampler=sampler, **{"deterministic": True, **options})


def searched(path, sampler, evaluator=None, **options):
    """The recipes of a deterministic search in the order of their trials; and its evaluator."""
    evaluator = evaluator or RestlessEvaluator()
    points = present(run_it(path, sampler, evaluator, **options).run).points
    return [point.recipe for point in sorted(points, key=lambda point: point.trial)], evaluator


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_searches_try_the_same_candidates_whatever_they_measure(tmp_path, sampler):
    first, _ = searched(tmp_path / "first", sampler)
    second, _ = searched(tmp_path / "second", sampler)
    assert len(first) == 8 and first == second


def test_without_the_option_what_is_measured_decides(tmp_path):
    runs = [
        searched(tmp_path / str(number), "front", trials=12, deterministic=False)[0] for number in range(2)
    ]
    assert runs[0] != runs[1]


@pytest.mark.parametrize(
    ("sampler", "stops_in"), [("front", 1), ("front", 3), *((sampler, 5) for sampler in SAMPLERS)]
)
def test_a_search_that_was_stopped_tries_what_an_uninterrupted_one_tries(tmp_path, sampler, stops_in):
    whole, _ = searched(tmp_path / "whole", sampler)
    stopped = RestlessEvaluator(stops_in=stops_in)
    run_it(tmp_path / "run", sampler, stopped)
    continued, evaluator = searched(tmp_path / "run", sampler)
    assert continued == whole
    assert stopped.evaluated[:-1] + evaluator.evaluated == [recipe.digest for recipe in whole]


def test_a_finished_search_is_only_read_and_more_trials_go_on_from_it(tmp_path):
    first, _ = searched(tmp_path / "run", "front", trials=5)
    again, evaluator = searched(tmp_path / "run", "front", trials=5)
    assert again == first and evaluator.evaluated == []
    more, evaluator = searched(tmp_path / "run", "front")
    assert more[:5] == first and len(evaluator.evaluated) == 3
    assert more == searched(tmp_path / "whole", "front")[0]


def test_a_kl_that_is_known_is_not_asked_for_again(tmp_path):
    evaluator = RestlessEvaluator()
    searched(tmp_path / "run", "front", evaluator, trials=6)
    make, scorer = tables_of(evaluator.network)
    again = RungSearch(make_tables=make)
    run_search(tmp_path / "run", evaluator, trials=6, sampler="front", strategy=again, deterministic=True)
    kept = (tmp_path / "run" / "r0.jsonl").read_text().splitlines()
    assert scorer.asked == [] and len(kept) == len(set(kept)) > 4


def test_points_keep_their_measured_latencies_and_a_limit_judges_the_front(tmp_path):
    limits = Constraints(max_latency_s=1e-9)
    free, _ = searched(tmp_path / "free", "front")
    limited, _ = searched(tmp_path / "limited", "front", constraints=limits)
    run = present(read_front(tmp_path / "limited"))
    assert limited == free and run.front == ()
    assert all(isinstance(point.measured[TARGET].latency, Latency) for point in run.points)


def test_what_the_moment_decides_ends_the_search_and_the_next_goes_on_alike(tmp_path):
    def restless(recipe: Recipe) -> Failure | None:
        if len(evaluator.evaluated) < 4:
            return None
        return Failure(trial=3, stage="measure", kind="noisy", message="restless", retryable=True)

    evaluator = RestlessEvaluator(failing=restless)
    with pytest.raises(TargetUnavailable, match="leaves out no candidate"):
        searched(tmp_path / "run", "tpe", evaluator)
    assert searched(tmp_path / "run", "tpe")[0] == searched(tmp_path / "whole", "tpe")[0]


def test_a_run_that_is_not_drawn_again_is_refused(tmp_path):
    searched(tmp_path / "run", "random", trials=16)
    with pytest.raises(RunDirectoryError, match=r"another candidate than this search draws now.*--fresh"):
        searched(tmp_path / "run", "random", trials=16, seed=1)


def test_sensitivities_of_a_fixed_number_are_the_same_whatever_the_file_knows(tmp_path):
    network = FakeNetwork()
    space, scorer = SearchSpace.of(network, PROFILE), FakeScorer(network)

    class Prober:
        def sensitivities(self, recipes):
            return ((recipe, scorer.kl(recipe)) for recipe in recipes)

    def measure(path, most, left=True):
        return measure_sensitivity(
            space, Prober(), path, time_left=lambda: left, progress=lambda text: None, most=most
        )

    measure(tmp_path / "known.json", None)
    assert measure(tmp_path / "known.json", 3) == measure(tmp_path / "new.json", 3)


def test_fixed_latencies_rank_smaller_models_first():
    network = FakeNetwork()
    space = SearchSpace.of(network, PROFILE)
    predictor = FixedLatencies.of([PROFILE], network, space, batch=1).predictor(TARGET)
    half = Recipe(keep={"layer1": 16})
    assert predictor.ratio(half) < predictor.ratio(Recipe()) == pytest.approx(1.0, abs=0.02)


def test_judged_runs_have_predicted_latencies_alone(tmp_path):
    evaluator = RestlessEvaluator()
    done = run_search(tmp_path / "run", evaluator, trials=4, deterministic=True)
    judged = done.search.trials.run
    assert all(isinstance(point.measured[TARGET].latency, Predicted) for point in judged.points)


@pytest.mark.parametrize("wrong", [{"trials": None}, {"trials": 8, "budget_s": 60.0}], ids=["none", "both"])
def test_it_needs_a_number_of_trials_and_no_budget(wrong):
    with pytest.raises(InputError, match="--deterministic needs --trials N and no --budget"):
        SearchRequest(task="digits", deterministic=True, **wrong)
