"""Tiny transformers of the table: separate and fused projections, a decoder with tied embedding and rotary
positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS = 6
VOCABULARY = 10


class Encoder(nn.Module):
    """One pre-norm block with separate query, key and value projections: 6 tokens of 12 numbers, width 32, 4
    heads.
    """

    heads = 4

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(12, 32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.out, self.fc1, self.fc2, self.head = (
            nn.Linear(32, 32),
            nn.Linear(32, 64),
            nn.Linear(64, 32),
            nn.Linear(32, 10),
        )

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head self-attention, N × T × 32 to N × T × 32."""
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """N × 6 × 12 to N × 10."""
        x = self.embed(x)
        x = x + self.attend(self.norm1(x))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        result: Tensor = self.head(x.mean(1))
        return result


class FusedAttention(nn.Module):
    """A pre-norm transformer block with a fused qkv projection: 6 tokens of 12 numbers, width 32, 4 heads."""

    heads = 4

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(12, 32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.fc1, self.fc2, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head self-attention, N × T × 32 to N × T × 32."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, -1)
        result: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """N × 6 × 12 to N × 10."""
        x = self.embed(x)
        x = x + self.attend(self.norm1(x))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        result: Tensor = self.head(x.mean(1))
        return result


class RootMeanSquare(nn.Module):
    """RMSNorm written by hand, as language models have it."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Decoder(nn.Module):
    """A language model of one block: tied embedding, RMSNorm, rotary positions, causal mask, gated MLP."""

    heads, width = 4, 32

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = (
            nn.Embedding(VOCABULARY, self.width),
            RootMeanSquare(32),
            nn.RMSNorm(32),
        )
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((32, 48), (32, 48), (48, 32))
        )
        self.norm3, self.head = RootMeanSquare(32), nn.Linear(32, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight
        angles = torch.arange(TOKENS)[:, None] / 100 ** (torch.arange(4) / 4)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", torch.cat([angles, angles], 1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], 1).sin())

    def rotate(self, x: Tensor) -> Tensor:
        """Rotary positions, N × H × T × D to the same shape."""
        low, high = x.chunk(2, -1)
        return x * self.cos + torch.cat([-high, low], -1) * self.sin

    def attend(self, x: Tensor) -> Tensor:
        """Causal self-attention, N × T × 32 to N × T × 32."""
        q, k, v = (
            layer(x).view(x.shape[0], TOKENS, self.heads, -1).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        result: Tensor = self.o(mixed.transpose(1, 2).reshape(x.shape[0], TOKENS, -1))
        return result

    def forward(self, tokens: Tensor) -> Tensor:
        """N × 6 token numbers to the N × 10 logits of the next token."""
        x = self.embed(tokens)
        x = x + self.attend(self.norm1(x))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        logits: Tensor = self.head(self.norm3(x))
        return logits[:, -1]
