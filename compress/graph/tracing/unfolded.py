"""Heads that a model merges with the batch dimension get a dimension of their own.

DeBERTa and torch's own attention view N × H × T × D as N·H × T × D for `bmm`, and the result the other way.
In the merged form heads cannot be told from samples. Each operation between the two views has a counterpart
with one more dimension, which takes its place.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..graph import argument, operation, shape_of

_ATEN = torch.ops.aten
_VIEWS = frozenset({"view", "reshape", "_unsafe_view"})


def unfold_heads(module: fx.GraphModule) -> None:
    """Rewrites what is computed between a merge of batch and heads and its reversal, in place."""
    rewriter = _Rewriter(module.graph)
    for node in list(module.graph.nodes):
        if node.op == "call_function":
            rewriter.rewrite(node)
    module.graph.eliminate_dead_code()
    module.recompile()


class _Rewriter:
    """By merged node its counterpart, and the first of the two dimensions that are one in the merged form."""

    def __init__(self, graph: fx.Graph):
        self.graph = graph
        self.apart: dict[fx.Node, tuple[fx.Node, int]] = {}

    def rewrite(self, node: fx.Node) -> None:
        """Notes the counterpart of a merged node; a view of one becomes a view of its counterpart."""
        name = operation(node)
        if name in _VIEWS and argument(node, 0) in self.apart:
            _view_counterpart(self, node)
        elif name in _VIEWS:
            _merge(self, node)
        elif name == "repeat":
            _repeat(self, node)
        elif name == "scaled_dot_product_attention":
            _share_mask(node)
        elif not self.apart.keys().isdisjoint(node.all_input_nodes) and name in _RULES:
            _RULES[name](self, node)

    def call(self, node: fx.Node, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """A new node in front of `node`, which it stands for or belongs to."""
        with self.graph.inserting_before(node):
            made = self.graph.call_function(target, args, kwargs)
        made.meta = {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if key in node.meta}
        values, named_values = fx.map_arg((args, kwargs), lambda source: source.meta["val"])
        made.meta["val"] = target(*values, **named_values)
        return made

    def again(self, node: fx.Node, *args: Any) -> fx.Node:
        """The operation of a merged node with other arguments."""
        target: Any = node.target
        return self.call(node, target, *args, **node.kwargs)


def _merge(rewriter: _Rewriter, node: fx.Node) -> None:
    """N × H × … seen as N·H × …, or T × N × H·D as T × N·H × D: N is the free batch size."""
    source = argument(node, 0)
    before, after = _sizes(source), _sizes(node)
    for at in range(min(len(after), len(before) - 1)):
        batch, merged = shape_of(source)[at], shape_of(node)[at]
        heads = merged // batch
        if not isinstance(source.meta["val"].shape[at], torch.SymInt) or heads < 2 or merged % batch:
            continue
        if before == [*after[:at], before[at], str(heads), *after[at + 1 :]]:
            rewriter.apart[node] = source, at
        elif before[:at] == after[:at] and len(before) == len(after) == at + 2:
            if shape_of(source)[-1] != heads * shape_of(node)[-1]:
                continue
            sizes: Any = argument(node, 1)
            count = rewriter.call(node, _ATEN.sym_size.int, source, at)
            shape = [*sizes[:at], count, heads, *sizes[at + 1 :]]
            rewriter.apart[node] = rewriter.call(node, _ATEN.reshape.default, source, shape), at


def _repeat(rewriter: _Rewriter, node: fx.Node) -> None:
    """H × … copied for each sample: the counterpart is broadcast."""
    source, copies = argument(node, 0), argument(node, 1)
    one_each = all(count == 1 for count in copies[1:])
    if isinstance(copies[0], fx.Node) and one_each and len(copies) == len(shape_of(source)):
        rewriter.apart[node] = rewriter.call(node, _ATEN.unsqueeze.default, source, 0), 0


def _view_counterpart(rewriter: _Rewriter, node: fx.Node) -> None:
    """A view of a merged tensor has the elements of its counterpart in the same order."""
    source = argument(node, 0)
    whole, at = rewriter.apart[source]
    if _sizes(source)[:at] + _sizes(source)[at + 1 :] != _sizes(whole)[:at] + _sizes(whole)[at + 2 :]:
        return
    if _is_broadcast(source, whole, at):
        return
    if _sizes(whole) != _sizes(node):
        whole = rewriter.call(node, _ATEN.reshape.default, whole, argument(node, 1))
    node.replace_all_uses_with(whole)


def _is_broadcast(source: fx.Node, whole: fx.Node, at: int) -> bool:
    sizes = shape_of(whole)
    return sizes[at] * sizes[at + 1] != shape_of(source)[at]


def _share_mask(node: fx.Node) -> None:
    """A mask that is copied for each head is read once by all."""
    if len(node.args) > 3:
        node.args = (*node.args[:3], _unexpanded(node.args[3]), *node.args[4:])


def _unexpanded(value: Any) -> Any:
    """What is copied along dimensions, where an operation does that itself."""
    is_copied = isinstance(value, fx.Node) and operation(value) == "expand"
    if is_copied and len(shape_of(argument(value, 0))) == len(shape_of(value)):
        return argument(value, 0)
    return value


def _same(rewriter: _Rewriter, node: fx.Node) -> None:
    """Elementwise, beside numbers or tensors that are merged in the same place or broadcast along it."""
    places = {rewriter.apart[one][1] for one in node.all_input_nodes if one in rewriter.apart}
    at = places.pop()
    args = [_operand(rewriter, node, value, at) for value in node.args]
    if any(isinstance(value, fx.Node) and operation(value) != "expand" for value in args):
        args = [args[0], *map(_unexpanded, args[1:])]
    if not places and None not in args[: len(node.all_input_nodes)]:
        rewriter.apart[node] = rewriter.again(node, *args), at


def _operand(rewriter: _Rewriter, node: fx.Node, value: Any, at: int) -> Any:
    """What stands for an operand of a merged node; None if nothing can."""
    if isinstance(value, fx.Node) and value in rewriter.apart:
        return rewriter.apart[value][0]
    if not isinstance(value, fx.Node) or not isinstance(value.meta.get("val"), torch.Tensor):
        return value
    rank, whole = len(shape_of(value)), len(shape_of(node))
    if rank < whole - at:
        return value
    is_one = shape_of(value)[at - whole] == 1
    return rewriter.call(node, _ATEN.unsqueeze.default, value, at - whole + rank) if is_one else None


def _softmax(rewriter: _Rewriter, node: fx.Node) -> None:
    whole, at = rewriter.apart[argument(node, 0)]
    dim = int(argument(node, 1)) % len(shape_of(node))
    if dim != at:
        args = (whole, dim + (dim > at), *node.args[2:])
        rewriter.apart[node] = rewriter.again(node, *args), at


def _permute(rewriter: _Rewriter, node: fx.Node) -> None:
    whole, at = rewriter.apart[argument(node, 0)]
    order = _order(node)
    places = [place for dim in order for place in ([at, at + 1] if dim == at else [dim + (dim > at)])]
    rewriter.apart[node] = rewriter.call(node, _ATEN.permute.default, whole, places), order.index(at)


def _order(node: fx.Node) -> list[int]:
    rank = len(shape_of(node))
    if operation(node) == "permute":
        return [dim % rank for dim in argument(node, 1)]
    swapped: Any = node.args[1:3]
    order, (a, b) = list(range(rank)), (dim % rank for dim in swapped)
    order[a], order[b] = order[b], order[a]
    return order


def _product(rewriter: _Rewriter, node: fx.Node) -> None:
    """bmm, and baddbmm with what it adds."""
    operands: Any = node.args
    if node.kwargs or any(rewriter.apart.get(value, (None, -1))[1] != 0 for value in operands):
        return
    *added, first, second = (rewriter.apart[value][0] for value in operands)
    made = rewriter.call(node, _ATEN.matmul.default, first, second)
    for value in added:
        made = rewriter.call(node, _ATEN.add.Tensor, _unexpanded(value), made)
    rewriter.apart[node] = made, 0


def _gather(rewriter: _Rewriter, node: fx.Node) -> None:
    """Along another dimension, with places that are copied for each sample and head."""
    places = argument(node, 2)
    if argument(node, 0) not in rewriter.apart or operation(places) != "expand":
        return
    whole, at = rewriter.apart[argument(node, 0)]
    source, dim = argument(places, 0), int(argument(node, 1)) % len(shape_of(node))
    if at != 0 or dim == 0 or len(shape_of(source)) != len(shape_of(node)) or shape_of(source)[0] != 1:
        return
    count = rewriter.call(node, _ATEN.sym_size.int, whole, 0)
    apart = rewriter.call(node, _ATEN.unsqueeze.default, source, 0)
    sizes = [count, shape_of(whole)[1], *argument(places, 1)[1:]]
    index = rewriter.call(node, _ATEN.expand.default, apart, sizes)
    rewriter.apart[node] = rewriter.call(node, _ATEN.gather.default, whole, dim + 1, index), 0


def _sizes(node: fx.Node) -> list[str]:
    """The shape, in which free sizes are compared by their symbols."""
    return [str(size) for size in node.meta["val"].shape]


_ELEMENTWISE = (
    "clone contiguous alias detach dropout to _to_copy neg exp relu add sub mul div masked_fill where"
)
_RULES: dict[str, Callable[[_Rewriter, fx.Node], None]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _same),
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    **dict.fromkeys(("permute", "transpose"), _permute),
    **dict.fromkeys(("bmm", "baddbmm"), _product),
    "gather": _gather,
}
