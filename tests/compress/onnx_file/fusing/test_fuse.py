"""Fused files answer like torch, have one node where a runtime has one kernel, and leave alone what only
looks alike.
"""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Network, Recipe, check_outputs
from autocompress.compress.onnx_file.export import export_template, fill_template
from autocompress.compress.onnx_file.fusing.fuse import fuse
from autocompress.compress.onnx_file.run import answers
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.conftest import made_once
from torch import nn

FUSING = FileFormat(fused_operators=True)
TRANSFORMERS = {
    "attention": {"Attention": 1, "Split": 1},
    "encoder": {"Attention": 1},
    "decoder": {"Attention": 1, "RMSNormalization": 3, "RotaryEmbedding": 2},
    "gpt": {"Attention": 1},
}
SPELLED_OUT = {"Softmax", "Slice", "Sqrt", "Trilu"}


@pytest.fixture(scope="module")
def fusing(exports):
    """A function from a tiny model's name to a compressor whose format fuses."""
    return made_once(CompressorOptions(formats=(FUSING,)), exports)


def kinds_in(model):
    """How many nodes of each kind a model has."""
    return Counter(
        node.op_type for node in (onnx.load(model) if isinstance(model, str) else model).graph.node
    )


def exported(module, inputs):
    """The ONNX model of a module."""
    traced = Network.trace(module, (inputs,)).module
    return fill_template(export_template(traced, (inputs[:2],), 21), traced)


def fused(module, inputs):
    """The kinds of nodes after fusing, and whether the answers stayed the same for another batch."""
    model = exported(module.eval(), inputs)
    before = answers(model, (inputs,))[0]
    fuse(model)
    np.testing.assert_allclose(answers(model, (inputs,))[0], before, rtol=1e-4, atol=1e-5)
    return kinds_in(model)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_attention_rotary_positions_and_normalizations_become_one_node_each(name, fusing, tmp_path):
    built = fusing(name).build(Recipe(fused=True), tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    kinds = kinds_in(str(built.artifact.path))
    assert {kind: kinds[kind] for kind in TRANSFORMERS[name]} == TRANSFORMERS[name]
    assert not SPELLED_OUT & kinds.keys()


@pytest.mark.parametrize("precision", ["int8", "dynamic8", "int4", "w4", "block4"])
def test_layers_of_any_precision_stand_around_fused_nodes(precision, fusing, tmp_path):
    compressor = fusing("decoder")
    layers = {layer.name: precision for layer in compressor.network.layers if not layer.float_only}
    built = compressor.build(Recipe(precision=layers, fused=True), tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    kinds = kinds_in(str(built.artifact.path))
    assert (kinds["Attention"], kinds["RMSNormalization"], kinds["Softmax"]) == (1, 3, 0)


@pytest.mark.parametrize("name", ["attention", "decoder"])
def test_pruned_heads_and_removed_blocks_fuse_too(name, fusing, tmp_path):
    compressor = fusing(name)
    keep = {group.name: max(1, group.channels // 2) for group in compressor.network.groups}
    built = compressor.build(Recipe(keep=keep, fused=True), tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    assert kinds_in(str(built.artifact.path))["Attention"] == 1
    blocks = tuple(sorted(block.name for block in compressor.network.blocks))[:1]
    built = compressor.build(Recipe(skip=blocks, fused=True), tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)


def test_a_format_without_such_kernels_keeps_the_file_as_exported(compressors, tmp_path):
    plain, joined = (
        compressors("encoder").build(Recipe(fused=fused), tmp_path).only.artifact.digest
        for fused in (False, True)
    )
    assert plain == joined


class Attending(nn.Module):
    """Attention of 4 heads (2 of keys and values if `grouped`) over 128 tokens, with any mask."""

    def __init__(self, mask=None, *, causal=False, grouped=False):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(32, 32), *(nn.Linear(32, 16 if grouped else 32) for _ in range(2))
        self.mask, self.causal, self.grouped = mask, causal, grouped

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (-1, 8)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.grouped:
            k, v = (one.repeat_interleave(2, 1) for one in (k, v))
        mask = None if self.mask is None else self.mask(x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return mixed.transpose(1, 2).flatten(2)


def window(x):
    """Hides what follows, and what stands 8 tokens before."""
    return torch.log(torch.tril(torch.ones(128, 128)) - torch.tril(torch.ones(128, 128), -8))


def of_every_other(x):
    """Causal for every other sample."""
    causal = torch.tril(torch.ones(128, 128)).log()[None, None]
    return torch.where((torch.arange(x.shape[0]) % 2 == 0)[:, None, None, None], causal, torch.zeros(()))


TOKENS = torch.randn(3, 128, 32, generator=torch.Generator().manual_seed(0))


def test_causal_attention_meets_only_the_keys_that_it_sees():
    kinds = fused(nn.Sequential(Attending(causal=True), Attending(causal=True, grouped=True)), TOKENS)
    assert (kinds["Attention"], kinds["Split"], kinds["Concat"]) == (8, 2, 2)
    assert (kinds["Softmax"], kinds["Expand"], kinds["Transpose"]) == (0, 0, 0)


def test_other_masks_are_given_to_the_kernel():
    masks = (lambda x: x[:, None, None, :, 0] > -1.0, window, of_every_other)
    kinds = fused(nn.Sequential(*(Attending(mask) for mask in masks)), TOKENS)
    assert (kinds["Attention"], kinds["Softmax"], kinds["Split"]) == (3, 0, 0)


class Turning(nn.Module):
    """Rotary positions whose angles grow along the tokens and, if `mixed`, from head to head, too."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, *, mixed):
        super().__init__()
        angles = torch.arange(128)[None, None, :, None] * 0.1 ** torch.arange(4)
        angles = angles * (1 + mixed * torch.arange(4)[None, :, None, None])
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())
        self.into = nn.Linear(32, 32)

    def forward(self, x):
        x = self.into(x).unflatten(-1, (4, 8)).transpose(1, 2)
        low, high = x.chunk(2, -1)
        x = x * self.cos + torch.cat([-high, low], -1) * self.sin
        return x.transpose(1, 2).flatten(2)


class Scaling(nn.Module):
    """Root mean square normalization over dimension `dim`."""

    def __init__(self, dim):
        super().__init__()
        self.weight, self.dim = nn.Parameter(torch.rand(32)), dim

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(self.dim, keepdim=True) + 1e-5) * self.weight


def test_what_only_looks_alike_stays():
    parts = (Turning(mixed=False), Turning(mixed=True), Scaling(-1), Scaling(1))
    kinds = fused(nn.Sequential(*parts), TOKENS)
    assert (kinds["RotaryEmbedding"], kinds["RMSNormalization"], kinds["ReduceMean"]) == (1, 1, 1)


def test_the_recipe_of_earlier_versions_keeps_its_digest():
    assert "fused" not in Recipe().to_json()
    assert Recipe.from_json(Recipe(fused=True).to_json()) == Recipe(fused=True)
    with pytest.raises(ValueError, match="fused is 1, but must be true or false"):
        Recipe.from_json({**Recipe().to_json(), "fused": 1})
