"""Operations that channels pass: what is removed, and that a file without it answers like torch."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Network
from autocompress.compress.graph.graph import clone, get_tensor
from autocompress.compress.student.prune import prune
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch
from torch import Tensor, nn


class Attention(nn.Module):
    """8 query heads of 2 key and value heads; `form` is how heads are repeated, and whether one layer makes all."""

    def __init__(self, form):
        super().__init__()
        self.embed, self.form, self.out, self.head = (
            nn.Linear(12, 32),
            form,
            nn.Linear(32, 32),
            nn.Linear(32, 10),
        )
        sizes = {"qkv": 48} if form == "split" else {"q": 32, "k": 8, "v": 8}
        for name, size in sizes.items():
            self.add_module(name, nn.Linear(32, size))
        angles = torch.arange(6)[:, None] / 10 ** torch.arange(2)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def rotate(self, x):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * self.cos - b * self.sin, a * self.sin + b * self.cos), -1).flatten(-2)

    def repeated(self, x):
        if self.form == "expand":
            return x[:, :, None].expand(-1, -1, 4, -1, -1).reshape(x.shape[0], 8, 6, 4)
        return x.repeat_interleave(4, 1)

    def forward(self, x):
        x = F.gelu(self.embed(x))
        made = [layer(x) for name, layer in self.named_children() if name in ("q", "k", "v", "qkv")]
        parts = made[0].split([32, 8, 8], -1) if self.form == "split" else made
        q, k, v = (part.view(*part.shape[:2], -1, 4).transpose(1, 2) for part in parts)
        k, v = self.repeated(self.rotate(k)), self.repeated(v)
        mixed = F.scaled_dot_product_attention(self.rotate(q), k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape[0], 6, -1))
        return self.head(F.layer_norm(x, (32,)).mean(1))


class Window(nn.Module):
    """Swin's block: rolled tokens, windows, a table of biases of positions."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.proj = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm, self.up, self.down, self.head = (
            nn.LayerNorm(16),
            nn.Linear(16, 24),
            nn.Linear(24, 16),
            nn.Linear(16, 10),
        )
        self.index: Tensor
        self.table = nn.Parameter(torch.randn(9, 4))
        places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
        offset = (places[:, :, None] - places[:, None]).permute(1, 2, 0) + 1
        self.register_buffer("index", offset[..., 0] * 3 + offset[..., 1])

    def forward(self, x):
        x = self.embed(x).permute(0, 2, 3, 1)
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(-1, 2, 2, 2, 2, 16).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 16)
        q, k, v = self.qkv(y).reshape(-1, 4, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1).contiguous()
        y = ((q * 0.5) @ k.transpose(-2, -1) + bias.unsqueeze(0)).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(-1, 4, 16))
        y = y.view(-1, 2, 2, 2, 2, 16).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, 16)
        x = x + torch.roll(y, (1, 1), (1, 2))
        return self.head((x + self.down(F.gelu(self.up(self.norm(x))))).mean((1, 2)))


class Shuffled(nn.Module):
    """A shuffle of channels, depth to space, layer scale, a gate of 1 - x, and a flattened permutation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.up, self.c = nn.Conv2d(16, 32, 1), nn.Conv2d(8, 12, 3, 4, 1)
        self.gamma, self.gate, self.head = nn.Parameter(torch.rand(8)), nn.Conv2d(8, 8, 1), nn.Linear(192, 10)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = F.relu(self.b(x.view(-1, 2, 8, 8, 8).transpose(1, 2).reshape(-1, 16, 8, 8)))
        x = self.gamma[:, None, None] * F.pixel_shuffle(self.up(x), 2)
        x = x * (1 - torch.sigmoid(self.gate(x)))
        return self.head(F.relu(self.c(x)).permute(0, 2, 3, 1).flatten(1))


class Tuples(nn.Module):
    """Results that come with their places; a GRU that reads channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 12, 1)
        self.pool, self.gru, self.head = (
            nn.AdaptiveMaxPool1d(6, return_indices=True),
            nn.GRU(12, 8, batch_first=True),
            nn.Linear(20, 10),
        )

    def forward(self, x):
        x = self.b(F.relu(self.pool(self.a(x))[0]))
        best = x.max(2)[0]
        return self.head(torch.cat((self.gru(x.transpose(1, 2))[0][:, -1], best), 1))


class OtherType(nn.Module):
    """EVA's rotary positions: computed in another type, which `type_as` turns back."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(12, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.head((self.a(x).double() * 0.5).type_as(x).relu().mean(1))


class Positions(nn.Module):
    """T5's bias, which two attentions share and a mask cuts, and LeViT's, of which each entry is a column."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(12, 16), nn.Linear(16, 10)
        self.layers = nn.ModuleList(nn.Linear(16, 48) for _ in range(3))
        self.out = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.table, self.columns = nn.Embedding(11, 4), nn.Parameter(torch.randn(4, 11))
        self.places: Tensor
        self.register_buffer("places", torch.arange(6)[:, None] - torch.arange(6) + 5)

    def attend(self, layer, x, bias):
        q, k, v = (part.view(-1, 6, 4, 4).transpose(1, 2) for part in self.layers[layer](x).split(16, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, bias)
        return self.out[layer](mixed.transpose(1, 2).contiguous().reshape(-1, 6, 16))

    def forward(self, x):
        bias = self.table(self.places).permute(2, 0, 1).unsqueeze(0)
        bias = torch.where((x[:, None, None, :, 0] > -1).expand(-1, -1, 6, -1), bias, -1e4).contiguous()
        x = self.embed(x)
        x = x + self.attend(0, F.layer_norm(x, (16,)), bias)
        x = x + self.attend(1, F.layer_norm(x, (16,)), bias)
        x = x + self.attend(2, F.layer_norm(x, (16,)), self.columns[:, self.places])
        return self.head(F.layer_norm(x, (16,)).mean(1))


class OneHead(nn.Module):
    """PVT's first stage: one head; a class token; LeViT's normalization of all tokens, ResMLP's scale and shift."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)
        self.q, self.kv, self.out = nn.Linear(16, 8), nn.Linear(16, 16), nn.Linear(8, 16)
        self.token, self.scale, self.shift = (nn.Parameter(torch.randn(1, 1, 16)) for _ in range(3))

    def forward(self, x):
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), self.embed(x)), 1)
        x = self.norm(x.flatten(0, 1)).reshape_as(x)
        x = torch.addcmul(self.shift, self.scale, F.normalize(x, dim=1))
        q = self.q(x).reshape(-1, 7, 1, 8).permute(0, 2, 1, 3)
        k, v = self.kv(x).reshape(-1, 7, 2, 1, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, 7, 8))
        return self.head(x[:, 0])


class Merged(nn.Module):
    """Heads in the batch dimension: torch's attention with padding, then DeBERTa's with relative positions."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(12, 16), nn.Linear(16, 10)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.q, self.k, self.v, self.far, self.out = (nn.Linear(16, 16) for _ in range(5))
        self.distances = nn.Parameter(torch.randn(1, 11, 16))
        self.places: Tensor
        self.register_buffer("places", torch.arange(6)[:, None] - torch.arange(6) + 5)

    def heads(self, x):
        x = x.view(*x.shape[:2], 4, 4)
        return x.permute(0, 2, 1, 3).contiguous().view(-1, x.size(1), 4)

    def forward(self, x):
        padding = (x[:, :, 0] < -0.5) & (torch.arange(6) > 0)
        x = self.embed(x)
        x = x + self.attention(x, x, x, key_padding_mask=padding)[0]
        y = F.layer_norm(x, (16,))
        q, k, v = (self.heads(layer(y)) for layer in (self.q, self.k, self.v))
        far = self.heads(self.far(self.distances)).repeat(x.shape[0], 1, 1)
        far = torch.bmm(q, far.transpose(-1, -2)).gather(-1, self.places[None].expand(q.size(0), -1, -1))
        scores = (torch.bmm(q, k.transpose(-1, -2) / 2) + far).view(-1, 4, 6, 6)
        scores = scores.masked_fill(padding[:, None, None], torch.finfo(x.dtype).min).softmax(-1)
        mixed = torch.bmm(scores.view(-1, 6, 6), v).view(-1, 4, 6, 4)
        x = x + self.out(mixed.permute(0, 2, 1, 3).reshape(-1, 6, 16))
        return self.head(F.layer_norm(x, (16,)).mean(1))


TOKENS, IMAGE = (6, 12), (3, 8, 8)
CASES = {
    "merged": (Merged, TOKENS, {"attention.in_proj_weight": 4, "q": 4}),
    "positions": (Positions, TOKENS, {"layers.0": 4, "layers.2": 4}),
    "one head": (OneHead, TOKENS, {"embed": 16, "q": 8}),
    "repeat_interleave": (lambda: Attention("repeat_interleave"), TOKENS, {"q": 2}),
    "expand": (lambda: Attention("expand"), TOKENS, {"q": 2}),
    "split": (lambda: Attention("split"), TOKENS, {"qkv": 2}),
    "other type": (OtherType, TOKENS, {"a": 16}),
    "window": (Window, IMAGE, {"qkv": 4, "up": 24}),
    "shuffled": (Shuffled, IMAGE, {"a": 8, "b": 16, "up": 8, "c": 12}),
    "tuples": (Tuples, (4, 12), {"a": 16, "b": 12}),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    make, shape, groups = CASES[request.param]
    return make().eval(), torch.randn(2, *shape), groups


def test_the_channels_are_groups(case):
    model, x, groups = case
    network = Network.trace(model, (x,))
    assert {group.name: group.channels for group in network.groups} == groups


def test_a_removed_unit_is_what_zeros_in_its_readers_leave(case):
    """Readers of a removed channel find 0: what makes and what reads it is set to zero in the original."""
    model, x, _ = case
    network = Network.trace(model, (x,))
    for group in network.groups:
        unit = group.units[1]
        pruned, expected = prune(network.module, network.channels, {unit.number}), clone(network.module)
        with torch.no_grad():
            for use in network.channels.uses:
                gone = torch.from_numpy(network.channels.roots(use.slots) == unit.number)
                get_tensor(expected, use.parameter).index_fill_(use.dim, gone.nonzero().flatten(), 0.0)
        torch.testing.assert_close(pruned(x), expected(x), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(pruned(x), network.module(x), atol=1e-4)


@pytest.mark.slow
def test_files_without_half_of_the_channels_answer_like_torch(case, tmp_path):
    model, x, _ = case
    assert_builds_answer_like_torch(lambda: model, x.repeat(32, *[1] * (x.dim() - 1)), folder=tmp_path)


class Unfollowed(nn.Module):
    """Channels that are sorted, in a part of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(torch.sort(x, -1)[0])


def test_a_reason_names_the_operation_and_the_line_of_the_users_code():
    network = Network.trace(nn.Sequential(nn.Identity(), Unfollowed()), (torch.randn(2, 12),))
    reason = next(each.reason for each in network.excluded if each.name == "1.first")
    line = next(
        n
        for n, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "torch.sort(x, -1)[0]" in text
    )
    assert reason == f"its channels enter sort (test_followed.py:{line} in 1), which cannot lose any"


class AfterNorm(nn.Module):
    """A sum with what a normalization has made, as in BERT."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(x)
        return self.head(x + self.layer(x))


def test_a_sum_with_whole_channels_says_where_those_come_from():
    network = Network.trace(AfterNorm(), (torch.randn(2, 8),))
    reason = next(each.reason for each in network.excluded if each.name == "layer")
    assert reason.startswith(
        "its channels meet those of layer_norm, which stay whole, in add (test_followed.py:"
    )


class Mixed(nn.Module):
    """ConvNeXt's stem, whose normalization a depthwise convolution reads; then positions are mixed (Mixer)."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.depthwise(x).flatten(2)
        return self.head((x + self.mix(x)).mean(2))


def test_reasons_are_those_of_the_normalization_and_of_the_mixed_positions():
    network = Network.trace(Mixed(), (torch.randn(2, 3, 8, 8),))
    reasons = {each.name: each.reason for each in network.excluded}
    assert reasons["stem"].startswith("layer_norm (test_followed.py:")
    assert reasons["depthwise"] == reasons["stem"]
    assert reasons["mix"].startswith("its channels meet those along another dimension in add (test_followed")


class Across(nn.Module):
    """torch's attention of one tensor to another."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 16), nn.Linear(12, 16), nn.Linear(16, 10)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.head(self.attention(self.first(x), self.second(x), self.second(x))[0])


def test_torchs_attention_of_one_tensor_to_another_loses_whole_heads():
    network = Network.trace(Across(), (torch.randn(2, 6, 12),))
    heads = next(group for group in network.groups if group.channels == 4)
    lost = sorted(len(index) for index in heads.units[0].indices.values())
    assert lost == [4] * 7  # rows of query, key and value, their biases; columns of the output
