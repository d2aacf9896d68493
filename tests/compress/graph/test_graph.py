"""Tracing, folding and what cannot be compressed."""

import pytest
import torch
from autocompress.compress import Network, keep_counts
from autocompress.compress.graph.graph import batch_norms, fold_batch_norms, set_training
from autocompress.compress.graph.tracing.trace import trace
from autocompress.errors import TaskError
from autocompress.tests.models import TINY_MODELS, tiny_model
from torch import nn


@pytest.mark.parametrize("name", [model.name for model in TINY_MODELS])
def test_folded_graph_computes_the_same(name):
    model = tiny_model(name)
    inputs, module = model.example_inputs(), trace(model.build(), model.example_inputs())
    folded = fold_batch_norms(module)
    torch.testing.assert_close(folded(*inputs), module(*inputs), atol=1e-5, rtol=1e-4)
    assert not batch_norms(folded)


def test_training_form_updates_running_statistics():
    model = tiny_model("residual")
    module = trace(model.build(), model.example_inputs())
    name, before = next((n, b.clone()) for n, b in module.named_buffers() if n.endswith("running_mean"))
    module(*model.example_inputs())
    assert torch.equal(dict(module.named_buffers())[name], before)
    set_training(module, True)
    module(*model.example_inputs())
    assert not torch.equal(dict(module.named_buffers())[name], before)


class DependsOnData(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


def test_control_flow_that_depends_on_data_is_a_clear_error():
    with pytest.raises(TaskError, match="control flow"):
        Network.trace(DependsOnData(), (torch.randn(2, 4),))


def test_model_without_layers_is_a_clear_error():
    with pytest.raises(TaskError, match="nothing to compress"):
        Network.trace(nn.Sequential(nn.ReLU(), nn.Flatten()), (torch.randn(2, 3, 4, 4),))


def test_frozen_parameters_group_like_free_ones():
    model = tiny_model("residual")
    frozen = model.build().requires_grad_(False)
    names = [group.name for group in Network.trace(frozen, model.example_inputs()).groups]
    assert names == [group.name for group in Network.trace(model.build(), model.example_inputs()).groups]
    assert names


class SharedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(torch.relu(self.twice(torch.relu(self.twice(torch.relu(self.first(x)))))))


def test_a_layer_that_is_called_twice_ties_its_input_to_its_output():
    network = Network.trace(SharedLayer(), (torch.randn(2, 8),))
    assert [group.layers for group in network.groups] == [("first", "twice")]
    assert network.macs == 8 * 16 + 2 * 16 * 16 + 16 * 3


def test_what_feeds_the_output_is_excluded_with_a_reason():
    network = Network.trace(tiny_model("mlp").build(), tiny_model("mlp").example_inputs())
    assert [e.reason for e in network.excluded] == ["it is the model's output"]


def test_levels_are_multiples_and_the_whole():
    group = Network.trace(tiny_model("chain").build(), tiny_model("chain").example_inputs()).groups[1]
    assert keep_counts(group, 8) == (8, 16, 24)
    assert keep_counts(group, 16) == (16, 24)
    assert keep_counts(group, 100) == (24,)


class Forbidding(nn.Module):
    """A softmax of which negative inputs are no part, with the number that transformers take for it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x).masked_fill(x < 0, torch.finfo(torch.float32).min).softmax(-1)


def test_a_number_that_bfloat16_cannot_hold_is_bounded():
    module = trace(Forbidding(), (torch.randn(2, 4),))
    with torch.autocast("cpu", torch.bfloat16):
        answer = module(-torch.ones(2, 4))
    torch.testing.assert_close(answer.float(), torch.full((2, 4), 0.25))
