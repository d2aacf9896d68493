"""Operations that write into their input: what a traced graph makes of them."""

import copy

import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.graph.tracing.trace import trace
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch, kind_task
from torch import nn
from torch.nn import functional as F

X = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class InPlace(nn.Module):
    """A residual network as torchvision and timm write it, its shortcut computed behind its branch."""

    def __init__(self):
        super().__init__()
        self.first, self.shortcut = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 1)
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.first(x))
        out = self.conv2(self.relu(self.conv1(x)))
        out += self.shortcut(x)
        return self.head(self.relu(out).mean((2, 3)))


class Changes(nn.Module):
    """Four channels, on which a function works in place."""

    def __init__(self, change):
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 4, 1), change

    def forward(self, x):
        return self.change(self.conv(x))


def part_changes(x):
    x[:, :2] += 1
    return x.mean((2, 3))


def view_shows_it(x):
    flat = x.flatten(1)
    F.relu(x, inplace=True)
    return flat.sum(1) + x.mean((1, 2, 3))


def read_again(x):
    y = F.relu(x, inplace=True)
    return x.mean((2, 3)) - 2 * y.amax((2, 3))


def dropped_out(x):
    y = F.dropout(x, 0.5, training=False)
    y += 1
    return x.mean((2, 3)) + y.amax((2, 3))


def in_another_type(x):
    y = x.mean((2, 3)).half()
    y += x.amax((2, 3))
    return y


CHANGES = [part_changes, view_shows_it, read_again, dropped_out, in_another_type]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_model_changes_in_place_stays_changed(change):
    model = Changes(change).eval()
    expected = copy.deepcopy(model)(X.clone())
    torch.testing.assert_close(trace(model, (X.clone(),))(X.clone()), expected)


def test_no_value_of_a_graph_is_written_over():
    graph = trace(InPlace().eval(), (X,)).graph
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert "aten.relu.default" in names and not any("_." in name for name in names)


def test_a_network_of_operations_in_place_builds(tmp_path):
    assert_builds_answer_like_torch(InPlace, X, folder=tmp_path)


def test_a_sensitivity_is_the_same_whatever_was_probed_before():
    model = InPlace().eval()
    probe = Compressor(kind_task(model, (X,)), Network.trace(model, (X[:2],))).probe
    recipes = [Recipe(precision={"shortcut": bits}) for bits in ("int2", "int4")]
    for recipe, divergence in probe.sensitivities(recipes):
        assert divergence == pytest.approx(probe.kl(recipe), rel=1e-4)


class Converts(nn.Module):
    """A network that is ready for other types, as those of transformers are."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 3)

    def forward(self, x):
        y = F.relu(self.conv(x.to(dtype=self.conv.weight.dtype))).to(torch.float32)
        kept = y.to(torch.float32, copy=True)
        kept += 1
        return self.head((y * kept.type_as(x)).mean((2, 3)))


def test_a_conversion_to_the_type_that_is_there_is_no_operation(tmp_path):
    model = Converts().eval()
    traced = trace(model, (X[:2],))
    names = [str(node.target) for node in traced.graph.nodes]
    assert sum(".to." in name or "type_as" in name for name in names) == 1  # the copy
    torch.testing.assert_close(traced(X), model(X))
    assert_builds_answer_like_torch(lambda: model, X, folder=tmp_path)
