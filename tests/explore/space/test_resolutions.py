"""Smaller images as a level: of the space, of the latency model, of the sensitivities, of the first candidates."""

from dataclasses import replace

import numpy as np
import pytest
from autocompress.compress import Network, Recipe
from autocompress.explore.latency.calibrate import random_recipes
from autocompress.explore.latency.model import LatencyPredictor, problem_of
from autocompress.explore.latency.roofline import Roofline
from autocompress.explore.rungs.sensitivity import Sensitivity, plan_changes
from autocompress.explore.rungs.tables import level_labels
from autocompress.explore.space.seeds import first_recipes
from autocompress.explore.space.space import RESOLUTION, SearchSpace
from autocompress.profiles import load_profile
from autocompress.profiles.latency_table import LatencyTable
from autocompress.profiles.profile import Datasheet
from autocompress.tests.models import tiny_model
from optuna.trial import FixedTrial

CPU = replace(load_profile("cpu"), channel_multiple=1)
ROW = tiny_model("residual")
NETWORK = Network.trace(ROW.build(), ROW.example_inputs(), resolutions=(0.5, 0.75))
SPACE = SearchSpace.of(NETWORK, CPU)
LARGE, SMALL = NETWORK.resolutions


def test_parameters_lead_back_to_the_recipe():
    plain = SearchSpace.of(Network.trace(ROW.build(), ROW.example_inputs()), CPU)
    assert SPACE.size == 3 * plain.size
    assert SPACE.dimensions == plain.dimensions + 1
    for recipe in (Recipe(), Recipe(resolution=LARGE), *random_recipes(SPACE, 20, 0)):
        assert SPACE.suggest(FixedTrial(SPACE.parameters(recipe))) == recipe
    with pytest.raises(ValueError, match="not in tuple"):
        plain.parameters(Recipe(resolution=SMALL))


def test_the_first_candidates_try_smaller_images_trained():
    sizes = [recipe.resolution for recipe in first_recipes(SPACE) if recipe.resolution]
    assert sizes == [LARGE, SMALL]
    assert all(recipe.recovery for recipe in first_recipes(SPACE) if recipe.resolution)


def test_terms_have_the_features_of_each_size():
    """The parts of a recipe are those of the network that is traced at that size, and the resize."""
    predictor = LatencyPredictor(NETWORK, SPACE, LatencyTable())
    names = predictor.terms.names
    for recipe in random_recipes(SPACE, 30, 1):
        small = NETWORK.at(recipe.resolution)
        alone = replace(SPACE, resolutions=())
        theirs = LatencyPredictor(small, alone, LatencyTable())
        row = dict(zip(names, predictor._row(recipe), strict=False))
        expected = dict(zip(theirs.terms.names, theirs._row(replace(recipe, resolution=None)), strict=False))
        resize = {name: value for name, value in row.items() if name.startswith("resize") and value}
        assert bool(resize) == (recipe.resolution is not None)
        assert {k: v for k, v in row.items() if v and k not in resize} == pytest.approx(
            {k: v for k, v in expected.items() if v}
        )


def test_what_smaller_images_save_is_learned():
    predictor = LatencyPredictor(NETWORK, SPACE, LatencyTable())
    for size, ratio in ((LARGE, 0.7), (SMALL, 0.4)):
        predictor.learn(Recipe(resolution=size), ratio, 0.01)
    assert predictor.ratio(Recipe(resolution=SMALL)) == pytest.approx(0.4, abs=0.05)
    problem = problem_of([predictor])
    levels = problem.levels_of(SPACE.parameters(Recipe(resolution=SMALL)))
    assert problem.latency(levels) == pytest.approx(predictor.ratio(Recipe(resolution=SMALL)))
    assert problem.size(levels) == pytest.approx(problem.size(problem.original))


def test_a_roofline_counts_the_pixels_that_are_left():
    sheet = Datasheet(source="", peak_flops={"float32": 1e9}, memory_bytes_per_s=1e15, overhead_s=0.0)
    whole, half = (
        Roofline(network=NETWORK, sheet=sheet).seconds(Recipe(resolution=size)) for size in (None, SMALL)
    )
    shares = NETWORK.cost(Recipe(resolution=SMALL)).macs / NETWORK.macs
    assert half / whole == pytest.approx(shares)


def test_the_losses_of_smaller_images_are_measured():
    planned = plan_changes(SPACE)
    assert {recipe.resolution for recipe in planned} == {None, LARGE, SMALL}
    measured = {Recipe(resolution=LARGE).digest: 0.1, Recipe(resolution=SMALL).digest: 0.6}
    sensitivity = Sensitivity(measured=measured, complete=True)
    assert sensitivity.losses(SPACE)[RESOLUTION] == [0.0, 0.1, 0.6]
    assert sensitivity.known(SPACE)[RESOLUTION] == [True] * 3
    assert level_labels(SPACE)[RESOLUTION][0] == "whole"
    unknown = Sensitivity(measured={}, complete=True).losses(SPACE)[RESOLUTION]
    assert np.all(np.diff(unknown) > 0)
