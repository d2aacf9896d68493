"""Inputs between two samples."""

import pytest
import torch
from autocompress.compress.student.samples import mixed, mixtures, spliced


def mixture_of(*inputs):
    mixture = mixed(inputs)
    assert mixture is not None
    return mixture


def test_a_mixture_of_images_is_an_average_of_two_of_them():
    x = torch.rand(6, 3, 4, 4)
    torch.manual_seed(0)
    (mixture,) = mixture_of(x)
    for one in mixture:
        shares = [
            torch.linalg.lstsq(torch.stack([a, b]).flatten(1).T, one.flatten()[:, None]).solution.flatten()
            for a in x
            for b in x
        ]
        assert any(torch.allclose(pair.sum(), torch.tensor(1.0), atol=1e-4) for pair in shares)
    assert not torch.equal(mixture, x)


def test_several_inputs_are_mixed_alike():
    x = torch.rand(5, 2)
    torch.manual_seed(0)
    first, second = mixture_of(x, 2 * x)
    torch.testing.assert_close(second, 2 * first)


def test_sequences_of_tokens_are_spliced_at_one_position():
    tokens = torch.arange(4)[:, None].expand(4, 10).contiguous()  # sample k is all k
    torch.manual_seed(1)
    spliced, mask = mixture_of(tokens, tokens + 10)
    assert torch.equal(mask, spliced + 10)
    assert spliced.dtype == tokens.dtype
    for row, own in zip(spliced, range(4), strict=True):
        changes = int((row[1:] != row[:-1]).sum())
        assert row[0] == own and changes <= 1
    assert not torch.equal(spliced, tokens)


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.rand(1, 3),),
        (torch.arange(4),),
        (torch.arange(4)[:, None],),
        (torch.rand(4, 2), torch.rand(3, 2)),
    ],
    ids=["one sample", "numbers", "sequences of one", "other counts"],
)
def test_what_cannot_be_mixed_is_not(inputs):
    assert mixed(inputs) is None and spliced(inputs) is None


def test_a_splice_of_images_has_whole_rows_or_columns_of_one_other_sample():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 2, 6, 8).contiguous()  # sample k is all k
    for seed in range(20):
        torch.manual_seed(seed)
        (made,) = spliced((images,)) or ()
        rows = made[:, :, :, :1].expand_as(made)
        columns = made[:, :, :1].expand_as(made)
        assert torch.equal(made, rows) or torch.equal(made, columns)
        for own, one in enumerate(made):
            values = one.unique().tolist()
            assert own in values and len(values) <= 2
        assert not torch.equal(made, images)


def test_inputs_without_positions_are_averaged_instead():
    x = torch.rand(6, 4)
    torch.manual_seed(0)
    made = spliced((x,))
    torch.manual_seed(0)
    assert made is not None and torch.equal(made[0], mixture_of(x)[0])


def test_samples_averages_and_splices_take_turns():
    x = torch.rand(6, 1, 9)
    kinds = [mixtures((x,), step) for step in range(6)]
    assert [kind is None for kind in kinds] == [True, False, False] * 2
