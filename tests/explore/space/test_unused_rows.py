"""Unused rows of tables as a level: of the space, of the latency model's sizes, of the first candidates."""

from dataclasses import replace

import pytest
import torch
from autocompress.compress import Network, Recipe
from autocompress.explore.latency.calibrate import random_recipes
from autocompress.explore.latency.model import LatencyPredictor, problem_of
from autocompress.explore.rungs.sensitivity import Sensitivity
from autocompress.explore.space.seeds import first_recipes
from autocompress.explore.space.space import USED_ROWS, SearchSpace
from autocompress.profiles import load_profile
from autocompress.profiles.latency_table import LatencyTable
from optuna.trial import FixedTrial
from torch import nn

CPU = replace(load_profile("cpu"), channel_multiple=1)
TOKENS = torch.arange(16).reshape(2, 8)


def text_model() -> nn.Module:
    """A table of 3,000 rows and two layers, with random weights that are always the same."""
    torch.manual_seed(0)
    table = nn.Embedding(3000, 64)
    return nn.Sequential(table, nn.Flatten(), nn.Linear(8 * 64, 24), nn.ReLU(), nn.Linear(24, 3)).eval()


NETWORK = Network.trace(text_model(), (TOKENS,), used_tokens={0: range(500)})
SPACE = SearchSpace.of(NETWORK, CPU)


def test_parameters_lead_back_to_the_recipe() -> None:
    plain = SearchSpace.of(Network.trace(text_model(), (TOKENS,)), CPU)
    assert SPACE.size == 2 * plain.size
    assert SPACE.dimensions == plain.dimensions + 1
    for recipe in (Recipe(), Recipe(used_rows=True), *random_recipes(SPACE, 20, 0)):
        assert SPACE.suggest(FixedTrial(SPACE.parameters(recipe))) == recipe
        assert Recipe.from_json(recipe.to_json()) == recipe
    assert "used_rows" not in Recipe().to_json()  # earlier runs keep their digests


def test_all_first_candidates_but_the_original_and_uniform_int8_lack_them() -> None:
    recipes = first_recipes(SPACE)
    assert [recipe.used_rows for recipe in recipes[:2]] == [False, False]
    assert all(recipe.used_rows for recipe in recipes[2:])


def test_the_terms_have_their_bytes_and_no_loss() -> None:
    predictor = LatencyPredictor(NETWORK, SPACE, LatencyTable())
    original = NETWORK.cost(Recipe()).weight_bytes
    problem = problem_of([predictor], original_bytes=[original])
    position = problem.index[USED_ROWS]
    for recipe in random_recipes(SPACE, 20, 1):
        levels = list(problem.levels_of(SPACE.parameters(recipe)))
        sizes = []
        for used in (0, 1):
            levels[position] = used
            sizes.append(problem.size(tuple(levels)) * original)
        costs = [NETWORK.cost(replace(recipe, used_rows=used)).weight_bytes for used in (False, True)]
        assert sizes[0] - sizes[1] == pytest.approx(costs[0] - costs[1])
    assert Sensitivity(measured={}, complete=False).losses(SPACE)[USED_ROWS] == [0.0, 0.0]


def test_the_smallest_file_has_the_used_rows_alone() -> None:
    assert SPACE.smallest().used_rows
    plain = SearchSpace.of(Network.trace(text_model(), (TOKENS,)), CPU)
    assert SPACE.smallest_bytes(NETWORK) <= plain.smallest_bytes(NETWORK)
    assert NETWORK.cost(Recipe(used_rows=True)).weight_bytes < NETWORK.cost(Recipe()).weight_bytes / 4
