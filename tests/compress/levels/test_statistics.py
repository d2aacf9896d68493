"""Second moments of layer inputs against explicit patches."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress.graph.graph import layer_nodes
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.levels.statistics import (
    columns_of,
    groups_of_layer,
    input_moments,
    input_vectors,
    output_vectors,
)
from autocompress.tests.models import TINY_MODELS, tiny_model
from torch import nn


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3),
        nn.Conv2d(6, 6, (1, 3), groups=6),
    ],
    ids=["strided", "grouped and dilated", "depthwise"],
)
def test_moments_of_a_convolution_are_those_of_its_patches(convolution):
    x = torch.randn(4, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    moments = input_moments(trace(nn.Sequential(convolution), (x,)), [(x[:2],), (x[2:],)])["0"]
    patches = F.unfold(
        x, convolution.kernel_size, convolution.dilation, convolution.padding, convolution.stride
    )
    vectors = (
        patches.transpose(1, 2)
        .reshape(-1, convolution.groups, patches.shape[1] // convolution.groups)
        .transpose(0, 1)
    )
    torch.testing.assert_close(moments.second, vectors.mT @ vectors / vectors.shape[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moments.mean, vectors.mean(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [row.name for row in TINY_MODELS])
def test_input_vectors_times_the_weight_are_the_outputs(name):
    row = tiny_model(name)
    module = trace(row.build(), row.example_inputs())
    calls: dict[str, list] = {}

    class Watch(torch.fx.Interpreter):
        def run_node(self, n):
            if n in nodes:
                calls[nodes[n]] = [self.env[argument] for argument in n.args[:2]] + [super().run_node(n), n]
                return calls[nodes[n]][2]
            return super().run_node(n)

    nodes = {node: layer for layer, node in layer_nodes(module)}
    with torch.inference_mode():
        Watch(module).run(*row.example_inputs())
    for layer, (x, weight, y, node) in calls.items():
        generators = [torch.Generator().manual_seed(3) for _ in range(2)]
        vectors = input_vectors(node, x, weight, rows=50, generator=generators[0])
        bias = (
            0
            if len(node.args) < 3 or node.args[2] is None
            else module.get_parameter(node.args[2].target).detach()
        )
        product = (vectors @ columns_of(weight, groups_of_layer(node)).mT).transpose(0, 1).flatten(1) + bias
        expected = output_vectors(node, y, rows=50, generator=generators[1])
        torch.testing.assert_close(product, expected, rtol=1e-3, atol=1e-4, msg=layer)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_paddings_given_by_name_are_understood(padding):
    x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    layer = nn.Conv2d(3, 4, 4, padding=padding, bias=False)
    padded = F.pad(x, (1, 2, 1, 2)) if padding == "same" else x
    patches = F.unfold(padded, 4).transpose(1, 2).reshape(-1, 48)
    with warnings.catch_warnings():  # torch says that an even kernel costs a copy
        warnings.simplefilter("ignore")
        moments = input_moments(trace(nn.Sequential(layer), (x,)), [(x,)])["0"]
    torch.testing.assert_close(moments.second[0], patches.T @ patches / len(patches), rtol=1e-4, atol=1e-4)


def test_a_layers_sample_does_not_depend_on_which_others_are_asked_for():
    x = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    module = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)), (x[:2],))
    both, alone = input_moments(module, [(x,)]), input_moments(module, [(x,)], layers=["1"])
    assert torch.equal(both["1"].second, alone["1"].second)
