"""The latency predictor learns what parts cost; its problem says the same as itself, and tracks the network's
sizes.
"""

import itertools
import random
import time
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from autocompress.compress.graph.network import Network
from autocompress.compress.recipe import STORED, Recipe
from autocompress.explore.latency.calibrate import (
    Candidates,
    _mix,
    calibrate,
    next_recipe,
    open_table,
    random_recipes,
    time_shares,
)
from autocompress.explore.latency.model import LatencyPredictor, problem_of
from autocompress.explore.latency.shape_models import ShapeModels
from autocompress.explore.space.space import SearchSpace
from autocompress.profiles import PredictedLatency, load_profile
from autocompress.profiles.latency_table import LatencyTable
from autocompress.profiles.profile import Profile
from autocompress.profiles.regression import PredictionError
from autocompress.targets import Target
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork
from autocompress.tests.models import TINY_MODELS, tiny_model
from autocompress.tests.present import present
from autocompress.tests.targets.models import QUICK

FINE = Profile(
    name="fine",
    description="",
    runtime="onnxruntime",
    threads=1,
    channel_multiple=4,
    storage_bits=(6, 4, 3, 2),
    block4=True,
)


def fake_predictor(table: LatencyTable | None = None, network: FakeNetwork | None = None) -> LatencyPredictor:
    network = network or FakeNetwork()
    return LatencyPredictor(network, SearchSpace.of(network, PROFILE), table or LatencyTable())


def fake_ratio(recipe: Recipe, network: FakeNetwork | None = None) -> float:
    """A device where a million multiplications take 0.8, in int8 0.32, a kernel 0.02, and every change of
    precision 0.03.
    """
    network = network or FakeNetwork()

    def time_of(recipe: Recipe) -> float:
        layers = network.cost(recipe).layers
        work = sum(layer.macs * (0.4 if layer.precision == "int8" else 1.0) for layer in layers)
        changes = sum(a.precision != b.precision for a, b in itertools.pairwise(layers))
        return 0.8e-6 * work + 0.02 * len(layers) + 0.03 * changes + 0.02

    return time_of(recipe) / time_of(Recipe())


def taught_predictor(count: int) -> LatencyPredictor:
    predictor = fake_predictor()
    for recipe in random_recipes(predictor.space, count, seed=0):
        predictor.learn(recipe, fake_ratio(recipe), 0.002)
    return predictor


def test_forty_candidates_of_a_device_that_adds_up_tell_the_others():
    predictor = taught_predictor(40)
    recipes = random_recipes(predictor.space, 50, seed=1)
    error = PredictionError.of(
        [predictor.ratio(recipe) for recipe in recipes], [fake_ratio(recipe) for recipe in recipes]
    )
    assert present(error.kendall_tau) > 0.95 and present(error.median) < 0.02


def test_the_original_has_ratio_one_from_the_start():
    assert fake_predictor().ratio(Recipe()) == pytest.approx(1.0, abs=0.01)


def test_stored_weights_cost_what_float32_costs_until_a_measurement_says_otherwise():
    network = FakeNetwork()
    space = SearchSpace.of(network, replace(PROFILE, float_storage_bits=(8, 4)))
    predictor = LatencyPredictor(network, space, LatencyTable())
    assert predictor.ratio(space.uniform("w4")) == pytest.approx(predictor.ratio(Recipe()), abs=1e-6)
    for precision in ("w4", "w8"):  # the same nodes run
        predictor.learn(space.uniform(precision), 1.2, 0.002)
    assert predictor.ratio(space.uniform("w4")) == pytest.approx(1.2, abs=0.05)
    assert predictor.ratio(Recipe()) == pytest.approx(1.0, abs=0.02)


def test_mixes_of_a_calibration_seldom_store_fewer_bits():
    row = tiny_model("residual")
    space = SearchSpace.of(Network.trace(row.build(), row.example_inputs()), load_profile("cpu"))
    draw = random.Random(0)
    drawn = [name for _ in range(200) for name in _mix(space, draw).precision.values()]
    share = sum(name in STORED for name in drawn) / len(drawn)
    assert 0.1 < share < 0.3


def test_the_error_is_of_predictions_made_before_learning():
    predictor = fake_predictor()
    recipe = predictor.space.uniform_int8()
    before = predictor.ratio(recipe)
    predictor.learn(recipe, 0.3, 0.01)
    assert predictor.error.count == 1 and predictor.error.median == pytest.approx(abs(before / 0.3 - 1))
    assert predictor.ratio(recipe) == pytest.approx(0.3, rel=0.05)


def test_a_noisy_measurement_counts_for_less():
    ratios = []
    for half_width in (0.005, 0.2):
        predictor = fake_predictor()
        predictor.learn(predictor.space.uniform_int8(), 0.9, half_width)
        ratios.append(predictor.ratio(predictor.space.uniform_int8()))
    assert ratios[0] > ratios[1]


def test_a_predicted_latency_is_marked_as_one():
    predicted = fake_predictor().predict(Recipe(), 1e-3)
    assert isinstance(predicted, PredictedLatency) and str(predicted).startswith("~")


def test_recovery_does_not_change_a_latency():
    predictor = fake_predictor()
    recovered = replace(Recipe(), recovery=None)
    assert predictor.ratio(recovered) == predictor.ratio(Recipe())


def test_a_later_run_starts_from_what_was_measured(tmp_path):
    table = LatencyTable(tmp_path / "table.json")
    first = fake_predictor(table)
    first.learn(first.space.uniform_int8(), 0.3, 0.01)
    second = fake_predictor(LatencyTable(tmp_path / "table.json"))
    assert second.count == 1 and second.knows(second.space.uniform_int8())
    assert second.ratio(second.space.uniform_int8()) == pytest.approx(
        first.ratio(first.space.uniform_int8()), rel=1e-3
    )


def test_another_model_starts_from_what_the_device_told():
    table, large = LatencyTable(), FakeNetwork((32, 64, 64, 10))
    first = fake_predictor(table)
    for recipe in random_recipes(first.space, 40, seed=0):
        first.learn(recipe, fake_ratio(recipe), 0.002)
    first.tell()
    told, untold = fake_predictor(table, large), fake_predictor(network=large)
    recipes = random_recipes(told.space, 30, seed=2)
    errors = [
        PredictionError.of(
            [predictor.ratio(recipe) for recipe in recipes], [fake_ratio(recipe, large) for recipe in recipes]
        )
        for predictor in (told, untold)
    ]
    assert told.ratio(Recipe()) == pytest.approx(1.0, abs=0.01)
    assert present(errors[0].median) < 0.5 * present(errors[1].median)


@pytest.mark.parametrize("name", [model.name for model in TINY_MODELS])
def test_the_problem_says_what_the_predictor_and_the_network_say(name):
    model = tiny_model(name)
    network = Network.trace(model.build(), model.example_inputs())
    space = SearchSpace.of(network, FINE)
    predictor = LatencyPredictor(network, space, LatencyTable())
    draw = random.Random(0)
    for recipe in random_recipes(space, 5, seed=3):
        predictor.learn(recipe, draw.uniform(0.2, 1.0), 0.01)
    original = network.cost(Recipe()).weight_bytes
    problem = problem_of((predictor,), original_bytes=(original + 1000,))
    assert [slot.name for slot in problem.slots] == [
        name for name in space.parameters(Recipe()) if name != "recover"
    ]
    assert problem.size(problem.original) == pytest.approx(1.0)
    for recipe in random_recipes(space, 15, seed=4):
        levels = problem.levels_of(space.parameters(recipe))
        assert problem.canonical(levels) == levels
        assert problem.latency(levels) == pytest.approx(predictor.ratio(recipe), abs=1e-9)
        assert problem.size(levels) == pytest.approx(
            (network.cost(recipe).weight_bytes + 1000) / (original + 1000)
        )


def test_levels_behind_a_removed_block_change_nothing():
    model = tiny_model("residual")
    network = Network.trace(model.build(), model.example_inputs())
    space = SearchSpace.of(network, FINE)
    problem = problem_of((LatencyPredictor(network, space, LatencyTable()),))
    draw = random.Random(0)
    for _ in range(20):
        levels = tuple(draw.randrange(slot.levels) for slot in problem.slots)
        assert problem.latency(levels) == pytest.approx(problem.latency(problem.canonical(levels)))
        assert problem.size(levels) == pytest.approx(problem.size(problem.canonical(levels)))


def test_a_scope_that_would_be_too_large_holds_groups_at_their_original_level(monkeypatch):
    monkeypatch.setattr("autocompress.explore.latency.terms.LARGEST_SCOPE", 5)
    predictor = fake_predictor()
    held = {name for part in predictor.terms.parts for name in part.held}
    layers = [part for part in predictor.terms.parts if "layer" in part.name and ">" not in part.name]
    assert held and max(part.states.size for part in layers) <= 5


def test_a_learned_candidate_is_in_the_terms_within_a_moment():
    predictor = LatencyPredictor(
        deep := FakeNetwork((16,) + 118 * (64,) + (10,)), SearchSpace.of(deep, PROFILE), LatencyTable()
    )
    for recipe in random_recipes(predictor.space, 40, seed=0):
        predictor.learn(recipe, 0.5, 0.01)
    start = time.thread_time()
    predictor.learn(predictor.space.uniform_int8(), 0.5, 0.01)
    problem_of((predictor,))
    assert time.thread_time() - start < 0.6


def test_the_least_certain_proposal_is_measured_next():
    predictor = taught_predictor(3)
    known, new = random_recipes(predictor.space, 3, seed=0)[0], predictor.space.uniform_int8()
    proposals = iter([known] * 10 + [new] + [known] * 9)
    assert next_recipe(predictor, proposals) == new
    assert next_recipe(predictor, iter([known] * 20)) is None


@pytest.mark.serial
def test_a_calibration_on_this_machine_is_resumed_by_the_next(tmp_path):
    task, target = tiny_task("residual"), Target(load_profile("cpu"))
    network = Network.trace(task.model, task.example_inputs)
    space, counts = SearchSpace.of(network, target.profile), []
    for enough in (3, 5):
        predictor = LatencyPredictor(network, space, open_table(target, tmp_path))
        with ShapeModels(task, network, target, timing=QUICK) as runs:
            done = calibrate(predictor, runs, time_left=lambda: 60.0, enough=enough)
        counts.append((done.earlier, done.measured))
    assert counts == [(0, 3), (3, 2)] and np.isfinite(predictor.ratio(space.uniform_int8()))


def slow_int8_ratio(recipe: Recipe) -> float:
    """A device where int8 takes twice the time of float32."""
    network = FakeNetwork()
    layers = network.cost(recipe).layers
    work = sum(layer.macs * (2.0 if layer.precision == "int8" else 1.0) for layer in layers)
    return work / network.cost(Recipe()).macs


def test_the_problem_has_the_latency_of_each_target_and_counts_the_worst():
    devices = {"fast int8": fake_ratio, "slow int8": slow_int8_ratio}
    predictors = []
    for ratio in devices.values():
        predictor = fake_predictor()
        for recipe in random_recipes(predictor.space, 40, seed=0):
            predictor.learn(recipe, ratio(recipe), 0.002)
        predictors.append(predictor)
    problem = problem_of(predictors)
    for recipe in random_recipes(predictors[0].space, 20, seed=1):
        levels = problem.levels_of(predictors[0].space.parameters(recipe))
        expected = [ratio(recipe) for ratio in devices.values()]
        assert problem.latencies(levels) == pytest.approx(expected, rel=0.15)
        assert problem.latency(levels) == pytest.approx(max(expected), rel=0.15)


def test_sizes_are_those_of_each_targets_file():
    model = tiny_model("residual")
    network = Network.trace(model.build(), model.example_inputs())
    space = SearchSpace.of(network, FINE)
    networks = [network.stored_as("int8"), network.stored_as("float32")]
    predictors = [LatencyPredictor(item, space, LatencyTable()) for item in networks]
    problem, recipe = problem_of(predictors), space.uniform_int8()
    sizes = problem.sizes(problem.levels_of(space.parameters(recipe)))
    whole = network.cost(Recipe()).weight_bytes
    assert sizes == pytest.approx([item.cost(recipe).weight_bytes / whole for item in networks])
    assert sizes[0] < sizes[1] == problem.size(problem.levels_of(space.parameters(recipe)))


def test_targets_share_the_time_and_get_what_those_before_them_left():
    clock = [100.0]
    shares = []
    for left_s, used_s in zip(time_shares(lambda: clock[0], 3), (10.0, 45.0, 0.0), strict=True):
        shares.append(left_s())
        clock[0] -= used_s
    assert shares == pytest.approx([100 / 3, 45.0, 45.0])


def test_no_time_means_no_measurement():
    predictor = fake_predictor()
    assert calibrate(predictor, cast(Candidates, None), time_left=lambda: 0.0).measured == 0
