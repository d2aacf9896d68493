"""Both importances rank a channel that does nothing below every other."""

import pytest
import torch
from autocompress.compress import Network
from autocompress.compress.graph.graph import get_tensor
from autocompress.compress.levels.importance import RemovalScores, magnitude_scores, taylor_scores
from autocompress.compress.levels.reconstruct import Removal
from autocompress.tests.models import tiny_model

DEAD = 5


@pytest.fixture
def network():
    """A chain whose first layer makes nothing of channel 5: weight, gamma and beta are zero, and nobody reads
    it.
    """
    model = tiny_model("chain")
    network = Network.trace(model.build(), model.example_inputs())
    unit = network.groups[0].units[DEAD]
    with torch.no_grad():
        for (parameter, dim), index in unit.indices.items():
            if "running" not in parameter:
                get_tensor(network.module, parameter).index_fill_(dim, torch.from_numpy(index), 0.0)
    return network


def lowest(scores, group):
    return min(range(group.channels), key=lambda i: scores[group.units[i].number])


def test_magnitude_of_a_dead_channel_is_lowest(network):
    assert lowest(magnitude_scores(network.module, network.groups), network.groups[0]) == DEAD


def test_taylor_score_of_a_dead_channel_is_zero_and_gradients_are_gone(network):
    inputs = tiny_model("chain").example_inputs()
    batches = [(inputs, torch.zeros(len(inputs[0]), dtype=torch.long))] * 2
    scores = taylor_scores(network.module, network.channels, torch.nn.functional.cross_entropy, batches)
    assert lowest(scores, network.groups[0]) == DEAD
    assert scores[network.groups[0].units[DEAD].number] == 0.0
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_a_group_gets_its_order_of_removal_when_it_is_first_asked_for():
    row = tiny_model("residual")
    network = Network.trace(row.build(), row.example_inputs())
    asked = []

    def removal(group):
        asked.append(group.name)
        return Removal(order=tuple(range(group.channels)), errors=(0.0,) * (group.channels + 1))

    first, second, *_ = network.groups
    scores = RemovalScores(network.groups, magnitude_scores(network.module, network.groups), removal)
    for _ in range(2):
        order = scores.of([first.name])
    assert asked == [first.name]
    assert [order[unit.number] for unit in first.units] == [*range(first.channels)]
    scores.of([second.name, "no such group"])
    assert asked == [first.name, second.name]
