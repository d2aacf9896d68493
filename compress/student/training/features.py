"""Features: intermediate values of a model, for distillation beyond its outputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ...graph.graph import operation


def feature_nodes(student: fx.GraphModule, teacher: fx.GraphModule) -> tuple[str, ...]:
    """Names of the sums that both models compute, in order of execution; of the ReLUs if none is a sum."""
    theirs = {node.name for node in teacher.graph.nodes}
    common = [node for node in student.graph.nodes if node.name in theirs]
    tensors = [node for node in common if isinstance(node.meta.get("val"), Tensor)]
    for kind in ("add", "relu"):
        names = tuple(node.name for node in tensors if operation(node) == kind)
        if names:
            return names
    return ()


def with_features(module: fx.GraphModule, names: Sequence[str]) -> fx.GraphModule:
    """A copy of the graph that shares the module's parameters and buffers and returns (outputs, features).

    It keeps the mode (training or inference) that the module has now. A single output is not in a tuple.
    """
    copies: dict[fx.Node, fx.Node] = {}
    graph = fx.Graph()
    outputs: Any = graph.graph_copy(module.graph, copies)
    by_name = {node.name: copied for node, copied in copies.items()}
    single = isinstance(outputs, (tuple, list)) and len(outputs) == 1
    graph.output((outputs[0] if single else outputs, [by_name[name] for name in names]))
    return fx.GraphModule(module, graph)


def feature_loss(features: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Mean over the features of the squared error relative to the variance; features of another shape are
    left out.
    """
    pairs = [
        (ours.float(), theirs.float())
        for ours, theirs in zip(features, expected, strict=True)
        if ours.shape == theirs.shape
    ]
    losses = [(ours - theirs).square().mean() / theirs.var().clamp_min(1e-12) for ours, theirs in pairs]
    return torch.stack(losses).mean() if losses else torch.zeros(())
