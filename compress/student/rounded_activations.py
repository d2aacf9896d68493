"""How the file rounds the activations of integer layers, for a student with its normalizations unfolded."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor, fx

from ..graph.graph import argument, layer_nodes
from ..graph.quantized import layer_ends, plan_quantization
from ..levels.activations import Observed, observe, rounded_by_own_range
from ..options import Activations
from .normalization import Change


def rounded_activations(
    module: fx.GraphModule,
    layers: Iterable[str],
    activations: Activations,
    observed: Mapping[str, Observed],
) -> dict[str, Change]:
    """By node, how its values are rounded when `layers` run in int8.

    `observed` has values by the names of the folded graph; tensors that are not in it get the scale of what
    is rounded first.
    """
    plan = plan_quantization(module, set(layers), activations)
    folded = {norm.name: layer.name for layer, norm in layer_ends(module).items()}
    by_source = {
        source: _Rounded(activations, observed.get(folded.get(source, source)))
        for source in plan.tensors.values()
    }
    return {name: by_source[source] for name, source in plan.tensors.items()}


def observed_in_original(
    teacher: fx.GraphModule,
    layers: Sequence[str],
    conventions: Iterable[Activations],
    batches: Iterable[tuple[Tensor, ...]],
) -> dict[str, Observed]:
    """By node of the folded original, the values of all tensors that recipes of precisions alone can need.

    A layer that is int8 alone may need a tensor that all layers together do not: the other operand of a sum
    in which nothing else is int8.
    """
    nodes: set[str] = set()
    for activations in conventions:
        for names in (set(layers), *({name} for name in layers)):
            plan = plan_quantization(teacher, names, activations)
            nodes.update(plan.tensors, plan.tensors.values())
    return observe(teacher, sorted(nodes), batches)


def dynamically_rounded(module: fx.GraphModule, layers: Collection[str]) -> dict[str, Change]:
    """By node, how its values are rounded when `layers`, which read it, take their range in each call."""
    sources = [argument(node, 0).name for name, node in layer_nodes(module) if name in layers]
    return dict.fromkeys(sources, rounded_by_own_range)


class _Rounded:
    """Rounds a tensor with the scale of what was `observed`, or else of the first tensor that it sees."""

    def __init__(self, activations: Activations, observed: Observed | None):
        self.activations, self.observed = activations, observed

    def __call__(self, x: Tensor) -> Tensor:
        """The rounded values, in the type that they had."""
        self.observed = self.observed or Observed.of(x)
        return self.observed.scale(self.activations).rounded(x)
