"""Climbing with a fake evaluator: the order, what goes up, recovery here and beside, resume, limits."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import StageError
from autocompress.explore.beside.builders import Ready
from autocompress.explore.latency.model import LatencyPredictor
from autocompress.explore.rungs.recoveries import MAX_FAILURES
from autocompress.explore.rungs.rung_search import RungSearch
from autocompress.explore.rungs.sensitivity import Sensitivity, plan_changes
from autocompress.explore.rungs.tables import FrontTables, corner_of, level_labels
from autocompress.explore.screen import Screen
from autocompress.explore.session.budget import Budget
from autocompress.explore.space.space import DEFAULT_RECOVERY, SearchSpace, usual_recovery
from autocompress.profiles.latency_table import LatencyTable
from autocompress.results.limits import Constraints
from autocompress.results.records.point import Failure, Measured, Missing
from autocompress.results.run_directory import RunDirectory
from autocompress.tests.explore.fakes import (
    CONFIG,
    PROFILE,
    FakeCatchingUp,
    FakeEvaluator,
    FakeNetwork,
    make_search,
    run_search,
)
from autocompress.tests.present import present
from autocompress.tests.results.records import latency, run_facts

WIDTHS = (16, 32, 32, 10)


class FakeScorer:
    """A KL that grows with what is lost; recipes in `failing` cannot be stitched."""

    def __init__(self, network, failing=lambda recipe: False):
        self.network, self.failing, self.asked = network, failing, []

    def kl(self, recipe: Recipe) -> float:
        self.asked.append(recipe.digest)
        if self.failing(recipe):
            raise StageError("cannot be stitched", stage="reconstruct")
        lost = 1 - self.network.cost(recipe).macs / self.network.cost(Recipe()).macs
        return 0.3 * lost**2 + 0.002 * len(recipe.precision)


def tables_maker(network, scorer, made=None):
    """Makes tables whose targets all have the network's; they are added to `made`."""

    def make(trials):
        known = {recipe.digest: FakeScorer(network).kl(recipe) for recipe in plan_changes(trials.space)}
        sensitivity = Sensitivity(measured=known, complete=True)

        def predictor(target):
            return LatencyPredictor(network, trials.space, LatencyTable())

        tables = FrontTables.of(
            trials.space,
            scorer=scorer,
            predictors={name: predictor(name) for name in trials.run.target_names},
            open_predictor=predictor,
            losses=sensitivity.losses(trials.space),
            measured=sensitivity.known(trials.space),
            run=trials.run,
            directory=trials.directory,
            seed=0,
        )
        if made is not None:
            made.append(tables)
        return tables

    return make


def never(recipe):
    return None


class SlowInt8(FakeEvaluator):
    """Int8 is slower than float32."""

    def outcome(self, target, trial, recipe):
        outcome = super().outcome(target, trial, recipe)
        if isinstance(outcome, Measured) and "int8" in recipe.precision.values():
            return replace(outcome, latency=latency(1.2))
        return outcome


def climb(
    path,
    *,
    widths=WIDTHS,
    failing=never,
    broken=never,
    background=None,
    warm=(),
    tables=None,
    measured_by=FakeEvaluator,
    time_step=None,
    **options,
):
    """Searches, and returns the outcome of `run_search` with the evaluator and the scorer."""
    network = FakeNetwork(widths)
    evaluator, scorer = measured_by(network, failing=broken), FakeScorer(network, failing)
    make = tables or tables_maker(network, scorer)
    strategy = RungSearch(make_tables=make, background=background, warm=warm, time_step=time_step)
    done = run_search(path, evaluator, strategy=strategy, sampler="front", **options)
    return SimpleNamespace(**vars(done), evaluator=evaluator, scorer=scorer)


def recipes_of(run):
    return [point.recipe for point in sorted(run.points, key=lambda point: point.trial)]


def test_the_original_and_uniform_int8_come_first_then_what_went_up_from_r0(tmp_path):
    done = climb(tmp_path / "run", trials=8, recovery=False)
    assert done.status == "finished" and done.run.uniform_trial == 1
    assert recipes_of(done.run)[0] == Recipe()
    counts = done.run.search.rungs.counts
    assert counts["r0"] >= 3 * (counts["r1"] - 2) and counts["r2"] == 0
    measured = [trial for trial in done.search.trials.records if trial.number > 1]
    assert all("kl" in trial.user_attrs for trial in measured)
    assert done.run.history[-1].hypervolume > done.run.history[1].hypervolume


@pytest.mark.parametrize("dear", [True, False])
def test_looks_take_a_third_of_the_time_of_a_dear_candidate(tmp_path, monkeypatch, dear):
    monkeypatch.setattr(Budget, "is_dear", lambda *_: dear)
    monkeypatch.setattr(Screen, "seconds", lambda *_: 3.0)
    monkeypatch.setattr("autocompress.explore.rungs.climber.median", lambda _: 1.0)  # of the looks

    counts = climb(tmp_path / "run", trials=8, recovery=False).run.search.rungs.counts

    looks = counts["r0"] - 1  # one tells of uniform int8
    assert counts["r1"] == 8 and (looks <= 2 * 6 if dear else looks >= 3 * 6)


@pytest.mark.parametrize(
    ("measured_by", "stored"), [(SlowInt8, [{"w8"}, {"w8", "w4"}]), (FakeEvaluator, [])], ids=["slow", "fast"]
)
def test_where_int8_is_slow_weights_that_are_only_stored_in_fewer_bits_come_next(
    tmp_path, measured_by, stored
):
    profile = replace(PROFILE, float_storage_bits=(8, 4))
    done = climb(tmp_path / "run", trials=4, recovery=False, measured_by=measured_by, profile=profile)
    uniform = [set(recipe.precision.values()) for recipe in recipes_of(done.run)[2:4] if not recipe.keep]
    assert [precisions for precisions in uniform if precisions <= {"w8", "w4"}] == stored


def test_nothing_is_measured_or_probed_twice_over_two_sessions(tmp_path):
    first = climb(tmp_path / "run", trials=6, recovery=False)
    second = climb(tmp_path / "run", trials=10, recovery=False)
    measured = first.evaluator.evaluated + second.evaluator.evaluated
    assert len(measured) == len(set(measured)) == 10
    probed = [
        json.dumps(json.loads(line)["levels"])
        for line in (tmp_path / "run" / "r0.jsonl").read_text().splitlines()
    ]
    assert len(probed) == len(set(probed)) > 4


def test_a_finished_search_is_only_read_and_keeps_what_it_told(tmp_path):
    first = climb(tmp_path / "run", trials=5, recovery=False)
    again = climb(tmp_path / "run", trials=5, recovery=False)
    assert again.evaluator.evaluated == [] and again.scorer.asked == []
    told = [replace(done.run.search, time={}, peak_memory_bytes=None) for done in (again, first)]
    assert told[0] == told[1] and told[0].sensitivity and told[0].rungs


def test_limits_that_nothing_meets_end_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.explore.rungs.climber.MAX_SCREENED", 20)
    done = climb(
        tmp_path / "run",
        trials=None,
        budget_s=60.0,
        recovery=False,
        constraints=Constraints(max_size_bytes=100),
    )
    assert done.status == "finished" and done.run.elapsed_s < 50 and done.run.front == ()


def test_candidates_are_recovered_now_and_then_starting_with_the_known_settings(tmp_path):
    done = climb(tmp_path / "run", trials=14)
    recovered = [recipe for recipe in recipes_of(done.run) if recipe.recovery]
    assert 2 <= len(recovered) <= 5
    drops = {
        point.recipe.digest: done.run.vector(point)[0]
        for point in done.run.points
        if not point.recipe.recovery
    }
    for recipe in recovered:
        assert recipe.recovery == usual_recovery(
            drops[replace(recipe, recovery=None).digest], recipe.recovery.steps
        )


@pytest.mark.parametrize("step_s", [1e-3, 1.0])
def test_the_time_of_a_recovery_that_would_take_most_of_it_is_explored(tmp_path, step_s):
    asked = []

    def time_step():
        asked.append(step_s)
        return step_s

    done = climb(tmp_path / "run", trials=14, budget_s=120.0, time_step=time_step)
    recovered = [recipe for recipe in recipes_of(done.run) if recipe.recovery]
    assert len(asked) == 1 and len(done.run.points) == 14
    assert bool(recovered) == (step_s < 1)  # of 100 steps, where recovery has 48 s
    assert not recovered or recovered[0].recovery.steps > 100


def test_what_cannot_be_told_apart_from_the_original_is_not_recovered(tmp_path, monkeypatch):
    certain, half = FakeEvaluator.outcome, 0.02

    def unsure(self, target, trial, recipe):
        there = certain(self, target, trial, recipe)
        drop = present(there.drop)
        return replace(there, drop_interval=(drop - half, drop + half)) if trial else there

    monkeypatch.setattr(FakeEvaluator, "outcome", unsure)
    done = climb(tmp_path / "run", trials=14)
    drops = {point.recipe.digest: done.run.worst_drop(point).drop for point in done.run.points}
    recovered = [replace(recipe, recovery=None) for recipe in recipes_of(done.run) if recipe.recovery]
    assert recovered and all(drops[recipe.digest] > half for recipe in recovered)


def test_without_recovery_nothing_is_trained_and_every_trial_says_so(tmp_path):
    done = climb(tmp_path / "run", trials=10, recovery=False)
    assert not any(recipe.recovery for recipe in recipes_of(done.run))
    assert {trial.params["recover"] for trial in done.search.trials.records} == {0}


def test_a_run_without_recovery_goes_on_with_it_and_the_other_way_round(tmp_path):
    climb(tmp_path / "run", trials=8, recovery=False)
    recovering = climb(tmp_path / "run", trials=14)
    recovered = [recipe.digest for recipe in recipes_of(recovering.run) if recipe.recovery]
    assert recovered
    done = climb(tmp_path / "run", trials=18, recovery=False)
    assert [recipe.digest for recipe in recipes_of(done.run) if recipe.recovery] == recovered
    assert not set(done.evaluator.evaluated) & {recipe.digest for recipe in recipes_of(recovering.run)}


def test_a_candidate_that_a_queued_trial_came_before_still_goes_up(tmp_path):
    network = FakeNetwork(WIDTHS)
    queued = Recipe(keep={"layer1": 8})

    made: list[FrontTables] = []

    def make(trials):
        tables = tables_maker(network, FakeScorer(network), made)(trials)
        trials.study.enqueue(trials.space.parameters(queued))
        return tables

    done = climb(tmp_path / "run", trials=5, recovery=False, tables=make)
    assert recipes_of(done.run)[2] == queued
    up = {recipe.digest for recipe in recipes_of(done.run)}
    assert {made[0].recipe(levels).digest for levels in made[0].pool.promoted} <= up


def test_a_warm_start_is_tried_before_anything_is_proposed(tmp_path):
    warm = (Recipe(keep={"layer1": 8}), Recipe(keep={"layer2": 16}))
    done = climb(tmp_path / "run", trials=6, warm=warm, recovery=False)
    assert recipes_of(done.run)[2:4] == list(warm)


def test_limits_steer_what_is_measured(tmp_path):
    limit = FakeNetwork(WIDTHS).cost(Recipe()).weight_bytes // 6
    done = climb(tmp_path / "run", trials=12, recovery=False, constraints=Constraints(max_size_bytes=limit))
    sizes = [point.measured["fake"].artifact.size_bytes for point in done.run.points[2:]]
    assert sum(size <= limit for size in sizes) >= 0.7 * len(sizes)


def test_limits_are_the_corner_of_the_box_that_counts(tmp_path):
    constraints = Constraints(max_latency_s=0.5e-3, max_size_bytes=10**9)
    done = climb(tmp_path / "run", trials=3, recovery=False, constraints=constraints)
    assert corner_of(done.run) == pytest.approx((1.0, 1.0, 0.5), rel=1e-3)


def test_a_board_that_comes_back_brings_its_limits_and_latencies_to_what_is_proposed(tmp_path):
    network, made = FakeNetwork(WIDTHS), list[FrontTables]()
    limit = network.cost(Recipe()).weight_bytes // 6
    gone = Failure(trial=0, stage="measure", kind="device", message="no route", retryable=True)

    class Away(FakeEvaluator):
        def outcome(self, target, trial, recipe):
            there = super().outcome(target, trial, recipe)
            return Missing(artifact=there.artifact, failure=gone) if target == "edge" else there

    class BackAfterSix(FakeCatchingUp):
        def catch_up(self, points, *, progress, time_left):
            for index, point in enumerate(points if len(points) >= 6 else ()):
                points[index] = replace(
                    point, outcomes=dict.fromkeys(("fake", "edge"), point.outcomes["fake"])
                )

    strategy = RungSearch(make_tables=tables_maker(network, FakeScorer(network), made))
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        evaluator = Away(network, targets=("fake", "edge"))
        search = make_search(
            directory,
            evaluator,
            trials=16,
            recovery=False,
            strategy=strategy,
            catching_up=BackAfterSix(),
        )
        limits = {"fake": Constraints(), "edge": Constraints(max_size_bytes=limit)}
        search.trials.state.facts = run_facts(limits)
        evaluator.availability.gone("edge", "no route")
        evaluator.availability.ask_all()  # it is due after every candidate
        search.run()
    sizes = [point.outcomes["edge"].artifact.size_bytes for point in search.trials.points]
    assert sum(size <= limit for size in sizes[6:]) >= 0.7 * len(sizes[6:]), sizes
    counts = [predictor.count for predictor in made[0].predictors.values()]
    assert counts[1] >= counts[0], (
        "the second target's table learned from all points, the first from new ones"
    )
    assert counts == [14, 16]


def test_a_candidate_that_cannot_be_stitched_is_logged_and_not_measured(tmp_path):
    done = climb(tmp_path / "run", trials=8, recovery=False, failing=lambda recipe: "layer1" in recipe.keep)
    assert done.status == "finished"
    assert not any("layer1" in recipe.keep for recipe in recipes_of(done.run))
    assert "failed at r0" in (tmp_path / "run" / "log.jsonl").read_text()


def test_a_small_space_ends_by_itself(tmp_path):
    done = climb(tmp_path / "run", widths=(8, 4), trials=None, budget_s=60.0, recovery=False)
    assert done.status == "finished" and done.run.elapsed_s < 50


def test_no_candidate_is_begun_that_would_not_end_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.explore.screen.Screen.seconds", lambda *_: 55.0)
    done = climb(tmp_path / "run", trials=None, budget_s=60.0, recovery=False)
    assert done.status == "finished" and done.run.elapsed_s < 50
    assert len(done.evaluator.evaluated) == 2  # the original and uniform int8


class FakeBackground:
    """A recovery process that needs three looks for each recipe."""

    only_recoveries, slots, cores, stage = True, 1, (), "working"

    def __init__(self, outcome):
        self.outcome, self.recipe, self.looks, self.started = outcome, None, 0, []

    @property
    def free(self):
        return int(self.recipe is None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def start(self, recipe):
        self.started.append(recipe)
        self.recipe, self.looks = recipe, 0

    def poll(self, *, wait_s=0.0):
        self.looks += 1
        if self.looks < 3 or self.recipe is None:
            return None
        done, self.recipe = self.recipe, None
        return Ready(done, self.outcome)

    def cancel(self):
        self.recipe = None


class FakeCluster:
    """Three builders; each recipe is ready at the second look, with the outcome. They tell a KL of 0.01."""

    only_recoveries, slots, cores, stage = False, 3, (), "working"

    def __init__(self, outcome):
        self.outcome, self.work, self.started, self.asked = outcome, {}, [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def free(self):
        return self.slots - len(self.work)

    def start(self, recipe):
        assert self.free
        self.started.append(recipe)
        self.work[recipe.digest] = [recipe, 0]

    def poll(self, *, wait_s=0.0):
        for job in self.work.values():
            job[1] += 1
        ready = next((recipe for recipe, looks in self.work.values() if looks >= 2), None)
        if ready is None:
            return None
        del self.work[ready.digest]
        return Ready(ready, self.outcome)

    def kls(self, recipes, *, meanwhile):
        meanwhile()
        self.asked.extend(recipes)
        return [0.01 for _ in recipes]

    def cancel(self):
        self.work.clear()


@pytest.mark.parametrize("outcome", [SimpleNamespace(seconds={"build": 1.0}), None], ids=["built", "lost"])
def test_a_cluster_builds_and_trains_and_no_trial_more_than_asked_for(tmp_path, outcome):
    cluster = FakeCluster(outcome)
    done = climb(tmp_path / "run", trials=16, background=cluster)
    measured = {recipe.digest for recipe in recipes_of(done.run)}
    assert len(done.run.points) + len(done.run.failures) == 16
    assert {bool(recipe.recovery) for recipe in cluster.started} == {True, False}
    assert {recipe.digest for recipe in cluster.started} <= measured
    assert cluster.asked and not {recipe.digest for recipe in cluster.asked} & set(done.scorer.asked)


def test_what_a_cluster_cannot_build_fails_alone(tmp_path):
    error = StageError("it ended", stage="build", kind="crash", retryable=True)
    done = climb(tmp_path / "run", trials=12, background=FakeCluster(error), recovery=False)
    assert done.status == "finished" and {failure.stage for failure in done.run.failures} == {"build"}


def test_recovery_beside_the_search_is_measured_when_it_is_ready(tmp_path):
    background = FakeBackground(SimpleNamespace(seconds={"recover": 5.0}))
    done = climb(tmp_path / "run", trials=12, background=background)
    recovered = [recipe for recipe in recipes_of(done.run) if recipe.recovery]
    assert recovered and {recipe.digest for recipe in recovered} <= {
        recipe.digest for recipe in background.started
    }
    assert (
        json.loads((tmp_path / "run" / "time.json").read_text())["seconds"]["recovery beside the search"]
        >= 5.0
    )


def test_a_recovery_process_that_dies_fails_its_candidate_only(tmp_path):
    error = StageError("it ended", stage="recover", kind="crash", retryable=True)
    done = climb(tmp_path / "run", trials=12, background=FakeBackground(error))
    assert done.status == "finished" and done.run.failures
    assert {failure.stage for failure in done.run.failures} == {"recover"}


def test_recoveries_that_fail_are_not_started_again_and_end_when_none_succeeds(tmp_path):
    error = StageError("it ended", stage="recover", kind="crash", retryable=True)
    background = FakeBackground(error)
    climb(tmp_path / "run", trials=16, background=background)
    again = FakeBackground(error)
    climb(tmp_path / "run", trials=20, background=again)
    bare = [replace(recipe, recovery=None).digest for recipe in background.started]
    assert len(bare) == len(set(bare)) == MAX_FAILURES and again.started == []
    assert (
        json.loads((tmp_path / "run" / "time.json").read_text())["seconds"]["recovery beside the search"] > 0
    )


def test_the_time_of_a_recovery_that_failed_here_counts_as_recovery(tmp_path):
    told = Failure(trial=0, stage="recover", kind="error", message="no memory", retryable=False)
    done = climb(tmp_path / "run", trials=16, broken=lambda recipe: told if recipe.recovery else None)
    assert len(done.run.failures) == MAX_FAILURES
    assert json.loads((tmp_path / "run" / "time.json").read_text())["seconds"]["recovery"] > 0


def test_an_interrupted_recovery_that_is_not_reached_counts_as_no_crash(tmp_path):
    climb(tmp_path / "run", trials=4)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        search = make_search(directory, FakeEvaluator(FakeNetwork(WIDTHS)), sampler="front")
        recipe = replace(search.trials.space.uniform_int8(), recovery=DEFAULT_RECOVERY)
        search.trials.ask(search.trials.space.parameters(recipe))

    def interrupted(trials):
        raise KeyboardInterrupt

    for _ in range(4):
        assert climb(tmp_path / "run", trials=6, tables=interrupted).status == "interrupted"
    done = climb(tmp_path / "run", trials=6)
    assert recipe.digest in done.evaluator.evaluated and done.run.failures == ()


def test_where_nothing_can_be_stitched_candidates_are_measured_by_what_the_table_expects(tmp_path):
    done = climb(tmp_path / "run", trials=6, recovery=False, failing=lambda recipe: True)
    assert len(done.evaluator.evaluated) == 6 and done.run.search.rungs.counts["r0"] == 0
    assert not any("kl" in trial.user_attrs for trial in done.search.trials.records)


def test_a_small_space_that_is_exhausted_is_recovered_as_long_as_that_is_worth_it(tmp_path):
    done = climb(tmp_path / "run", widths=(16, 4), trials=None, budget_s=60.0)
    assert done.status == "finished" and done.run.elapsed_s < 50
    assert any(recipe.recovery for recipe in recipes_of(done.run))


def test_a_space_without_levels_ends_with_a_note(tmp_path):
    profile = replace(PROFILE, precisions=("float32",))
    done = climb(tmp_path / "run", widths=(10,), trials=5, profile=profile)
    assert done.status == "finished" and done.evaluator.evaluated == [Recipe().digest]


def test_with_a_number_of_trials_every_third_recovery_is_longer_and_rungs_are_counted_apart(tmp_path):
    done = climb(tmp_path / "run", trials=24)
    steps = [recipe.recovery.steps for recipe in recipes_of(done.run) if recipe.recovery]
    assert steps[:4] == [250, 250, 600, 250]
    counts = done.run.search.rungs.counts
    assert (counts["r2"], counts["r3"]) == (steps.count(250), steps.count(600))


def test_every_level_has_a_label():
    space = SearchSpace.of(FakeNetwork(WIDTHS), PROFILE)
    labels = level_labels(space)
    for name, value in space.parameters(space.smallest()).items():
        if name != "recover":
            assert len(labels[name]) > value
