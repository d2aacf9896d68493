"""Tiny networks of the table whose linear layers are products: `addmm`, `@`, `einsum`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv1D(nn.Module):
    """The linear layer of GPT-2 in transformers: its weight is in × out."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.n_out = n_out
        self.weight, self.bias = (
            nn.Parameter(torch.randn(n_in, n_out) * n_in**-0.5),
            nn.Parameter(torch.zeros(n_out)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """… × in to … × out."""
        out = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return out.view(*x.shape[:-1], self.n_out)


class Gpt(nn.Module):
    """One block of GPT-2 as transformers writes it: positions, one projection split in three, causal mask."""

    heads, width, tokens = 4, 32, 6

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(10, 32), nn.Embedding(8, 32)
        self.ln_1, self.ln_2, self.ln_f = (nn.LayerNorm(32) for _ in range(3))
        self.c_attn, self.c_proj = Conv1D(32, 96), Conv1D(32, 32)
        self.c_fc, self.c_proj2 = Conv1D(32, 64), Conv1D(64, 32)
        self.lm_head = nn.Linear(32, 10, bias=False)
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(1, 1, 8, 8).tril().bool())

    def attend(self, x: Tensor) -> Tensor:
        """N × T × 32 to the same shape."""
        size = x.shape[1]
        q, k, v = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.c_attn(x).split(self.width, dim=2)
        )
        scores = q @ k.transpose(-1, -2) / 8**0.5
        scores = torch.where(self.mask[:, :, :size, :size], scores, torch.full([], -1e4))
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2)
        result: Tensor = self.c_proj(mixed.reshape(*x.shape[:2], self.width))
        return result

    def forward(self, tokens: Tensor) -> Tensor:
        """N × 6 token numbers to the N × 10 logits of the next token."""
        positions = torch.arange(tokens.shape[1])[None]
        x = self.wte(tokens) + self.wpe(positions)
        x = x + self.attend(self.ln_1(x))
        x = x + self.c_proj2(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits[:, -1]


class Products(nn.Module):
    """x @ w, x @ w.T, w @ x, bmm with an expanded parameter, einsum with one and with two summed indices."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"a": (12, 16), "b": (24, 16), "mix": (8, 6), "c": (24, 16), "d": (16, 4, 8), "e": (4, 8, 16)}
        for name, size in sizes.items():
            scale = 0.3 if name != "mix" else 0.5
            self.register_parameter(name, nn.Parameter(scale * torch.randn(size)))
        self.a: Tensor
        self.b: Tensor
        self.c: Tensor
        self.mix: Tensor
        self.a_bias, self.head = nn.Parameter(torch.randn(16)), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """N × 6 × 12 to N × 10."""
        x = torch.relu(x @ self.a + self.a_bias)
        x = torch.relu(x @ self.b.T)
        x = torch.relu(torch.bmm(x, self.c.expand(x.shape[0], -1, -1)))
        x = torch.relu(self.mix @ x)
        y = torch.relu(torch.einsum("ntd,dhk->nthk", x, self.d))
        x = torch.relu(torch.einsum("...hk,hkd->...d", y, self.e))
        result: Tensor = self.head(x.mean(1))
        return result
