"""Student: a compressed torch model, before its normalization is folded and its file is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, fx

from ..recipe import BITS, DYNAMIC, INTEGER, SPARSE, STORED, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A compressed model with its normalization still in the graph.

    `removed` are the units that it lost, `factored` the layers that became two. `precision` has the layers
    that are not float32, `bits` those whose weights are integers, `sparse` those that are 2:4. `steps` are
    the steps of the convolutions and linear layers in `bits`, empty until they are rounded.
    """

    module: fx.GraphModule
    removed: frozenset[int]
    factored: tuple[str, ...]
    precision: Mapping[str, Precision]
    steps: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def bits(self) -> dict[str, int]:
        """The widths of the layers whose weights become integers, but for sparse ones."""
        kinds = (INTEGER | DYNAMIC | STORED) - SPARSE
        return {name: BITS[kind] for name, kind in self.precision.items() if kind in kinds}

    @property
    def sparse(self) -> frozenset[str]:
        """The layers that are sparse 2:4."""
        return frozenset(name for name, kind in self.precision.items() if kind in SPARSE)
