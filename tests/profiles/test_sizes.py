"""The sizes of free dimensions at which a latency is measured."""

import pytest
from autocompress.errors import InputError
from autocompress.profiles.sizes import Sizes, asked_sizes

TOKENS = ((0, 1, "tokens"), (1, 1, "tokens"))


def test_weights_become_shares_and_each_size_is_said_for_every_place() -> None:
    sizes = Sizes(text="tokens=32:7,128:3", places=TOKENS)
    assert [(one.weight, one.sizes) for one in sizes.each] == [(0.7, {"tokens": 32}), (0.3, {"tokens": 128})]
    assert sizes.request() == [[0.7, [[0, 1, 32], [1, 1, 32]]], [0.3, [[0, 1, 128], [1, 1, 128]]]]


def test_sizes_without_weights_are_equally_frequent() -> None:
    assert asked_sizes(["t=1,3"]) == {"t": {1: 0.5, 3: 0.5}}


def test_another_dimension_has_its_one_size_beside_each() -> None:
    sizes = Sizes(text="height=8 width=4,6", places=((0, 2, "height"), (0, 3, "width")))
    assert [one.sizes for one in sizes.each] == [{"height": 8, "width": 4}, {"height": 8, "width": 6}]


def test_the_usual_size_is_nearest_to_the_mean() -> None:
    assert Sizes(text="tokens=10:0.8,100:0.2", places=TOKENS).usual == {"tokens": 10}


WRONG = {
    "no number": "tokens=many",
    "no size": "tokens",
    "zero": "tokens=0",
    "negative weight": "tokens=8:-1",
    "no name": "=8",
    "two colons": "tokens=8:1:2",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_shape_that_cannot_be_read_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match="cannot be read: write the name of a free dimension and its size"):
        asked_sizes([text])


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(InputError, match="names 't' twice: give all its sizes at once, as in t=32,128"):
        asked_sizes(["t=8", "t=9"])


def test_two_dimensions_cannot_both_have_several_sizes() -> None:
    with pytest.raises(InputError, match="several sizes of a and of b: give several of one dimension only"):
        asked_sizes(["a=8,9", "b=1,2"])


def test_sizes_of_other_names_than_the_places_are_invalid() -> None:
    with pytest.raises(ValueError, match="must be those of tokens, not 'words=8'"):
        Sizes(text="words=8", places=TOKENS)
