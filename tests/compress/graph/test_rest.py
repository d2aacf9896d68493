"""What is stored beside the layers is counted, and listed with a true reason."""

import onnx
import pytest
import torch
from autocompress.compress import Network, Recipe
from autocompress.tests.models import TINY_MODELS, tiny_model
from onnx import numpy_helper
from torch import nn


@pytest.mark.parametrize("name", [row.name for row in TINY_MODELS])
def test_costs_count_all_that_the_file_stores(name, compressors, tmp_path):
    compressor = compressors(name)
    path = compressor.build(Recipe(), tmp_path).only.artifact.path
    stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)
    counted = compressor.network.cost(Recipe()).weight_bytes
    assert 0.93 * stored <= counted <= path.stat().st_size


class Everything(nn.Module):
    """A table, positions, an unusual product, and masks that are equal; `forward` has one line for each."""

    def __init__(self):
        super().__init__()
        self.table, self.layers = nn.Embedding(1000, 16), nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.positions = nn.Parameter(torch.randn(1, 8, 16))
        self.mixed = nn.Parameter(torch.randn(4, 16, 16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)
        for name in ("mask1", "mask2"):
            self.register_buffer(name, torch.ones(8, 1))

    def forward(self, tokens):
        x = self.table(tokens) + self.positions
        x = x + self.layers[0](x) * self.mask1
        x = x + self.layers[1](x) * self.mask2
        x = torch.einsum("ntc,gcd->ntd", self.norm(x), self.mixed)
        return self.head(x.mean(1))


@pytest.fixture(scope="module")
def everything():
    return Network.trace(Everything().eval(), (torch.randint(1000, (2, 8)),))


def test_a_weight_that_is_no_layer_is_listed_with_the_operation_that_reads_it(everything):
    reasons = {each.name: each.reason for each in everything.excluded if "float32" in each.reason}
    assert reasons.keys() == {"positions", "mixed"}
    assert "add (test_rest.py:" in reasons["positions"]
    assert "einsum (test_rest.py:" in reasons["mixed"]


def test_a_table_of_an_embedding_is_a_layer_without_arithmetic(everything):
    (table,) = (layer for layer in everything.layers if layer.kind == "embedding")
    assert (table.name, table.macs, table.elements_in) == ("table", 0, 8)
    reason = table.float_only
    assert "a table from which embedding (test_rest.py:" in reason and "in table)" in reason
    stored = everything.cost(Recipe(precision={"table": "w4"})).weight_bytes
    assert everything.cost(Recipe()).weight_bytes - stored == pytest.approx(3.5 * 16_000 - 2_000, abs=300)


def test_tables_vectors_and_buffers_are_in_the_bytes_and_parameters(everything):
    cost = everything.cost(Recipe())
    outside = 8 * 16 + 4 * 16 * 16 + 2 * 16
    layers = 1000 * 16 + 2 * (16 * 16 + 16) + 16 * 3 + 3
    assert cost.parameters == everything.parameters == outside + layers
    assert cost.weight_bytes - sum(layer.bytes for layer in cost.layers) == 4 * (outside + 8)


def test_a_removed_block_takes_its_vectors_along():
    row = tiny_model("encoder")
    network = Network.trace(row.build(), row.example_inputs())
    recipe = Recipe(skip=(network.blocks[0].name,))
    gone = set(network.blocks[0].layers)
    layers = sum(layer.parameters for layer in network.layers if layer.name in gone)
    assert network.parameters - network.cost(recipe).parameters == layers + 2 * 32


def test_a_removed_channel_takes_its_column_of_a_table_along():
    model = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 3))
    network = Network.trace(model, (torch.randint(50, (2, 4)),))
    assert (
        network.cost(Recipe(keep={"0": 4})).weight_bytes < network.cost(Recipe()).weight_bytes - 12 * 50 * 4
    )


def test_masks_that_nothing_reads_without_a_block_are_not_counted(everything):
    every = tuple(block.name for block in everything.blocks)
    with_one = everything.cost(Recipe(skip=every[:1])).weight_bytes
    assert with_one - everything.cost(Recipe(skip=every)).weight_bytes > 8 * 4 + 16 * 17 * 4
