"""Kinds of networks that no library of `zoo_families` has in small: segmentation, detection, sound, volumes, pairs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = tuple[tuple[int, ...], ...]


def _block(into: int, out: int, stride: int = 1) -> nn.Sequential:
    layers = (nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.SiLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Three scales, whose maps the way up gets again, by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32)
        self.down = nn.ModuleList(
            nn.Sequential(_block(into, out), _block(out, out))
            for into, out in zip((3, 8, 16), widths, strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(into, into // 2, 2, 2) for into in (32, 16))
        self.join = nn.ModuleList(_block(into, into // 2) for into in (32, 16))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes for each pixel."""
        maps = []
        for index, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if index else x)
            maps.append(x)
        for up, join, kept in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = join(torch.cat([kept, up(x)], 1))
        scores: Tensor = self.head(x)
        return scores


class Yolo(nn.Module):
    """CSP stages, pyramid pooling, a way up by nearest neighbours, and a head on two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inside = _block(3, 16, 2), _block(8, 8)
        self.split, self.merge = _block(16, 16), _block(24, 16)
        self.deep, self.pooled = _block(16, 32, 2), _block(96, 32)
        self.wide = _block(48, 16)
        self.heads = nn.ModuleList(nn.Conv2d(width, 3 * 7, 1) for width in (16, 32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """For three anchors of each cell of both scales: box, objectness and scores of two classes."""
        a, b = self.split(self.stem(x)).chunk(2, 1)
        near = self.merge(torch.cat([a, b, b + self.inside(b)], 1))
        far = self.deep(near)
        once = F.max_pool2d(far, 5, 1, 2)
        far = self.pooled(torch.cat([far, once, F.max_pool2d(once, 5, 1, 2)], 1))
        near = self.wide(torch.cat([near, F.interpolate(far, scale_factor=2.0, mode="nearest")], 1))
        return _cells(self.heads[0](near)), _cells(self.heads[1](far))


def _cells(x: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    return x.view(batch, 3, 7, height, width).permute(0, 1, 3, 4, 2).sigmoid()


class Speech(nn.Module):
    """Dilated residual convolutions over samples, a recurrent network in both directions, scores for each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 16, 16, 8, 4)
        self.blocks = nn.ModuleList(nn.Conv1d(16, 16, 3, 1, step, step) for step in (1, 2, 4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) for _ in range(3))
        self.recurrent = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 12)

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the probabilities of twelve symbols, batch × frames × symbols."""
        x = self.stem(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = x + F.relu(norm(block(x)))
        x, _ = self.recurrent(x.transpose(1, 2))
        return F.log_softmax(self.head(x), -1)


class Volume(nn.Module):
    """Convolutions over three dimensions, a residual one among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 8, 3, 1, 1), nn.Conv3d(8, 8, 3, 1, 1)
        self.third, self.norm, self.head = nn.Conv3d(8, 16, 3, 2, 1), nn.BatchNorm3d(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes."""
        x = F.relu(self.first(x))
        x = F.max_pool3d(x + F.relu(self.second(x)), 2)
        x = F.relu(self.norm(self.third(x)))
        scores: Tensor = self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))
        return scores


class Siamese(nn.Module):
    """The same encoder on two inputs, compared by the cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _block(3, 8, 2), _block(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 16)
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """How alike the images are, -1 to 1."""
        a, b = (F.normalize(self.encoder(x), dim=1) for x in (one, other))
        return (a * b).sum(1, keepdim=True)


# By name: what makes the model, and the shapes of its inputs.
MADE: dict[str, tuple[Callable[[], nn.Module], Shapes]] = {
    "own unet": (UNet, ((3, 32, 32),)),
    "own yolo": (Yolo, ((3, 32, 32),)),
    "own speech": (Speech, ((1, 400),)),
    "own volume": (Volume, ((1, 8, 16, 16),)),
    "own siamese": (Siamese, ((3, 32, 32), (3, 32, 32))),
}
