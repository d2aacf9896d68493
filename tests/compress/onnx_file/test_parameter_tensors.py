"""Parameters that other operations than layers read: views, tensors made of parameters alone, buffers."""

import torch
import torch.nn.functional as F
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """A class token is expanded, positions are added."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 24, 4, 4), nn.LayerNorm(24)
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, 24))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 5, 24))
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)
        self.up, self.down, self.head = nn.Linear(24, 96), nn.Linear(96, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, 3, c // 3).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))
        x = x + self.down(F.gelu(self.up(x)))
        result: Tensor = self.head(x[:, 0])
        return result


class ConvNext(nn.Module):
    """Normalization of channels and layer scale by parameters seen as C × 1 × 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 2, 2), nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.weight, self.bias = nn.Parameter(torch.rand(16) + 0.5), nn.Parameter(torch.rand(16))
        self.up, self.down = nn.Conv2d(16, 64, 1), nn.Conv2d(64, 16, 1)
        self.gamma, self.head = nn.Parameter(torch.rand(16)), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = self.stem(x)
        y = self.depthwise(x)
        y = (y - y.mean(1, keepdim=True)) / torch.sqrt(y.var(1, keepdim=True) + 1e-6)
        y = y * self.weight[:, None, None] + self.bias[:, None, None]
        x = x + self.gamma[:, None, None] * self.down(F.gelu(self.up(y)))
        result: Tensor = self.head(x.mean((2, 3)))
        return result


class AllKindsOfTensors(nn.Module):
    """Buffers of many types, constants, products of parameters, and a parameter that is an output."""

    mask: Tensor
    rotation: Tensor
    short: Tensor
    brain: Tensor
    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.u, self.v = nn.Parameter(torch.randn(16, 4)), nn.Parameter(torch.randn(4, 16))
        self.temperature, self.query = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.randn(5, 16))
        self.register_buffer("mask", torch.arange(16) % 3 > 0, persistent=False)
        self.register_buffer("rotation", torch.polar(torch.ones(8), torch.rand(8)))
        self.register_buffer("short", torch.rand(16).half())
        self.register_buffer("brain", torch.rand(16).bfloat16())
        self.register_buffer("order", torch.randperm(16))
        self.plain = torch.rand(16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """N × 12 to N × 10 and N × 5 × 16."""
        y = F.relu(self.a(x))[:, self.order]
        y = torch.where(self.mask, y, 0.1 * y) * self.short.float() + self.brain.float() + self.plain
        turned = torch.view_as_real(torch.view_as_complex(y.reshape(-1, 8, 2)) * self.rotation).flatten(1)
        y = F.relu(self.b(turned)) + (y @ (self.u @ self.v).tanh()) * self.temperature.exp()
        query = self.query.unsqueeze(0).expand(len(x), -1, -1)
        return self.head(y), query


class ComputedWeights(nn.Module):
    """Weights and biases that are computed at each call, and layers that read parameters alone."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Linear(16, 10)
        self.scale, self.query = nn.Parameter(torch.rand(16) + 0.5), nn.Parameter(torch.randn(1, 16))
        self.small, self.of_query = nn.Linear(2, 16), nn.Linear(16, 16)
        self.register_buffer("table", torch.rand(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        w, n = self.conv.weight, self.norm
        assert self.conv.bias is not None
        standard = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        y = F.conv2d(x, standard, self.conv.bias * self.scale)
        y = F.batch_norm(y, n.running_mean, n.running_var, n.weight * self.scale, n.bias + self.scale)
        y = F.relu(y).mean((2, 3)) + F.relu(self.small(self.table)) * self.of_query(self.query)
        result: Tensor = self.last(y)
        return result


IMAGES, ROWS = torch.randn(64, 3, 8, 8), torch.randn(64, 12)


def test_a_class_token_and_positions_build_like_torch(tmp_path):
    network, sizes = assert_builds_answer_like_torch(VisionTransformer, IMAGES, folder=tmp_path)
    assert len(network.groups) == 2 and sizes["half"] < 0.7 * sizes["original"]


def test_layer_scale_and_normalization_over_channels_build_like_torch(tmp_path):
    network, sizes = assert_builds_answer_like_torch(ConvNext, IMAGES, folder=tmp_path)
    assert network.groups and sizes["int8"] < 0.7 * sizes["original"]


def test_tensors_of_every_kind_build_like_torch(tmp_path):
    network, _ = assert_builds_answer_like_torch(AllKindsOfTensors, ROWS, folder=tmp_path)
    assert {"a", "b", "head"} < {layer.name for layer in network.layers}  # and the product with u @ v


def test_weights_that_are_computed_from_parameters_are_layers(tmp_path):
    network, _ = assert_builds_answer_like_torch(ComputedWeights, IMAGES, folder=tmp_path)
    reasons = {layer.name: layer.float_only for layer in network.layers}
    assert reasons["conv"] == reasons["last"] == ""
    assert "does not depend on the model's inputs" in reasons["small"]
    assert "scale" not in {exclusion.name for exclusion in network.excluded}
