"""Rounding of activations: what torch rounds to, whatever a tensor's type and place in memory."""

import pytest
import torch
from autocompress.compress.levels.activations import PART, SAMPLE, Observed, Scale

LARGE = torch.linspace(-3, 9, 2 * PART + 5)
IMAGES = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))

TENSORS = {
    "several parts": LARGE,
    "bfloat16": LARGE.bfloat16(),
    "channels last": IMAGES.to(memory_format=torch.channels_last),
    "a view with gaps": IMAGES[:, 1:4, :, ::2],
    "transposed": IMAGES.transpose(1, 3),
    "behind others": IMAGES.flatten()[3:40],
    "one value for all": torch.full((1, 1), 1.5).expand(3, 4),
    "nothing": IMAGES[:0],
}


@pytest.mark.parametrize(
    "scale", [Scale(scale=0.031, zero_point=37), Scale(scale=0.1, zero_point=-3, signed=True)]
)
@pytest.mark.parametrize("x", TENSORS.values(), ids=TENSORS.keys())
def test_values_are_those_of_torch(x, scale):
    before = x.clone()

    rounded = scale.rounded(x)

    torchs = torch.fake_quantize_per_tensor_affine(x.float(), scale.scale, scale.zero_point, *scale.limits)
    assert torch.equal(rounded, torchs.to(x.dtype)) and rounded.dtype == x.dtype
    assert torch.equal(x, before)


@pytest.mark.parametrize("x", [x for x in TENSORS.values() if x.numel()], ids=[*TENSORS][:-1])
def test_what_is_observed_does_not_depend_on_the_place_in_memory(x):
    plain = x.float().contiguous().flatten()

    seen = Observed.of(x)

    assert (seen.low, seen.high) == (min(0.0, float(plain.min())), max(0.0, float(plain.max())))
    assert torch.equal(seen.values, plain[:: max(1, len(plain) // SAMPLE)])
