"""Sizes: how large the free dimensions of a model's inputs are when its latency is measured.

`--shape tokens=128` is one size, `--shape tokens=32:0.7,128:0.3` two with how often each occurs: the latency
is then the mean over both, weighted. Each free dimension has a name; where there are more than one, only one
of them can have several sizes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

Place = tuple[int, int, str]  # an input, one of its dimensions, and the name of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One size of each free dimension, by name, and the share of inferences that have it."""

    weight: float
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured: `text` as it is written on the command line, such as `tokens=32:0.7,128:0.3`, several
    names with spaces between them; `places` are the dimensions of these names.
    """

    text: str
    places: tuple[Place, ...]

    def __post_init__(self) -> None:
        names = {name for _, _, name in self.places}
        try:
            stated = asked_sizes(self.text.split())
        except InputError as error:
            raise ValueError(str(error)) from error
        if not names or set(stated) != names:
            raise ValueError(f"sizes must be those of {', '.join(sorted(names))}, not {self.text!r}")

    @property
    def each(self) -> tuple[Size, ...]:
        """The sizes, whose weights add up to 1."""
        stated = asked_sizes(self.text.split())
        alone = {name: next(iter(sizes)) for name, sizes in stated.items()}
        name = next((name for name, sizes in stated.items() if len(sizes) > 1), next(iter(stated)))
        return tuple(Size(weight=share, sizes={**alone, name: size}) for size, share in stated[name].items())

    @property
    def usual(self) -> Mapping[str, int]:
        """The size that stands for all: the one that is nearest to the weighted mean."""
        names = {name for _, _, name in self.places}
        means = {name: math.fsum(one.weight * one.sizes[name] for one in self.each) for name in names}
        return min(self.each, key=lambda one: sum(abs(one.sizes[name] - means[name]) for name in names)).sizes

    def to_json(self) -> dict[str, Any]:
        """A JSON value: `text`, and each place by what its parts are."""
        places = [dict(zip(("input", "dim", "name"), place, strict=True)) for place in self.places]
        return {"text": self.text, "places": places}

    def request(self) -> list[object]:
        """The same for a worker, which knows no names: [weight, [[input, dimension, size], …]] of each."""
        return [
            [one.weight, [[at, dim, one.sizes[name]] for at, dim, name in self.places]] for one in self.each
        ]


def asked_sizes(texts: Sequence[str]) -> dict[str, dict[int, float]]:
    """By name, the share of each size. InputError for what cannot be read."""
    stated: dict[str, dict[int, float]] = {}
    for text in texts:
        name, _, sizes = text.partition("=")
        if name in stated:
            raise InputError(
                f"--shape names {name!r} twice: give all its sizes at once, as in {name}=32,128."
            )
        stated[name] = _shares(text, name, sizes)
    several = [name for name, shares in stated.items() if len(shares) > 1]
    if len(several) > 1:
        raise InputError(
            f"--shape has several sizes of {' and of '.join(several)}: give several of one dimension only."
        )
    return stated


def _shares(text: str, name: str, sizes: str) -> dict[int, float]:
    weights: dict[int, float] = {}
    for part in sizes.split(","):
        size, colon, weight = part.partition(":")
        try:
            value, share = int(size), float(weight) if colon else 1.0
        except ValueError:
            value, share = 0, 0.0
        if not name.isidentifier() or value < 1 or not (share > 0 and math.isfinite(share)):
            raise InputError(
                f"The shape {text!r} cannot be read: write the name of a free dimension and its size, as in "
                "tokens=128, or several sizes with how often each occurs, as in tokens=32:0.7,128:0.3."
            )
        weights[value] = weights.get(value, 0.0) + share
    total = math.fsum(weights.values())
    return {value: share / total for value, share in weights.items()}
