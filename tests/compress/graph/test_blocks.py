"""Residual blocks: which are found, what is left without them, and that the built artifact says the same as
torch.
"""

import itertools

import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.graph.blocks import find_blocks, remove_blocks
from autocompress.compress.graph.graph import layer_nodes
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.onnx_file.export import export_template
from autocompress.errors import StageError
from autocompress.tests.compress.artifacts import multiplications, run, weights_and_biases
from autocompress.tests.compress.graph.test_followed import Positions
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import tiny_model
from torch import nn

RESIDUAL = ["residual", "residual_projection", "zero_padded_shortcut", "depthwise", "attention"]


class Block(nn.Module):
    """x + conv2(relu(conv1(x))), as torchvision writes it: in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        out = self.conv2(F.relu(self.conv1(x), inplace=True))
        out += x
        return F.relu(out, inplace=True)


class Sums(nn.Module):
    """A model of 4 channels whose forward is a function of the model and its input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.rule = forward
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 1) for _ in range(3))
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.rule(self, self.first(x))


def traced(model, *shape):
    return trace(model, (torch.randn(2, *(shape or (3, 8, 8)), generator=torch.Generator().manual_seed(0)),))


def blocks_of(forward, **layers):
    return find_blocks(traced(Sums(forward, **layers)))


@pytest.mark.parametrize(
    ("name", "names", "layers"),
    [
        ("residual", ["body"], ("body.0.0", "body.1.0")),
        ("residual_projection", ["body"], ("body.0.0", "body.1.0")),
        ("zero_padded_shortcut", ["body"], ("body.0.0", "body.1.0")),
        ("depthwise", ["body"], ("body.0.0", "body.1.0", "body.2.0")),
        ("attention", ["qkv-proj", "fc1-fc2"], ("qkv", "proj")),
        ("encoder", ["query-out", "fc1-fc2"], ("query", "key", "value", "out")),
        ("decoder", ["q-o", "gate-down"], ("q", "k", "v", "o")),
        ("chain", [], None),
        ("concat", [], None),
        ("squeeze_excite", [], None),
    ],
)
def test_the_blocks_of_the_tiny_models_are_those_that_a_person_sees(name, names, layers):
    row = tiny_model(name)
    blocks = find_blocks(trace(row.build(), row.example_inputs()))
    assert [block.name for block in blocks] == names
    assert not names or blocks[0].layers == layers


def test_blocks_of_two_stages_are_named_after_the_modules_around_their_layers():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(Block(), Block()))
    assert [(b.name, b.layers) for b in find_blocks(traced(model))] == [
        ("1.0", ("1.0.conv1", "1.0.conv2")),
        ("1.1", ("1.1.conv1", "1.1.conv2")),
    ]


def test_sums_in_place_become_their_shortcuts():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Block(), Block()).eval()
    module, x = traced(model), torch.randn(2, 3, 8, 8)
    expected = model[2](F.relu(model[0](x)))
    remove_blocks(module, find_blocks(module)[:1])
    torch.testing.assert_close(module(x), expected)


def test_a_block_inside_a_block_is_one_of_its_own_and_goes_with_the_outer_one():
    model = Sums(lambda m, x: m.c(x + m.b(F.relu(inner(m, x)))))

    def inner(m, x):
        y = m.d(x)
        return y + m.a(y)

    model.add_module("d", nn.Conv2d(4, 4, 1))
    module, x = traced(model), torch.randn(2, 3, 8, 8)
    blocks = find_blocks(module)
    assert [block.layers for block in blocks] == [("a",), ("d", "a", "b")]
    for order in (blocks, blocks[::-1]):
        module = traced(model)
        remove_blocks(module, order)
        torch.testing.assert_close(module(x), model.c(model.first(x)))


def test_blocks_with_the_same_prefix_get_names_that_differ():
    def forward(m, x):
        y = x + m.inner.b(m.inner.a(x))
        return m.c(y + m.inner.e(m.inner.d(y)))

    inner = nn.ModuleDict({name: nn.Conv2d(4, 4, 1) for name in "abde"})
    assert [block.name for block in blocks_of(forward, inner=inner)] == ["inner", "inner'"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.c(x + m.a(F.relu(m.b.weight.sum()) * x)),
        lambda m, x: m.c((y := m.a(x)) + m.b(F.relu(x)) * y),
        lambda m, x: (z := m.a(x), m.c(x + m.b(z)) + z)[1],
        lambda m, x: m.c(x + m.a(x).mean((2, 3), keepdim=True)).sum((2, 3)) + m.c.bias.reshape(1, 4),
    ],
    ids=["weight read twice", "second input", "side output", "broadcast shortcut kept"],
)
def test_only_branches_that_nothing_else_reads_are_blocks(forward):
    module = traced(Sums(forward))
    for block in find_blocks(module):
        assert "b" not in block.layers
        remaining = traced(Sums(forward))
        remove_blocks(remaining, [block])
        assert remaining(torch.randn(2, 3, 8, 8)).shape == module(torch.randn(2, 3, 8, 8)).shape


def test_a_shortcut_of_another_shape_cannot_stand_for_the_sum():
    assert blocks_of(lambda m, x: m.c(x.mean((2, 3), keepdim=True) + m.a(x))) == ()


def test_a_shared_convolution_is_no_removable_branch():
    assert blocks_of(lambda m, x: m.c((y := x + m.a(F.relu(x))) + m.a(y))) == ()


def test_a_branch_that_changes_its_input_in_place_leaves_the_changed_one():
    model, x = Sums(lambda m, x: m.c(x + m.a(F.relu(x, inplace=True)))), torch.randn(2, 3, 8, 8)
    module = traced(model)
    remove_blocks(module, find_blocks(module))
    torch.testing.assert_close(module(x), model.c(F.relu(model.first(x))))


def test_the_output_keeps_a_layer_when_all_blocks_are_removed():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            x = x + self.a(x)
            return x + self.b(x)

    module = traced(Bare(), 6)
    blocks = find_blocks(module)
    assert [block.layers for block in blocks] == [("b",)]
    remove_blocks(module, blocks)
    assert [name for name, _ in layer_nodes(module)] == ["a"]


def test_parameters_and_statistics_of_a_removed_branch_are_gone():
    row = tiny_model("residual_projection")
    module = trace(row.build(), row.example_inputs())
    remove_blocks(module, find_blocks(module))
    assert {name.split(".")[0] for name in module.state_dict()} == {"stem", "shortcut", "head"}


def last_layers(model, name):
    """Names of the last module in each residual branch of a tiny model."""
    if name == "attention":
        return ["proj", "fc2"]
    return [f"body.{len(list(model.get_submodule('body').children())) - 1}.1"]


@pytest.mark.parametrize("name", RESIDUAL)
def test_removing_equals_a_branch_that_adds_zero(name):
    row = tiny_model(name)
    model, inputs = row.build(), row.example_inputs()
    module = trace(model, inputs)
    with torch.no_grad():
        for last in last_layers(model, name):
            for parameter in model.get_submodule(last).parameters():
                parameter.zero_()
    remove_blocks(module, find_blocks(module))
    torch.testing.assert_close(module(*inputs), model(*inputs))


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_artifact_without_blocks_matches_torch_pruned_or_not_in_every_precision(
    name, compressors, tmp_path
):
    network = compressors(name).network
    halves = {group.name: max(1, group.channels // 2) for group in network.groups}
    int8 = {layer.name: "int8" for layer in network.layers}
    for keep, precision in itertools.product(({}, halves), ({}, int8)):
        recipe = Recipe(keep=keep, precision=precision, skip=tuple(block.name for block in network.blocks))
        result = compressors(name).build(recipe, tmp_path).only
        check_outputs(run(result.artifact.path, result.check.inputs), result.check)
        stored = {tensor.name for tensor in onnx.load(result.artifact.path).graph.initializer}
        assert not any(
            name.startswith(layer) for block in network.blocks for layer in block.layers for name in stored
        )


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_predicted_cost_is_that_of_the_artifact(name, compressors, tmp_path):
    network = compressors(name).network
    recipe = Recipe(skip=(network.blocks[-1].name,))
    model = onnx.load(compressors(name).build(recipe, tmp_path).only.artifact.path)
    cost = network.cost(recipe)
    assert multiplications(model) == cost.macs < network.macs
    assert weights_and_biases(model) == sum(layer.parameters for layer in cost.layers)


def test_no_structure_is_exported_again(compressors, tmp_path, monkeypatch):
    compressors("attention").build(Recipe(), tmp_path)
    monkeypatch.setattr(
        "autocompress.compress.onnx_file.templates.export_template", lambda *_: pytest.fail("exported again")
    )
    for skip in (("qkv-proj",), ("fc1-fc2",), ("fc1-fc2", "qkv-proj")):
        compressors("attention").build(Recipe(skip=skip), tmp_path)


def test_a_structure_that_onnx_cannot_follow_is_exported_once_and_kept(tmp_path, monkeypatch):
    task = tiny_task("residual")
    exports: list[tuple] = []

    def counting(*arguments):
        exports.append(arguments)
        return export_template(*arguments)

    monkeypatch.setattr("autocompress.compress.onnx_file.templates.edit_structure", lambda *_: None)
    monkeypatch.setattr("autocompress.compress.onnx_file.templates.export_template", counting)
    for keep in ({}, {"stem.0": 8}):
        compressor = Compressor(
            task, Network.trace(task.model, task.example_inputs), cache_dir=tmp_path / "cache"
        )
        result = compressor.build(Recipe(skip=("body",), keep=keep), tmp_path).only
        check_outputs(run(result.artifact.path, result.check.inputs), result.check)
    assert len(exports) == 2  # the original, and the structure


def test_a_recovered_model_without_its_block_matches_torch(compressors, tmp_path):
    recovery = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)
    result = compressors("residual").build(Recipe(skip=("body",), recovery=recovery), tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)


def test_an_unknown_block_is_a_failure_that_names_the_known_ones(compressors, tmp_path):
    with pytest.raises(StageError, match="no residual block 'layer9': its blocks are body"):
        compressors("residual").build(Recipe(skip=("layer9",)), tmp_path)


class Restoration(nn.Module):
    """Four residual blocks between a first and a last convolution, and a sum around all of it (EDSR)."""

    def __init__(self, *, long_skip=False):
        super().__init__()
        self.long_skip = long_skip
        self.head, self.last = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 1, 3, 1, 1)
        self.body = nn.Sequential(*(Block() for _ in range(4)))

    def forward(self, x):
        h = self.head(x)
        y = self.body(h)
        return x + self.last(h + y if self.long_skip else y)


@pytest.mark.parametrize("long_skip", [False, True])
def test_a_sum_around_the_whole_network_leaves_its_inner_blocks(long_skip):
    blocks = find_blocks(traced(Restoration(long_skip=long_skip), 1, 8, 8))
    names = [block.name for block in blocks]
    assert [f"body.{index}" for index in range(4)] == names[:4]
    assert not any("head" in layer for block in blocks for layer in block.layers)


class Masked(nn.Module):
    """Attention and a perceptron over tokens, of which zeros are padding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.query, self.key, self.value, self.project = (nn.Linear(8, 8) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, tokens):
        x = self.embedding(tokens)
        mask = (tokens == 0)[:, None, :].to(x.dtype) * -1e4
        scores = self.query(x) @ self.key(x).mT + mask
        values = scores.float().softmax(-1).to(x.dtype) @ self.value(x)
        x = x + self.project(values)
        return self.out((x + self.mlp(x)).mean(1))


def test_a_padding_mask_does_not_hide_the_branch_of_an_attention():
    tokens = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(0))
    blocks = find_blocks(trace(Masked(), (tokens,)))
    assert [set(block.layers) for block in blocks] == [
        {"query", "key", "value", "project"},
        {"mlp.0", "mlp.2"},
    ]


def test_a_bias_of_positions_that_two_attentions_share_does_not_hide_their_branches():
    blocks = find_blocks(traced(Positions(), 6, 12))
    assert [block.name for block in blocks] == ["layers.0-out.0", "layers.1-out.1", "layers.2-out.2"]


def test_a_branch_that_reads_other_features_is_no_block():
    def two_sources(model, x):
        return x + model.b(x) * model.a(model.c(x)).detach()

    def across(model, x):
        y = model.a(x)
        return x + model.b(y + x) + y

    assert [set(block.layers) for block in blocks_of(two_sources)] == [{"a", "b", "c"}]
    assert all("a" not in block.layers for block in blocks_of(across))


def test_the_exporters_checks_of_types_read_nothing():
    graph = trace(Masked(), (torch.randint(0, 20, (2, 6)),)).graph
    assert not [node.name for node in graph.nodes if "assert" in node.name]
