"""Layers with too many columns: moments in blocks, and all that is computed with them, block by block."""

import pytest
import torch
from autocompress.compress.graph.network import Network
from autocompress.compress.levels.database import LevelDatabase
from autocompress.compress.levels.reconstruct import GroupReader, removal_order
from autocompress.compress.levels.statistics import input_moments
from autocompress.compress.levels.stitch import stitch
from autocompress.compress.levels.wide import (
    affordable_rows,
    block_count,
    compensated_parts,
    dense,
    error_of,
    parts_of,
    rounded_parts,
    rows_for_moments,
    second_sum,
)
from autocompress.compress.student.low_rank import low_rank_factors
from autocompress.compress.student.prune import prune
from autocompress.compress.student.refit import refit, round_rest
from torch import nn

COUNT, CHANNELS, TAPS = 512, 8, 3


class Audio(nn.Module):
    """Two convolutions over time, the second one with 24 columns, and a linear layer with 40."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(2, CHANNELS, 3, padding=1), nn.Conv1d(CHANNELS, 5, TAPS)
        self.out = nn.Linear(5 * 8, 4)

    def forward(self, x):
        return self.out(self.second(self.first(x).relu()).relu().flatten(1))


def sounds(count, seed):
    """count × 2 × 10, neighbours alike."""
    x = torch.randn(count, 2, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool1d(x, 3, 1) * 2 + x.mean(1, keepdim=True)[..., 1:-1]


@pytest.fixture
def narrow(monkeypatch):
    """Everything above 12 columns is wide."""
    monkeypatch.setattr("autocompress.compress.levels.wide.WIDE", 12)
    monkeypatch.setattr("autocompress.compress.levels.wide.BLOCK", 12)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network.trace(Audio().eval(), (sounds(2, 0),))


def levels_of(network):
    return LevelDatabase(network, lambda: [(x,) for x in sounds(COUNT, 1).split(128)])


def half(network, levels):
    """The units of half of the first convolution's channels."""
    group = next(group for group in network.groups if group.channels == CHANNELS)
    return frozenset(group.units[unit].number for unit in levels.removal(group).order[: CHANNELS // 2])


def distance(module, network):
    x = sounds(128, 2)
    with torch.inference_mode():
        expected = network.module(x)
        return float((module(x) - expected).square().mean() / expected.square().mean())


def test_wide_layers_are_split_into_blocks_of_whole_channels():
    assert block_count(64, 64) == 1  # 4,096 columns
    assert block_count(128, 64) == 8  # CREPE's second convolution
    assert block_count(512, 9) == 8  # the last stage of a ResNet-18: 576 columns each
    assert block_count(4099, 1) == 4099  # a prime
    assert block_count(128, 64, groups=2) == 1


def test_few_vectors_of_many_columns_are_looked_at_together():
    assert affordable_rows(8192, 4096) == 8192
    assert affordable_rows(8192, 1 << 16) == 1024


def test_moments_of_a_wide_layer_are_the_diagonal_blocks_of_all_of_them(network, monkeypatch):
    whole = levels_of(network).moments["second"]
    monkeypatch.setattr("autocompress.compress.levels.wide.WIDE", 12)
    monkeypatch.setattr("autocompress.compress.levels.wide.BLOCK", 12)
    blocks = levels_of(network).moments["second"]
    assert blocks.second.shape == (2, 12, 12)
    torch.testing.assert_close(blocks.second[1], whole.second[0, 12:, 12:])
    assert torch.equal(blocks.mean, whole.mean)
    assert dense(blocks.second, 24).shape == (1, 24, 24)


def test_the_order_of_a_wide_layer_is_that_of_its_blocks_together():
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(3, 12, 40, generator=generator)
    second, weight = mixed @ mixed.mT / 40, torch.randn(5, 36, generator=generator)
    columns = torch.arange(36).reshape(12, 3)
    blocks, whole = (
        removal_order([GroupReader(weight=weight, second=each, columns=columns)], 12)
        for each in (second, torch.block_diag(*second)[None])
    )
    # the damping differs a little: it is a share of the mean of each block
    assert blocks.order[:6] == whole.order[:6] and blocks.errors == pytest.approx(whole.errors, rel=0.05)


def test_stitched_wide_layers_answer_more_like_the_original_than_sliced_ones(network, narrow):
    levels = levels_of(network)
    removed = half(network, levels)
    sliced, stitched = (prune(network.module, network.channels, removed) for _ in range(2))
    stitch(stitched, levels, removed, {})
    assert distance(stitched, network) < 0.9 * distance(sliced, network)


def test_refitted_wide_layers_answer_more_like_the_original_than_stitched_ones(network, narrow):
    levels = levels_of(network)
    removed = half(network, levels)
    stitched, fitted = (prune(network.module, network.channels, removed) for _ in range(2))
    for module in (stitched, fitted):
        stitch(module, levels, removed, {})
    channels = {layer.name: network.kept_outputs(layer.name, removed) for layer in network.layers}
    roundings = refit(fitted, network.module, [(sounds(COUNT, 1),)], channels, {"out": 6})
    assert distance(fitted, network) < 0.9 * distance(stitched, network)
    assert roundings["out"].step.shape == (4,)


@pytest.mark.parametrize("blocks", [1, 3])
def test_rounding_in_blocks_compensates_inside_of_each(blocks):
    x = torch.randn(COUNT, 12, generator=torch.Generator().manual_seed(0)).cumsum(1)
    weight = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(1))
    second = second_sum(x[None], blocks) / COUNT
    parts = parts_of(second, torch.arange(12), 12)
    integers, step = rounded_parts(weight, [part.second for part in parts], 3, "gptq")
    nearest = (weight / step[..., None]).round().clamp(-4, 3)
    errors = [error_of(weight - values * step[..., None], second) for values in (integers, nearest)]
    assert errors[0] < 0.9 * errors[1]


def test_a_block_may_lose_all_of_its_columns():
    second, weight = second_sum(torch.randn(1, COUNT, 12), 3), torch.randn(1, 4, 12)
    parts = parts_of(second, torch.arange(5), 12)
    left = compensated_parts(weight, parts)
    assert left.shape == (1, 4, 5)
    integers, _ = rounded_parts(left, [part.second_left for part in parts], 4, "gptq")
    assert integers.shape == (1, 4, 5)


def test_of_a_wide_layers_channels_one_that_is_silent_or_repeated_goes_first():
    x = torch.randn(1, COUNT, 8, generator=torch.Generator().manual_seed(0))
    x[..., 6], x[..., 3] = 0.01 * x[..., 6], x[..., 2]
    reader = GroupReader(
        weight=torch.ones(3, 8), second=second_sum(x, 2) / COUNT, columns=torch.arange(8)[:, None]
    )
    removal = removal_order([reader], 8)
    assert set(removal.order[:2]) in ({6, 2}, {6, 3})  # one of the two that are alike is needed
    assert list(removal.errors) == sorted(removal.errors)


def test_a_wide_layer_without_moments_is_rounded_to_nearest(network, narrow):
    module = prune(network.module, network.channels, frozenset())
    rounding = round_rest(module, {"out": 4})["out"]
    nearest = (rounding.weight / rounding.step[:, None]).round().clamp(-8, 7) * rounding.step[:, None]
    torch.testing.assert_close(module.get_parameter("out.weight").detach(), nearest)


def test_factors_without_moments_are_those_of_the_singular_values():
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    up, down = low_rank_factors(matrix, 6)
    torch.testing.assert_close(up @ down, matrix)


@pytest.mark.parametrize(("columns", "blocks"), [(576, 1), (2304, 1), (3072, 1), (4608, 8), (65536, 64)])
def test_moments_of_many_columns_are_of_fewer_vectors_than_of_few_but_of_full_rank(columns, blocks):
    vectors = rows_for_moments(columns, blocks)
    assert 3 * columns // blocks <= vectors < rows_for_moments(64, 1)
    assert vectors * columns * columns // blocks <= 3 * 4096**3


def test_a_layer_is_looked_at_in_as_many_vectors_in_one_batch_as_in_several(monkeypatch):
    monkeypatch.setattr("autocompress.compress.levels.wide.MULTIPLICATIONS", 6 * 6 * 40)
    counts = []

    def counted(vectors, blocks):
        counts.append(vectors.shape[1])
        return second_sum(vectors, blocks)

    monkeypatch.setattr("autocompress.compress.levels.statistics.second_sum", counted)
    module = Network.trace(nn.Sequential(nn.Conv1d(2, 4, 3)).eval(), (sounds(2, 0),)).module
    for size in (128, 512):
        input_moments(module, [(x,) for x in sounds(COUNT, 1).split(size)])
    assert counts == [10, 10, 10, 10, 40]
