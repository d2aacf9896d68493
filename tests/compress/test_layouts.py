"""Views that fit the memory of the traced tensors: a candidate's lie otherwise, and are reshaped."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch, kind_task
from torch import Tensor, nn


class FlatByView(nn.Module):
    """The classifier reads all pixels, as in LeNet."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.first, self.norm = form, nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.head = nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.Linear(16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        flat = x.view(x.size(0), -1) if self.form == "view" else x.view_as(x).contiguous().view(-1, 16 * 16)
        result: Tensor = self.head(flat)
        return result


class Attention(nn.Module):
    """Heads are joined by a view of a copy, as in nanoGPT. Attention's kernel makes the copy superfluous."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(24, 24) for _ in range(4))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = (layer(x).view(n, tokens, 3, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).contiguous().view(n, tokens, -1))
        result: Tensor = self.head(x.mean(1))
        return result


IMAGES, TOKENS = torch.randn(32, 3, 8, 8), torch.randn(32, 5, 24)
KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "view": (lambda: FlatByView("view"), IMAGES),
    "view_as": (lambda: FlatByView("view_as"), IMAGES),
    "attention": (Attention, TOKENS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_answer_like_torch(kind, tmp_path):
    make, x = KINDS[kind]
    assert_builds_answer_like_torch(make, x, folder=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_runs_them(kind):
    torch.manual_seed(0)
    make, x = KINDS[kind]
    task = kind_task(make().eval(), (x,))
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    halves = {group.name: group.channels // 2 for group in compressor.network.groups if group.channels > 1}
    assert compressor.probe.kl(Recipe()) == pytest.approx(0, abs=1e-6)
    assert compressor.probe.kl(Recipe(keep=halves)) > 0
