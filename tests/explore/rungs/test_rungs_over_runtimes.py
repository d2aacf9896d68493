"""The `front` search over two runtimes of a device: where candidates are measured, and what the front says."""

from dataclasses import replace

from autocompress.compress.recipe import Recipe
from autocompress.explore.latency.model import LatencyPredictor
from autocompress.explore.rungs.rung_search import RungSearch
from autocompress.explore.rungs.sensitivity import Sensitivity, plan_changes
from autocompress.explore.rungs.tables import FrontTables
from autocompress.explore.space.runtime_choice import RuntimeChoice
from autocompress.explore.space.runtimes import RuntimeSpaces
from autocompress.profiles.latency_table import LatencyTable
from autocompress.results.placed import place_of
from autocompress.results.records.point import Measured, Point
from autocompress.tests.explore.fakes import PROFILE, FakeEvaluator, FakeNetwork, run_search
from autocompress.tests.explore.rungs.test_rung_search import FakeScorer
from autocompress.tests.results.records import latency

NETWORK = FakeNetwork((16, 32, 32, 10))
SPACES = RuntimeSpaces.of(NETWORK, [replace(PROFILE, name=name) for name in ("ort", "lite")])


class TwoRuntimes(FakeEvaluator):
    """`lite` takes half the time for int8 layers, and twice the time for others."""

    def __init__(self):
        super().__init__(NETWORK, targets=("ort", "lite"))
        self.placing = RuntimeChoice(spaces=SPACES)

    def evaluate(self, trial, recipe, *, baseline, progress, built=None):
        made = super().evaluate(trial, recipe, baseline=baseline, progress=progress, built=built)
        assert isinstance(made, Point)
        left_out = self.placing.left_out(recipe)
        outcomes = {name: one for name, one in made.outcomes.items() if name not in left_out}
        return replace(made, outcomes=outcomes, left_out=left_out)

    def outcome(self, target, trial, recipe):
        outcome = super().outcome(target, trial, recipe)
        assert isinstance(outcome, Measured)
        if target == "ort" or not trial:
            return outcome
        share = len(recipe.precision) / len(NETWORK.layers)
        return replace(outcome, latency=latency(outcome.latency.ratio * (2 - 1.5 * share)))


def searched(path, trials=24):
    evaluator = TwoRuntimes()

    def tables(trials):
        scorer = FakeScorer(NETWORK)
        known = {recipe.digest: scorer.kl(recipe) for recipe in plan_changes(trials.space)}
        sensitivity = Sensitivity(measured=known, complete=True)

        def predictor(target):
            return LatencyPredictor(NETWORK, trials.space, LatencyTable(), drawable=SPACES.own[target])

        return FrontTables.of(
            trials.space,
            scorer=scorer,
            predictors={name: predictor(name) for name in trials.run.target_names},
            open_predictor=predictor,
            losses=sensitivity.losses(trials.space),
            measured=sensitivity.known(trials.space),
            run=trials.run,
            directory=trials.directory,
            seed=0,
            runtimes=evaluator.placing,
        )

    strategy = RungSearch(make_tables=tables)
    done = run_search(
        path, evaluator, strategy=strategy, sampler="front", trials=trials, recovery=False, alternatives=True
    )
    return done.run


def test_a_search_over_runtimes_measures_candidates_where_they_may_win(tmp_path):
    run = searched(tmp_path / "run")
    assert run.device is not None and run.status == "finished"
    for everywhere in (run.baseline, run.uniform_int8):
        assert everywhere.measured.keys() == {"ort", "lite"}
    placed = [place_of(run, point) for point in run.front]
    assert "lite" in placed  # int8 is faster there
    left_out = [point for point in run.points if point.left_out]
    assert left_out and all(point.waiting == () for point in run.points)
    truth = TwoRuntimes()
    for point in left_out:
        (tried,) = point.measured
        ratios = {name: truth.outcome(name, 1, point.recipe).latency.ratio for name in ("ort", "lite")}
        assert ratios[tried] <= 1.3 * min(ratios.values()), point.recipe
    assert Recipe() in [point.recipe for point in run.points]


def test_finalists_are_looked_at_in_the_runtime_where_they_stand(tmp_path):
    run = searched(tmp_path / "run", trials=10)
    for point in run.front:
        assert run.measured(point)[place_of(run, point)].finalist
    assert all(one.finalist for one in run.baseline.measured.values())
