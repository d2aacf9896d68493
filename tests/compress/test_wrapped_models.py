"""Models with wrappers and computed weights build like plain ones."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

SERIES = torch.randn(64, 8, 32)


class Block(nn.Module):
    """Two causal convolutions with normalized weights beside a shortcut."""

    def __init__(self, width: int, norm):
        super().__init__()
        self.a = norm(nn.Conv1d(width, width, 3, padding=2))
        self.b = norm(nn.Conv1d(width, width, 3, padding=4, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        """N × C × T to the same."""
        y = F.relu(self.a(x)[:, :, :-2].contiguous())
        return F.relu(x + self.b(y)[:, :, :-4])


class TemporalNetwork(nn.Module):
    """A keyword spotter; both norms come in an older and a newer kind."""

    def __init__(self, weight, spectral):
        super().__init__()
        self.stem, self.block = weight(nn.Conv1d(8, 16, 3, padding=1)), Block(16, weight)
        self.hidden, self.out = spectral(nn.Linear(16, 24)), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        """N × 8 × T to N × 5."""
        result: Tensor = self.out(F.relu(self.hidden(self.block(self.stem(x))[:, :, -1])))
        return result


NORMS: dict[str, Any] = {
    "hooks": (weight_norm, spectral_norm),
    "parametrizations": (parametrizations.weight_norm, parametrizations.spectral_norm),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("norms", NORMS.values(), ids=NORMS.keys())
def test_normalized_layers_are_pruned_and_quantized_like_others(norms, tmp_path):
    network, sizes = assert_builds_answer_like_torch(lambda: TemporalNetwork(*norms), SERIES, folder=tmp_path)
    assert [layer.name for layer in network.layers] == ["stem", "block.a", "block.b", "hidden", "out"]
    assert len(network.groups) == 3 and sizes["int8"] < 0.6 * sizes["original"]


def plain() -> nn.Module:
    """N × 8 × 32 to N × 5."""
    return nn.Sequential(nn.Conv1d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(480, 5))


WRAPPED = {
    "DataParallel": lambda: nn.DataParallel(plain()),
    "torch.compile": lambda: torch.compile(plain(), backend="eager"),
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrapped_models_have_the_layers_of_the_model_inside(make, tmp_path):
    network, _ = assert_builds_answer_like_torch(make, SERIES, folder=tmp_path)
    assert [layer.name for layer in network.layers] == ["0", "3"] and len(network.groups) == 1
