"""Which channels can go: groups of the rarer architectures, and what a removed head takes with it."""

import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, keep_counts
from autocompress.compress.graph.graph import clone, get_tensor
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.student.prune import prune
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import tiny_model
from torch import nn

GROUPS = {
    "attention": [(("qkv",), 4), (("fc1",), 64)],
    "encoder": [(("query", "key", "value"), 4), (("fc1",), 64)],
    "decoder": [(("q", "k", "v"), 4), (("gate", "up"), 48)],
    "inverted_residual": [
        (("stem", "project"), 16),
        (("expand", "depthwise", "excite"), 48),
        (("squeeze",), 8),
    ],
    "upsampler": [(("down",), 16), (("up",), 12), (("last",), 8)],
    "one_dimensional": [(("0",), 16), (("4",), 24)],
    "gru": [(("embed",), 16), (("hidden",), 24)],
    "lstm": [(("embed",), 16), (("hidden",), 24)],
    "gpt": [(("c_attn",), 4), (("c_fc",), 64)],
    "products": [(("a",), 16), (("b",), 24), (("d",), 4), (("e",), 16)],
}


def network_of(name):
    row = tiny_model(name)
    return Network.trace(row.build(), row.example_inputs())


def traced(model, *inputs):
    return Network.trace(model, inputs)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_those_of_the_architecture(name):
    assert [(group.layers, group.channels) for group in network_of(name).groups] == GROUPS[name]


@pytest.mark.parametrize(("name", "output"), [("attention", "proj"), ("encoder", "out"), ("decoder", "o")])
@pytest.mark.parametrize("head", range(4))
def test_removing_a_head_zeroes_its_columns_of_the_output_projection(name, output, head):
    network = network_of(name)
    pruned = prune(network.module, network.channels, {network.groups[0].units[head].number})
    expected = clone(network.module)
    with torch.no_grad():
        get_tensor(expected, f"{output}.weight")[:, 8 * head : 8 * head + 8] = 0
    inputs = tiny_model(name).example_inputs()
    torch.testing.assert_close(pruned(*inputs), expected(*inputs), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(pruned(*inputs), network.module(*inputs), atol=1e-3)


def test_a_fused_projection_loses_rows_of_query_key_and_value():
    network = network_of("attention")
    unit = network.groups[0].units[1]
    rows = [*range(8, 16), *range(40, 48), *range(72, 80)]
    assert unit.indices["qkv.weight", 0].tolist() == rows and unit.indices["proj.weight", 1].tolist() == list(
        range(8, 16)
    )


def test_levels_of_heads_count_their_channels():
    heads = network_of("encoder").groups[0]
    assert [keep_counts(heads, multiple) for multiple in (4, 8, 16, 64)] == [
        (1, 2, 3, 4),
        (1, 2, 3, 4),
        (2, 4),
        (4,),
    ]


@pytest.mark.parametrize(
    "name", ["attention", "encoder", "decoder", "inverted_residual", "upsampler", "one_dimensional"]
)
def test_the_template_follows_pruning_without_a_new_export(name, tmp_path, monkeypatch):
    task = tiny_task(name)
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    compressor.build(Recipe(), tmp_path)
    monkeypatch.setattr(
        "autocompress.compress.onnx_file.templates.export_template", lambda *_: pytest.fail("exported again")
    )
    compressor.build(
        Recipe(keep={group.name: group.channels // 2 for group in compressor.network.groups}), tmp_path
    )


def test_a_tied_embedding_is_one_parameter():
    row = tiny_model("decoder")
    module = trace(row.build(), row.example_inputs())
    assert [
        name for name, tensor in module.named_parameters(remove_duplicate=False) if tensor.shape[0] == 10
    ] == ["head.weight"]


class Embedded(nn.Module):
    """A bag of words without normalization."""

    def __init__(self):
        super().__init__()
        self.table, self.hidden, self.last = nn.Embedding(20, 16), nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, tokens):
        return self.last(torch.relu(self.hidden(self.table(tokens)).mean(1)))


def test_columns_of_an_embedding_go_with_the_layer_that_reads_them():
    tokens = torch.randint(20, (2, 5))
    network = traced(Embedded(), tokens)
    assert [(group.name, group.channels) for group in network.groups] == [("table", 16), ("hidden", 12)]
    unit = network.groups[0].units[2]
    pruned, expected = prune(network.module, network.channels, {unit.number}), clone(network.module)
    with torch.no_grad():
        get_tensor(expected, "table.weight")[:, 2] = 0
    torch.testing.assert_close(pruned(tokens), expected(tokens))


class Heads(nn.Module):
    """Two projections that meet in a product; `form` is how."""

    def __init__(self, form):
        super().__init__()
        self.a, self.b, self.last, self.form = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4), form

    def forward(self, x):
        return self.last(self.form(self.a(x), self.b(x)))


def single_head(a, b):
    return torch.softmax(a @ b.transpose(1, 2), -1) @ b


def grouped_queries(a, b):
    q = a.view(-1, 6, 4, 2).transpose(1, 2)
    k = b.view(-1, 6, 2, 4)[..., :2].transpose(1, 2)
    mixed = nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    return mixed.transpose(1, 2).reshape(-1, 6, 8)


def shuffled(a, b):
    return (a + b).view(-1, 6, 2, 4).transpose(2, 3).reshape(-1, 6, 8)


@pytest.mark.parametrize("form", [single_head, grouped_queries, shuffled])
def test_other_forms_are_followed_rightly_or_not_at_all(form):
    x = torch.randn(2, 6, 8)
    network = traced(Heads(form).eval(), x)
    assert {layer.name for layer in network.layers} == {"a", "b", "last"}
    for group in network.groups:
        unit = group.units[0]
        pruned, expected = prune(network.module, network.channels, {unit.number}), clone(network.module)
        with torch.no_grad():
            for use in network.channels.uses:
                gone = torch.from_numpy(network.channels.roots(use.slots) == unit.number)
                if use.writes:
                    get_tensor(expected, use.parameter)[gone] = 0
        torch.testing.assert_close(pruned(x), expected(x), atol=1e-5, rtol=1e-4)


class TorchAttention(nn.Module):
    """`nn.MultiheadAttention` called in one of the ways that `call` stands for."""

    def __init__(self, call, *, batch_first=True):
        super().__init__()
        self.embed, self.attention, self.call = (
            nn.Linear(12, 32),
            nn.MultiheadAttention(32, 4, batch_first=batch_first),
            call,
        )

    def forward(self, x):
        return self.call(self.attention, self.embed(x)).mean(1)


MASK = torch.ones(6, 6, dtype=torch.bool).triu(1)
CALLS = {
    "default": lambda attention, x: attention(x, x, x)[0],
    "no weights": lambda attention, x: attention(x, x, x, need_weights=False)[0],
    "forbidding mask": lambda attention, x: attention(x, x, x, attn_mask=MASK)[0],
    "causal": lambda attention, x: attention(
        x, x, x, attn_mask=torch.zeros(6, 6).masked_fill(MASK, -1e9), is_causal=True, need_weights=False
    )[0],
    "weights used": lambda attention, x: attention(x, x, x)[1] @ x,
    "cross": lambda attention, x: attention(x, x[:, :3], x[:, :3])[0],
}


@pytest.mark.parametrize("call", CALLS)
def test_torchs_own_attention_answers_the_same_and_its_heads_are_found(call):
    torch.manual_seed(0)
    model, x = TorchAttention(CALLS[call]).eval(), torch.randn(2, 6, 12)
    network = traced(model, x)
    torch.testing.assert_close(network.module(x), model(x), atol=1e-5, rtol=1e-4)
    heads = [group for group in network.groups if group.name == "attention.in_proj_weight"]
    assert [group.channels for group in heads] == ([] if call in ("cross", "weights used") else [4])
    assert "forward" not in vars(model.attention)


def test_the_encoder_layer_of_torch_loses_heads_and_hidden_channels():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model, x = (
        nn.Sequential(nn.Linear(12, 32), layer, nn.Flatten(), nn.Linear(192, 10)).eval(),
        torch.randn(2, 6, 12),
    )
    network = traced(model, x)
    assert [group.channels for group in network.groups] == [4, 64]
    pruned = prune(network.module, network.channels, {network.groups[0].units[2].number})
    expected = clone(network.module)
    with torch.no_grad():
        get_tensor(expected, "1.self_attn.out_proj.weight")[:, 16:24] = 0
    torch.testing.assert_close(pruned(x), expected(x), atol=1e-5, rtol=1e-4)


class Mixer(nn.Module):
    """Convolves, normalizes and pools along the tokens: dimension 1 is not where the channels are."""

    def __init__(self, middle):
        super().__init__()
        self.embed, self.middle, self.last = nn.Linear(12, 8), middle, nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.middle(self.embed(x)))


@pytest.mark.parametrize(
    "middle", [nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.MaxPool1d(3, 1, 1)]
)
def test_layers_that_take_tokens_for_channels_leave_the_channels_whole(middle):
    network = traced(Mixer(middle).eval(), torch.randn(2, 8, 12))
    assert not [group for group in network.groups if "embed" in group.layers]
    assert "across these channels" in next(e.reason for e in network.excluded if e.name == "embed")


class Placed(nn.Module):
    """Places in an image beside its features: `new_full` takes the type of a tensor, and nothing else."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.first(x)
        return self.last(y).flatten(2) * y.new_full((16, 1), 4.0).transpose(0, 1)


def test_a_new_tensor_of_the_same_type_leaves_channels_free():
    x = torch.randn(2, 3, 4, 4)
    network = traced(Placed().eval(), x)
    (group,) = network.groups
    assert group.units and len(group.units) == 8
    pruned = prune(network.module, network.channels, {group.units[0].number})
    assert pruned(x).shape == (2, 2, 16)
