"""Tiny networks of the table for images: residual, concatenated, split, gated, grouped; and an MLP."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Convolution (same padding, no bias) → BatchNorm → ReLU (unless `act` is False)."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, act: bool = True
    ):
        convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(c_out), nn.ReLU() if act else nn.Identity())


class Head(nn.Module):
    """Global average pooling → flatten → linear layer to 10 classes."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × C × H × W to N × 10."""
        result: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return result


class Residual(nn.Module):
    """stem → relu(body(x) + shortcut(x)) → head."""

    def __init__(self, stem: nn.Module, body: nn.Module, shortcut: nn.Module, head: nn.Module):
        super().__init__()
        self.stem, self.body, self.shortcut, self.head = stem, body, shortcut, head

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = self.stem(x)
        result: Tensor = self.head(F.relu(self.body(x) + self.shortcut(x)))
        return result


class ZeroPad(nn.Module):
    """Stride-2 sampling and `pad` zero channels on each side: the parameterless shortcut of CIFAR ResNets."""

    def __init__(self, pad: int):
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """N × C × H × W to N × (C + 2·pad) × H/2 × W/2."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class Concat(nn.Module):
    """Two branches of one input, concatenated; then the sum is concatenated with its own input (as in
    DenseNet).
    """

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = ConvNorm(3, 8), ConvNorm(3, 16, 1)
        self.merge, self.head = ConvNorm(24, 16), Head(40)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = torch.cat([self.left(x), self.right(x)], 1)
        result: Tensor = self.head(torch.cat([x, self.merge(x)], 1))
        return result


class Split(nn.Module):
    """Channels chunked in two halves, one convolved, joined again (as in ShuffleNet or C2f)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.head = ConvNorm(3, 32), ConvNorm(16, 16), Head(32)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        unchanged, changed = self.stem(x).chunk(2, 1)
        result: Tensor = self.head(torch.cat([unchanged, self.branch(changed)], 1))
        return result


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate computed from their own means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = ConvNorm(3, 16), ConvNorm(16, 16), Head(16)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = self.stem(x)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        result: Tensor = self.head(self.last(x * gate))
        return result


class TwoInputs(nn.Module):
    """An image and a vector of 5 numbers, joined before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.vector, self.head = ConvNorm(3, 16), nn.Linear(5, 8), nn.Linear(24, 10)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        """N × 3 × 8 × 8 and N × 5 to N × 10."""
        pooled = F.adaptive_avg_pool2d(self.image(image), 1).flatten(1)
        result: Tensor = self.head(torch.cat([pooled, F.relu(self.vector(vector))], 1))
        return result


def chain() -> nn.Module:
    return nn.Sequential(ConvNorm(3, 16), ConvNorm(16, 24, stride=2), ConvNorm(24, 24), Head(24))


def residual() -> nn.Module:
    return Residual(
        ConvNorm(3, 16), nn.Sequential(ConvNorm(16, 24), ConvNorm(24, 16, act=False)), nn.Identity(), Head(16)
    )


def projection() -> nn.Module:
    body = nn.Sequential(ConvNorm(16, 32, stride=2), ConvNorm(32, 32, act=False))
    return Residual(ConvNorm(3, 16), body, ConvNorm(16, 32, 1, stride=2, act=False), Head(32))


def zero_padded() -> nn.Module:
    body = nn.Sequential(ConvNorm(16, 32, stride=2), ConvNorm(32, 32, act=False))
    return Residual(ConvNorm(3, 16), body, ZeroPad(8), Head(32))


def depthwise() -> nn.Module:
    body = nn.Sequential(ConvNorm(16, 48, 1), ConvNorm(48, 48, groups=48), ConvNorm(48, 16, 1, act=False))
    return Residual(ConvNorm(3, 16), body, nn.Identity(), Head(16))


def grouped() -> nn.Module:
    return nn.Sequential(ConvNorm(3, 16), ConvNorm(16, 32, groups=4), ConvNorm(32, 16), Head(16))


def flatten_linear() -> nn.Module:
    convolutions = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))


def mlp() -> nn.Module:
    hidden = [nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.BatchNorm1d(24), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(24, 10))
