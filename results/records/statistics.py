"""SampleStatistics: how the values of a model's inputs and outputs are distributed, as counts between edges.

A bundle's manifest has those of the samples that its claims rest on; `drift` compares what was counted in
use. Values up to edges[0] and above edges[-1] are beyond what these samples had.
"""

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from .reading import Fields

MOST_CHANNELS, MOST_CLASSES, MOST_EDGES = 64, 1000, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """Ascending edges, and the share of values up to each of them and above the last: one more."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.edges) <= MOST_EDGES or len(self.shares) != len(self.edges) + 1:
            raise ValueError(f"edges must be 1 to {MOST_EDGES}, and shares one more.")
        if not all(low < high for low, high in itertools.pairwise(self.edges)):
            raise ValueError("edges must ascend.")
        _require_shares(self.shares)

    @classmethod
    def from_json(cls, fields: Fields) -> "ChannelStatistics":
        """The record that `asdict` described."""
        return fields.record(lambda: cls(edges=fields.numbers("edges"), shares=fields.numbers("shares")))


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStatistics:
    """An input or output. `axis`, counted with the batch, has the channels; None: all values are one channel.

    `top`: how often each class has the largest value, of an output that is one value for each class.
    """

    name: str
    axis: int | None
    samples: int
    channels: tuple[ChannelStatistics, ...]
    top: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.channels) <= MOST_CHANNELS:
            raise ValueError(f"channels must be 1 to {MOST_CHANNELS}.")
        if self.top is not None:
            if not 2 <= len(self.top) <= MOST_CLASSES:
                raise ValueError(f"top must have 2 to {MOST_CLASSES} shares.")
            _require_shares(self.top)

    @classmethod
    def from_json(cls, fields: Fields) -> "TensorStatistics":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                axis=fields.maybe("axis", lambda key: fields.whole(key, least=1)),
                samples=fields.whole("samples", least=1),
                channels=tuple(ChannelStatistics.from_json(one) for one in fields.objects("channels")),
                top=fields.maybe("top", fields.numbers),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStatistics:
    """The inputs of calibration, and what the model answered to the validation split."""

    inputs: tuple[TensorStatistics, ...]
    outputs: tuple[TensorStatistics, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "SampleStatistics":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                inputs=tuple(TensorStatistics.from_json(one) for one in fields.objects("inputs")),
                outputs=tuple(TensorStatistics.from_json(one) for one in fields.objects("outputs")),
            )
        )


def _require_shares(shares: tuple[float, ...]) -> None:
    if min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-3):
        raise ValueError("shares must be at least 0, and 1 together.")
