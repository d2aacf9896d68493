"""Removing a group's channels is the same as zeroing them in the original: checked on every tiny model and
group.
"""

import numpy as np
import pytest
import torch
from autocompress.compress.graph.graph import clone, get_tensor
from autocompress.compress.graph.network import Network
from autocompress.compress.recipe import Recipe
from autocompress.compress.student.prune import prune, removed_units
from autocompress.tests.models import TINY_MODELS, tiny_model

NAMES = [model.name for model in TINY_MODELS]


def network_of(name):
    model = tiny_model(name)
    return Network.trace(model.build(), model.example_inputs())


def some_removed(network, seed=0):
    """A random half of every group's units."""
    scores = {
        unit.number: score
        for unit, score in zip(all_units(network), np.random.default_rng(seed).random(10_000), strict=False)
    }
    keep = {group.name: max(1, group.channels // 2) for group in network.groups}
    return keep, removed_units(network.group_by_name, keep, scores)


def all_units(network):
    return [unit for group in network.groups for unit in group.units]


def zeroed(network, removed):
    """The original with every parameter that writes a removed channel set to zero."""
    module = clone(network.module)
    with torch.no_grad():
        for use in network.channels.uses:
            gone = np.isin(network.channels.roots(use.slots), list(removed))
            if use.writes and gone.any() and not use.parameter.endswith(("running_mean", "running_var")):
                get_tensor(module, use.parameter).index_fill_(
                    use.dim, torch.from_numpy(np.flatnonzero(gone)), 0.0
                )
    return module


@pytest.mark.parametrize("name", NAMES)
def test_pruned_equals_original_with_zeroed_channels(name):
    network = network_of(name)
    _, removed = some_removed(network)
    inputs = tiny_model(name).example_inputs()
    torch.testing.assert_close(
        prune(network.module, network.channels, removed)(*inputs),
        zeroed(network, removed)(*inputs),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("name", NAMES)
def test_cost_counts_what_the_pruned_model_has(name):
    network = network_of(name)
    keep, removed = some_removed(network)
    pruned = prune(network.module, network.channels, removed)
    cost = network.cost(Recipe(keep=keep))
    shapes = {layer.name: get_tensor(pruned, layer.weight).shape[layer.out_dim] for layer in network.layers}
    assert {c.name: c.channels_out for c in cost.layers} == shapes
    again = Network(clone(pruned), network.example_inputs).layers
    assert {c.name: c.channels_in for c in cost.layers} == {layer.name: layer.channels_in for layer in again}


@pytest.mark.parametrize("name", NAMES)
def test_macs_and_parameters_match_the_hand_computed_ones(name):
    network, model = network_of(name), tiny_model(name)
    assert (network.macs, network.parameters) == (model.macs, model.parameters)
