"""Tiny networks of the table with rarer layers: inverted residual, transposed and 1-D convolution, GRU and
LSTM.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expansion, depthwise convolution, squeeze, excitation, hard-swish; then ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.project = (
            nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in ((3, 16, 3), (16, 48, 1), (48, 16, 1))
        )
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48, bias=False)
        self.norm, self.squeeze, self.excite = nn.BatchNorm2d(48), nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = F.relu6(self.stem(x))
        y = F.hardswish(self.norm(self.depthwise(F.hardswish(self.expand(x)))))
        y = y * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = F.relu6(x + self.project(y))
        result: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return result


class Upsampler(nn.Module):
    """Down by a strided convolution, up by a transposed one with BatchNorm, PReLU per channel and for all."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 16, 3, 2, 1), nn.ConvTranspose2d(16, 12, 2, 2)
        self.slopes, self.norm, self.slope = nn.PReLU(16), nn.BatchNorm2d(12), nn.PReLU()
        self.last, self.head = nn.Conv2d(12, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 × 8 to N × 10."""
        x = self.slope(self.norm(self.up(self.slopes(self.down(x)))))
        result: Tensor = self.head(F.elu(self.last(x)).mean((2, 3)))
        return result


class Recurrent(nn.Module):
    """A linear layer on 6 steps of 12 numbers, a recurrent layer, a classifier of its last output."""

    def __init__(self, layer: type[nn.GRU] | type[nn.LSTM]):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Linear(12, 16), nn.Linear(16, 24), nn.Linear(16, 10)
        self.recurrent = layer(24, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """N × 6 × 12 to N × 10."""
        output, _ = self.recurrent(self.hidden(torch.relu(self.embed(x))))
        result: Tensor = self.head(output[:, -1])
        return result


def one_dimensional() -> nn.Module:
    """Convolutions over 16 samples of 4 channels."""
    first = [nn.Conv1d(4, 16, 5, padding=2, bias=False), nn.BatchNorm1d(16), nn.SiLU(), nn.MaxPool1d(2)]
    second = [nn.Conv1d(16, 24, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(24, 10))
