"""The table of tiny models that every compression test runs over, each with hand-computed MACs and
parameters.

`TINY_MODELS` is the table, `tiny_model(name)` one row. MACs are of one sample, in convolutions and linear
layers only (products between activations, as in attention, do not count); parameters are all of them,
normalization included, running statistics not. Models are seeded, in eval mode, and BatchNorm has non-trivial
weights and running statistics. Import it as `autocompress.tests.models`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .models_convolutions import InvertedResidual, Recurrent, Upsampler, one_dimensional
from .models_images import (
    Concat,
    Split,
    SqueezeExcite,
    TwoInputs,
    chain,
    depthwise,
    flatten_linear,
    grouped,
    mlp,
    projection,
    residual,
    zero_padded,
)
from .models_products import Gpt, Products
from .models_transformers import TOKENS, VOCABULARY, Decoder, Encoder, FusedAttention

SIDE = 8
PIXELS = SIDE * SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """A row of the table. `build()` returns an equal model each time; `example_inputs()` have batch 2."""

    name: str
    build: Callable[[], nn.Module]
    example_inputs: Callable[[], tuple[Tensor, ...]]
    macs: int
    parameters: int
    exercises: str


def _seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A builder of `make()` with fixed weights and non-trivial normalization; the global generator is left
    alone.
    """

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = make()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.uniform_(-0.3, 0.5)
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    assert module.running_mean is not None and module.running_var is not None
                    module.running_mean.uniform_(-0.3, 0.3)
                    module.running_var.uniform_(0.3, 1.5)
        return model.eval()

    return build


def _inputs(*shapes: tuple[int, ...], below: int = 0) -> Callable[[], tuple[Tensor, ...]]:
    """Inputs of batch 2, the same at each call: standard normal, or integers from 0 to `below` - 1."""

    def make() -> tuple[Tensor, ...]:
        generators = [torch.Generator().manual_seed(i) for i in range(len(shapes))]
        if below:
            return tuple(
                torch.randint(below, (2, *shape), generator=g)
                for g, shape in zip(generators, shapes, strict=True)
            )
        return tuple(torch.randn(2, *shape, generator=g) for g, shape in zip(generators, shapes, strict=True))

    return make


def _row(
    name: str,
    make: Callable[[], nn.Module],
    *shapes: tuple[int, ...],
    macs: int,
    parameters: int,
    note: str,
    below: int = 0,
) -> TinyModel:
    inputs = _inputs(*shapes, below=below)
    return TinyModel(
        name=name,
        build=_seeded(make),
        example_inputs=inputs,
        macs=macs,
        parameters=parameters,
        exercises=note,
    )


_IMAGE = (3, SIDE, SIDE)
_STEM = 9 * 3 * 16  # weights of a 3×3 convolution 3 → 16
_QUARTER = PIXELS // 4  # pixels after a stride of 2

# fmt: off
# A convolution's MACs are its weights × output pixels; "+ 2·C" behind a weight count is BatchNorm's weight
# and bias.
TINY_MODELS: tuple[TinyModel, ...] = (
    _row(
        "chain", chain, _IMAGE,
        macs=_STEM * PIXELS + 9 * 16 * 24 * _QUARTER + 9 * 24 * 24 * _QUARTER + 24 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 16 * 24 + 2 * 24) + (9 * 24 * 24 + 2 * 24) + (24 * 10 + 10),
        note="plain chain with a stride: each channel group has one producer and one consumer",
    ),
    _row(
        "residual", residual, _IMAGE,
        macs=(_STEM + 9 * 16 * 24 + 9 * 24 * 16) * PIXELS + 16 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 16 * 24 + 2 * 24) + (9 * 24 * 16 + 2 * 16) + (16 * 10 + 10),
        note="identity shortcut: the stem and the block's last convolution are one group",
    ),
    _row(
        "residual_projection", projection, _IMAGE,
        macs=_STEM * PIXELS + (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * _QUARTER + 32 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 16 * 32 + 2 * 32) + (9 * 32 * 32 + 2 * 32)
        + (16 * 32 + 2 * 32) + 330,
        note="1×1 convolution shortcut: two convolutions are coupled by their sum, the stem is free",
    ),
    _row(
        "zero_padded_shortcut", zero_padded, _IMAGE,
        macs=_STEM * PIXELS + (9 * 16 * 32 + 9 * 32 * 32) * _QUARTER + 32 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 16 * 32 + 2 * 32) + (9 * 32 * 32 + 2 * 32) + 330,
        note="shortcut padded with zero channels: channel i of the stem meets channel i + 8 of the sum",
    ),
    _row(
        "concat", Concat, _IMAGE,
        macs=(9 * 3 * 8 + 3 * 16 + 9 * 24 * 16) * PIXELS + 40 * 10,
        parameters=(9 * 3 * 8 + 2 * 8) + (3 * 16 + 2 * 16) + (9 * 24 * 16 + 2 * 16) + (40 * 10 + 10),
        note="concatenations: consumers see several groups at offsets, one group has two consumers",
    ),
    _row(
        "split", Split, _IMAGE,
        macs=(9 * 3 * 32 + 9 * 16 * 16) * PIXELS + 32 * 10,
        parameters=(9 * 3 * 32 + 2 * 32) + (9 * 16 * 16 + 2 * 16) + 330,
        note="chunk and concatenation: halves of one convolution go different ways",
    ),
    _row(
        "depthwise", depthwise, _IMAGE,
        macs=(_STEM + 16 * 48 + 9 * 48 + 48 * 16) * PIXELS + 16 * 10,
        parameters=(_STEM + 2 * 16) + (16 * 48 + 2 * 48) + (9 * 48 + 2 * 48) + (48 * 16 + 2 * 16) + 170,
        note="inverted residual: expansion and depthwise convolution are one group, `groups` shrinks with it",
    ),
    _row(
        "grouped", grouped, _IMAGE,
        macs=(_STEM + 9 * 4 * 32 + 9 * 32 * 16) * PIXELS + 16 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 4 * 32 + 2 * 32) + (9 * 32 * 16 + 2 * 16) + 170,
        note="grouped convolution: channels go in equal shares from all four groups, or not at all",
    ),
    _row(
        "flatten_linear", flatten_linear, _IMAGE,
        macs=_STEM * PIXELS + 256 * 32 + 32 * 10,
        parameters=(_STEM + 16) + (256 * 32 + 32) + (32 * 10 + 10),
        note="flatten to linear: one channel is 16 columns of the linear layer; biases, no normalization",
    ),
    _row(
        "squeeze_excite", SqueezeExcite, _IMAGE,
        macs=(_STEM + 9 * 16 * 16) * PIXELS + 16 * 8 + 8 * 16 + 16 * 10,
        parameters=(_STEM + 2 * 16) + (9 * 16 * 16 + 2 * 16) + (16 * 8 + 8) + (8 * 16 + 16) + 170,
        note="gate: the stem and the excitation are coupled by a product",
    ),
    _row(
        "attention", FusedAttention, (6, 12),
        macs=6 * (12 * 32 + 32 * 96 + 32 * 32 + 32 * 64 + 64 * 32) + 32 * 10,
        parameters=(12 * 32 + 32) + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32)
        + 330 + 4 * 32,
        note="transformer block: fused qkv, LayerNorm, residual stream, linear layers on tokens",
    ),
    _row(
        "encoder", Encoder, (6, 12),
        macs=6 * (12 * 32 + 4 * 32 * 32 + 2 * 32 * 64) + 32 * 10,
        parameters=(12 * 32 + 32) + 4 * (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32) + 330 + 4 * 32,
        note="transformer block: a head is rows of three projections and columns of a fourth",
    ),
    _row(
        "decoder", Decoder, (TOKENS,), below=VOCABULARY,
        macs=6 * (4 * 32 * 32 + 3 * 32 * 48 + 32 * 10),
        parameters=10 * 32 + 4 * 32 * 32 + 3 * 32 * 48 + 3 * 32,
        note="language model: tied embedding, RMSNorm, rotary positions, causal mask, gated MLP",
    ),
    _row(
        "gpt", Gpt, (TOKENS,), below=VOCABULARY,
        macs=6 * (4 * 32 * 32 + 2 * 32 * 64 + 32 * 10),
        parameters=(10 + 8 + 10) * 32 + 4 * (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32) + 6 * 32,
        note="GPT-2 as transformers writes it: addmm with weights in × out, split, mask, positions",
    ),
    _row(
        "products", Products, (6, 12),
        macs=6 * (12 * 16 + 16 * 24 + 24 * 16) + 6 * 8 * 16 + 8 * 2 * 16 * 32 + 16 * 10,
        parameters=12 * 16 + 16 + 2 * 24 * 16 + 8 * 6 + 2 * 16 * 32 + 170,
        note="linear layers that are written as @, bmm and einsum with a parameter",
    ),
    _row(
        "inverted_residual", InvertedResidual, _IMAGE,
        macs=(_STEM + 16 * 48 + 9 * 48 + 48 * 16) * PIXELS + 48 * 8 + 8 * 48 + 16 * 10,
        parameters=(_STEM + 16) + (16 * 48 + 48) + (9 * 48 + 2 * 48) + (48 * 16 + 16)
        + (48 * 8 + 8) + (8 * 48 + 48) + 170,
        note="MobileNetV3's block: the gate joins expanded channels with the excitation; hard-swish, ReLU6",
    ),
    _row(
        "upsampler", Upsampler, _IMAGE,
        macs=_STEM * _QUARTER + 16 * 12 * 4 * _QUARTER + 9 * 12 * 8 * PIXELS + 8 * 10,
        parameters=(_STEM + 16) + 16 + (16 * 12 * 4 + 12 + 2 * 12) + 1 + (9 * 12 * 8 + 8) + (8 * 10 + 10),
        note="transposed convolution: its weight is in × out; PReLU with a slope per channel and with one",
    ),
    _row(
        "one_dimensional", one_dimensional, (4, 16),
        macs=5 * 4 * 16 * 16 + 3 * 16 * 24 * 4 + 24 * 10,
        parameters=(5 * 4 * 16 + 2 * 16) + (3 * 16 * 24 + 24) + (24 * 10 + 10),
        note="1-D convolutions, their normalization and pooling",
    ),
    _row(
        "gru", lambda: Recurrent(nn.GRU), (6, 12),
        macs=6 * (12 * 16 + 16 * 24 + 3 * 16 * (24 + 16)) + 16 * 10,
        parameters=(12 * 16 + 16) + (16 * 24 + 24) + 3 * 16 * (24 + 16 + 2) + 170,
        note="recurrent layer with three gates: its state stays whole, what enters it can lose channels",
    ),
    _row(
        "lstm", lambda: Recurrent(nn.LSTM), (6, 12),
        macs=6 * (12 * 16 + 16 * 24 + 4 * 16 * (24 + 16)) + 16 * 10,
        parameters=(12 * 16 + 16) + (16 * 24 + 24) + 4 * 16 * (24 + 16 + 2) + 170,
        note="recurrent layer with four gates and two states",
    ),
    _row(
        "two_inputs", TwoInputs, _IMAGE, (5,),
        macs=_STEM * PIXELS + 5 * 8 + 24 * 10,
        parameters=(_STEM + 2 * 16) + (5 * 8 + 8) + (24 * 10 + 10),
        note="two inputs of different rank, concatenated as vectors",
    ),
    _row(
        "mlp", mlp, (20,),
        macs=20 * 32 + 32 * 24 + 24 * 10,
        parameters=(20 * 32 + 32) + (32 * 24 + 24 + 2 * 24) + (24 * 10 + 10),
        note="linear layers only, BatchNorm1d behind a linear layer with bias",
    ),
)
# fmt: on


def tiny_model(name: str) -> TinyModel:
    """The row called `name`."""
    return next(row for row in TINY_MODELS if row.name == name)
