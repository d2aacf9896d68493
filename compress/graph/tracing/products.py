"""Products with a parameter become linear layers, whatever the model calls them.

`x @ self.w`, `addmm(bias, x, weight)` (the Conv1D of transformers), `bmm` with an expanded parameter and
`einsum("nd,df->nf", x, w)` compute what `linear` does with the parameter transposed. As `linear` nodes they
are pruned, quantized and exported like any other. `computed` stores the transposed parameter under its name.
"""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..graph import argument, operation, varying_nodes

_ATEN = torch.ops.aten
_COPIES = frozenset({"expand", "unsqueeze", "squeeze", "repeat", "broadcast_to", "view", "reshape"})


def make_linear(module: fx.GraphModule) -> None:
    """Rewrites products of an activation and a matrix of parameters as linear layers, in place."""
    rewriter = _Rewriter(module)
    for node in list(module.graph.nodes):
        rule = _RULES.get(operation(node))
        made = rule(rewriter, node) if rule is not None else None
        if made is not None:
            node.replace_all_uses_with(made)
    module.graph.eliminate_dead_code()
    module.recompile()


class _Rewriter:
    """The graph, and the transposed form of each matrix, which several products may share."""

    def __init__(self, module: fx.GraphModule):
        self.graph = module.graph
        self.varying = varying_nodes(module)
        self.parameters = {name for name, _ in module.named_parameters()}
        self.transposed: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}

    def call(self, like: fx.Node, target: Callable[..., Any], *args: Any) -> fx.Node:
        """A new node in front of `like`, which it is a part of."""
        with self.graph.inserting_before(like):
            node = self.graph.call_function(target, args)
        node.meta = {key: like.meta[key] for key in ("stack_trace", "nn_module_stack") if key in like.meta}
        node.meta["val"] = target(*fx.map_arg(args, lambda source: source.meta["val"]))
        return node

    def is_weight(self, value: Any) -> bool:
        """Whether the value is computed from parameters, and from no input."""
        if not isinstance(value, fx.Node) or value in self.varying:
            return False
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if node.op == "get_attr" and str(node.target) in self.parameters:
                return True
            waiting += node.all_input_nodes
        return False

    def matrix(self, value: Any) -> fx.Node | None:
        """The matrix of parameters that the value is, or repeats for each sample."""
        while isinstance(value, fx.Node) and value in self.varying and operation(value) in _COPIES:
            value = argument(value, 0)
        if not self.is_weight(value):
            return None
        while len(value.meta["val"].shape) > 2 and operation(value) in ("unsqueeze", "expand"):
            value = argument(value, 0)
        return value if len(value.meta["val"].shape) == 2 else None

    def is_bias(self, value: Any, weight: fx.Node) -> bool:
        """Whether the value is a vector of parameters, one for each row of the weight."""
        return self.is_weight(value) and value.meta["val"].shape == weight.meta["val"].shape[:1]

    def arranged(self, weight: fx.Node, order: Sequence[int], rows: int, like: fx.Node) -> fx.Node:
        """The weight with its dimensions in another order: the first `rows` as one, and the others."""
        if len(order) == 2 and operation(weight) in ("t", "transpose", "permute") and list(order) == [1, 0]:
            inner: fx.Node = argument(weight, 0)
            if inner.op == "get_attr" and inner.meta["val"].shape[0] == weight.meta["val"].shape[1]:
                return inner
        if list(order) == [0, 1]:
            return weight
        key = (weight, (*order, rows))
        if key not in self.transposed:
            first = next(user for user in self.graph.nodes if user is like or user in weight.users)
            moved = self.call(first, _ATEN.permute.default, weight, list(order))
            sizes = [int(size) for size in moved.meta["val"].shape]
            if len(order) > 2:
                shape = [math.prod(sizes[:rows]), math.prod(sizes[rows:])]
                moved = self.call(first, _ATEN.reshape.default, moved, shape)
            self.transposed[key] = moved
        return self.transposed[key]

    def linear(self, node: fx.Node, x: fx.Node, weight: fx.Node, bias: Any = None) -> fx.Node:
        """x · weightᵀ + bias. A bias that the model adds right behind is the layer's."""
        made = self.call(node, _ATEN.linear.default, x, weight, bias)
        users = list(node.users)
        if bias is not None or len(users) != 1 or operation(users[0]) != "add" or users[0].kwargs:
            return made
        total = users[0]
        others = [value for value in total.args if value is not node]
        behind = len(made.meta["val"].shape) == len(total.meta["val"].shape)
        if len(others) == 1 and behind and self.is_bias(others[0], weight):
            with_bias = self.call(total, _ATEN.linear.default, x, weight, others[0])
            total.replace_all_uses_with(with_bias)
        return made


def _product(rewriter: _Rewriter, node: fx.Node) -> fx.Node | None:
    """x @ w, and w @ x as the transpose of xᵀ @ wᵀ."""
    first, second = argument(node, 0), argument(node, 1)
    weight = rewriter.matrix(second)
    if weight is not None and _is_activation(rewriter, first):
        return rewriter.linear(node, first, rewriter.arranged(weight, [1, 0], 1, node))
    weight = rewriter.matrix(first)
    if weight is None or not _is_activation(rewriter, second):
        return None
    turned = rewriter.call(node, _ATEN.transpose.int, second, -1, -2)
    made = rewriter.call(node, _ATEN.linear.default, turned, weight, None)
    return rewriter.call(node, _ATEN.transpose.int, made, -1, -2)


def _sum_and_product(rewriter: _Rewriter, node: fx.Node) -> fx.Node | None:
    """addmm and baddbmm: a sum with a product."""
    added, x, second = (argument(node, index) for index in range(3))
    weight = rewriter.matrix(second)
    if weight is None or not _is_activation(rewriter, x) or node.kwargs:
        return None
    matrix = rewriter.arranged(weight, [1, 0], 1, node)
    if rewriter.is_bias(added, matrix):
        return rewriter.linear(node, x, matrix, added)
    made = rewriter.call(node, _ATEN.linear.default, x, matrix, None)
    return rewriter.call(node, _ATEN.add.Tensor, added, made)


def _is_activation(rewriter: _Rewriter, value: Any) -> bool:
    if not isinstance(value, fx.Node) or value not in rewriter.varying:
        return False
    return isinstance(value.meta.get("val"), Tensor) and len(value.meta["val"].shape) > 1


def _einsum(rewriter: _Rewriter, node: fx.Node) -> fx.Node | None:
    """A sum of products of one activation and one parameter that share no index of the result."""
    operands: Any = argument(node, 1)
    weights = [index for index, operand in enumerate(operands) if rewriter.is_weight(operand)]
    if len(operands) != 2 or len(weights) != 1:
        return None
    w, x = operands[weights[0]], operands[1 - weights[0]]
    inputs, out = _indices(str(argument(node, 0)), operands)
    of_w, of_x = inputs[weights[0]], inputs[1 - weights[0]]
    summed, free = [i for i in of_x if i in of_w], [i for i in of_w if i not in of_x]
    outer = [i for i in of_x if i not in of_w]
    repeated = any(len(set(letters)) < len(letters) for letters in (of_w, of_x, out))
    if not summed or not outer or not free or repeated or sorted(out) != sorted(outer + free):
        return None
    weight = rewriter.arranged(w, [of_w.index(i) for i in free + summed], len(free), node)
    x = _permuted(rewriter, node, x, [of_x.index(i) for i in outer + summed])
    if len(summed) > 1:
        x = rewriter.call(node, _ATEN.flatten.using_ints, x, len(outer), -1)
    made = rewriter.call(node, _ATEN.linear.default, x, weight, None)
    if len(free) > 1:
        sizes = [int(w.meta["val"].shape[of_w.index(i)]) for i in free]
        made = rewriter.call(node, _ATEN.unflatten.int, made, -1, sizes)
    return _permuted(rewriter, node, made, [(outer + free).index(i) for i in out])


def _permuted(rewriter: _Rewriter, node: fx.Node, x: fx.Node, order: list[int]) -> fx.Node:
    if order == sorted(order):
        return x
    return rewriter.call(node, _ATEN.permute.default, x, order)


def _indices(equation: str, operands: Sequence[fx.Node]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; letters that are free stand for an ellipsis."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    unused = [letter for letter in string.ascii_letters if letter not in equation]
    inputs, most = [], 0
    for letters, operand in zip(left.split(","), operands, strict=True):
        hidden = len(operand.meta["val"].shape) - len(letters.replace("...", ""))
        most = max(most, hidden)
        inputs.append(letters.replace("...", "".join(unused[:hidden][::-1])))
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        out = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return inputs, out.replace("...", "".join(unused[:most][::-1]))


_RULES: dict[str, Callable[[_Rewriter, fx.Node], fx.Node | None]] = {
    **dict.fromkeys(("matmul", "mm", "bmm"), _product),
    **dict.fromkeys(("addmm", "baddbmm"), _sum_and_product),
    "einsum": _einsum,
}
