"""The tables of a `front` search: each target learns its own latencies, and the worst one counts."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.compress.compressor import Compressor
from autocompress.compress.recipe import Recipe
from autocompress.errors import TargetUnavailable
from autocompress.evaluation.evaluate import Evaluator
from autocompress.explore.latency.calibrate import random_recipes
from autocompress.explore.latency.model import LatencyPredictor
from autocompress.explore.rungs.latency_tables import LatencyTables
from autocompress.explore.rungs.sensitivity import Sensitivity
from autocompress.explore.rungs.tables import FrontTables, corner_of, level_labels
from autocompress.explore.session.budget import Budget
from autocompress.explore.space.space import SearchSpace
from autocompress.explore.trials import Trials
from autocompress.profiles.latency_table import LatencyTable
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import MetricFacts, RunFacts, RunTarget, TaskFacts
from autocompress.results.records.latency import Latency, Predicted
from autocompress.results.records.point import ArtifactFacts, Failure, Measured, Missing, Point, Quality
from autocompress.results.records.run import Run
from autocompress.results.run_directory import RunDirectory
from autocompress.targets.target import Target
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork

NETWORK = FakeNetwork()
SPACE = SearchSpace.of(NETWORK, PROFILE)
INT8_WORK = {"cpu": 0.3, "board": 2.0}  # of the work of float32: fast on one, slow on the other
SCORER = SimpleNamespace(kl=lambda recipe: 0.01 * (1 + len(recipe.precision) + len(recipe.keep)))


def ratio_on(target, recipe):
    work = [
        (INT8_WORK[target] if row.precision == "int8" else 1.0) * row.macs
        for row in NETWORK.cost(recipe).layers
    ]
    return sum(work) / NETWORK.cost(Recipe()).macs


def measured(target, recipe, *, original_bytes=1_000_000):
    ratio = ratio_on(target, recipe)
    size = original_bytes * NETWORK.cost(recipe).weight_bytes // NETWORK.cost(Recipe()).weight_bytes
    latency = Latency(
        latency_s=ratio * 1e-3,
        interval_s=(0.99e-3 * ratio, 1.01e-3 * ratio),
        ratio=ratio,
        ratio_interval=(0.99 * ratio, 1.01 * ratio),
        p50_s=ratio * 1e-3,
        p90_s=ratio * 1e-3,
        p99_s=ratio * 1e-3,
        noisy=False,
        timer="clock",
        pairs=3,
        peak_memory_bytes=None,
    )
    artifact = ArtifactFacts(file="artifacts/a.onnx", digest="d", size_bytes=size, macs=1, parameters=1)
    return Measured(artifact=artifact, quality=Quality(validation=0.9), drop=0.0, latency=latency)


def point_of(trial, recipe, targets=tuple(INT8_WORK)):
    return Point(trial=trial, recipe=recipe, outcomes={name: measured(name, recipe) for name in targets})


def run_of(*recipes, targets=tuple(INT8_WORK), constraints=None):
    """A run whose first point is the original."""
    limits = constraints or {}
    facts = RunFacts(
        task=TaskFacts(
            name="t",
            metric=MetricFacts(name="accuracy", direction="higher", unit="fraction"),
            spec="t.py:make",
            arguments={},
            digest="d",
            preprocessing={},
        ),
        targets=tuple(
            RunTarget(
                name=name,
                profile_fingerprint="p",
                threads=1,
                runtime="onnxruntime",
                runtime_options={},
                batch=1,
                constraints=limits.get(name, Constraints()),
            )
            for name in INT8_WORK
        ),
        command="",
        sampler="front",
        seed=0,
    )
    points = [point_of(trial, recipe, targets) for trial, recipe in enumerate((Recipe(), *recipes))]
    return Run(facts=facts, points=tuple(points))


def predictor(_target="any"):
    return LatencyPredictor(NETWORK, SPACE, LatencyTable())


def tables_of(folder, *, run=None, targets=tuple(INT8_WORK), **options):
    sensitivity = Sensitivity(measured={}, complete=False)
    return FrontTables.of(
        SPACE,
        scorer=SCORER,
        predictors={name: predictor() for name in targets},
        open_predictor=predictor,
        losses=sensitivity.losses(SPACE),
        measured=sensitivity.known(SPACE),
        run=run or run_of(),
        directory=cast(RunDirectory, SimpleNamespace(path=folder)),
        seed=0,
        **options,
    )


def latency_of(tables, recipe):
    problem = tables.proposer.problem
    return problem.latencies(problem.levels_of(SPACE.parameters(recipe)))


def test_each_target_learns_its_own_latencies_and_the_worst_counts(tmp_path):
    tables, int8 = tables_of(tmp_path), SPACE.uniform_int8()
    for trial, recipe in enumerate(random_recipes(SPACE, 30, seed=0), 1):
        tables.learn(point_of(trial, recipe))
    assert latency_of(tables, int8) == pytest.approx([ratio_on(name, int8) for name in INT8_WORK], rel=0.1)
    levels = tables.proposer.problem.levels_of(SPACE.parameters(int8))
    assert tables.vectors([(levels, 0.1)])[0][2] == pytest.approx(ratio_on("board", int8), rel=0.1)


def test_a_point_that_is_missing_on_a_target_teaches_the_others(tmp_path):
    tables, int8 = tables_of(tmp_path), SPACE.uniform_int8()
    there = measured("cpu", int8)
    gone = Failure(trial=1, stage="measure", kind="device", message="no route", retryable=True)
    missing = Missing(artifact=there.artifact, failure=gone)
    tables.learn(Point(trial=1, recipe=int8, outcomes={"cpu": there, "board": missing}))
    counts = {name: error.count for name, error in tables.facts().latency_tables.items()}
    assert counts == {"cpu": 1, "board": 0}


def test_a_predicted_latency_teaches_nothing(tmp_path):
    tables, int8 = tables_of(tmp_path, targets=("cpu",)), SPACE.uniform_int8()
    there = measured("cpu", int8)
    latency = Predicted(latency=predictor().predict(int8, 1e-3), ratio=0.5)
    outcome = Measured(artifact=there.artifact, quality=there.quality, drop=0.0, latency=latency)
    tables.learn(Point(trial=1, recipe=int8, outcomes={"cpu": outcome}))
    assert tables.facts().latency_tables["cpu"].count == 0


def test_a_target_that_came_back_joins_with_what_was_measured_there(tmp_path):
    tables = tables_of(tmp_path, targets=("cpu",), run=run_of(targets=("cpu",)))
    assert tables.proposer.problem.target_count == 1
    recipes = random_recipes(SPACE, 20, seed=0)
    limits = {"board": Constraints(max_latency_s=0.5e-3)}
    tables.limit(run_of(*recipes, constraints=limits))
    assert latency_of(tables, SPACE.uniform_int8())[1] == pytest.approx(2.0, rel=0.15)
    assert tables.proposer.limits[2] == pytest.approx(0.5)


def test_facts_are_by_slot_and_by_target(tmp_path):
    facts = tables_of(tmp_path).facts()
    assert list(facts.latency_tables) == list(INT8_WORK)
    assert {name: list(slot.labels) for name, slot in facts.sensitivity.items()} == level_labels(SPACE)


def test_without_probing_the_expected_loss_stands_for_the_kl(tmp_path):
    tables = tables_of(tmp_path, probing=False)
    levels = tables.proposer.propose()
    assert tables.probe(levels) == tables.proposer.losses.loss(levels) == tables.pool.kls[levels]
    probed = tables_of(tmp_path)
    other = probed.proposer.propose()
    assert probed.probe(other) == SCORER.kl(probed.recipe(other))


def test_what_was_tried_does_not_wait_in_the_pool(tmp_path):
    tables = tables_of(tmp_path)
    levels = [tables.proposer.propose() for _ in range(3)]
    for candidate in levels:
        tables.probe(candidate)
    again = tables_of(tmp_path, run=run_of(tables.recipe(levels[0])))
    assert [candidate for candidate, _ in again.pool.waiting()] == levels[1:]


def test_the_tightest_limits_of_all_targets_are_the_corner():
    limits = {"cpu": Constraints(max_latency_s=0.8e-3, max_size_bytes=250_000)}
    limits["board"] = Constraints(max_latency_s=0.6e-3)
    assert corner_of(run_of(constraints=limits)) == pytest.approx((1.0, 0.25, 0.6))


class FakeTarget(Target):
    """A target of which only the name is asked."""

    def __init__(self, name):
        self.profile = replace(PROFILE, name=name)


def opened_tables(monkeypatch, away):
    """LatencyTables of two targets, those in `away` gone, and what happened."""
    events = SimpleNamespace(gone=[], shares={})

    def open_table(target):
        if target.profile.name in away:
            raise TargetUnavailable(f"no route to {target.profile.name}")
        return LatencyTable()

    def measure(self, predictor, target, left_s):
        events.shares[target.profile.name] = left_s()

    monkeypatch.setattr("autocompress.explore.rungs.latency_tables.open_table", open_table)
    monkeypatch.setattr(LatencyTables, "_measure", measure)
    trials = SimpleNamespace(
        space=SPACE,
        budget=Budget(total_s=600.0),
        points=[SimpleNamespace(seconds={"build": 2.0, "timing loop": 10.0})],
        elapsed_s=0.0,
        left_s=lambda: 1000.0,
        timed=lambda activity: nullcontext(),
        interruptible=nullcontext,
        stage=lambda text: None,
        note=lambda text: None,
    )
    evaluator = SimpleNamespace(
        target=FakeTarget, availability=SimpleNamespace(gone=lambda name, reason: events.gone.append(name))
    )
    tables = LatencyTables(
        trials=cast(Trials, trials),
        compressor=cast(Compressor, SimpleNamespace(network=NETWORK)),
        evaluator=cast(Evaluator, evaluator),
        batch=1,
    )
    return tables, events


def test_each_target_has_a_share_of_the_time_for_its_table(monkeypatch):
    tables, events = opened_tables(monkeypatch, away=())
    assert list(tables.calibrated(["cpu", "board"])) == ["cpu", "board"]
    assert events.shares == {"cpu": 30.0, "board": 60.0}  # the first one used nothing of its share


def test_of_several_targets_one_that_is_away_is_left_out(monkeypatch):
    tables, events = opened_tables(monkeypatch, away=("board",))
    assert list(tables.calibrated(["cpu", "board"])) == ["cpu"] and events.gone == ["board"]


def test_without_any_target_there_is_nothing_to_search_with(monkeypatch):
    tables, _ = opened_tables(monkeypatch, away=("cpu", "board"))
    with pytest.raises(TargetUnavailable, match="no route to board"):
        tables.calibrated(["cpu", "board"])
