"""Layers and poolings of one image or vector without a batch get a batch of 1.

Such a model is traced with a batch of 1, which it takes off first. In the graph `squeeze` is moved behind the
operations that do not mind it, so that layers see batches, as in any other model.
"""

from typing import Any

import torch
from torch import fx

from ..graph import CONVOLUTIONS, TRANSPOSED, argument, operation, shape_of

_ATEN: Any = torch.ops.aten
_ELEMENTWISE = frozenset(
    "relu relu6 hardtanh gelu silu sigmoid tanh elu leaky_relu hardswish hardsigmoid dropout clone".split()
)
_VIEWS = frozenset({"view", "reshape", "flatten"})
_POOLINGS = frozenset(f"{kind}_pool{n}d" for n in (1, 2, 3) for kind in ("avg", "max", "adaptive_avg"))


def give_batches(module: fx.GraphModule) -> None:
    """Gives layers a batch of 1 that have none, in place."""
    for node in list(module.graph.nodes):
        name, source = operation(node), argument(node, 0)
        if _lacks_batch(node, name) or (name in _ELEMENTWISE and _is_squeeze(source)):
            _give_batch(module.graph, node)
        elif name in _VIEWS and _is_squeeze(source) and len(shape_of(node)) == 1:
            node.target, node.kwargs = _ATEN.reshape.default, {}
            _give_batch(module.graph, node)
            node.args = (node.args[0], [1, -1])
        elif name == "unsqueeze" and argument(node, 1) == 0 and _is_squeeze(source):
            node.replace_all_uses_with(argument(source, 0))
    module.graph.eliminate_dead_code()
    module.recompile()


def _lacks_batch(node: fx.Node, name: str) -> bool:
    if name == "linear":
        return len(shape_of(argument(node, 0))) == 1
    if name not in CONVOLUTIONS | TRANSPOSED | _POOLINGS:
        return False
    return len(shape_of(argument(node, 0))) == int(name[-2]) + 1


def _give_batch(graph: fx.Graph, node: fx.Node) -> None:
    """The operation on its input with a batch of 1, which is taken off behind it."""
    source = argument(node, 0)
    if _is_squeeze(source):
        batched = argument(source, 0)
    else:
        with graph.inserting_before(node):
            batched = graph.call_function(_ATEN.unsqueeze.default, (source, 0))
        batched.meta = {**source.meta, "val": source.meta["val"].unsqueeze(0)}
    with graph.inserting_after(node):
        squeezed = graph.call_function(_ATEN.squeeze.dim, (node, 0))
    squeezed.meta = dict(node.meta)
    node.replace_all_uses_with(squeezed, delete_user_cb=lambda user: user is not squeezed)
    node.args = (batched, *node.args[1:])
    node.meta = {**node.meta, "val": node.meta["val"].unsqueeze(0)}


def _is_squeeze(node: Any) -> bool:
    """Whether a node takes off a batch of 1."""
    is_squeeze = isinstance(node, fx.Node) and operation(node) == "squeeze"
    return is_squeeze and argument(node, 1, None) == 0
