"""Operations that write into their input (`relu_`, `out += x`) become those that return a new tensor.

Whoever keeps the value of a node, to compare it or to start from it again, then has that value, and not what
a later operation made of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from ..graph import operation

_RETURN_THEIR_INPUT = ("dropout", "feature_dropout", "alpha_dropout")  # in the form for inference


def keep_inputs(module: fx.GraphModule) -> None:
    """Replaces operations that write into their first input.

    One stays if another tensor shows the change (`x[:, :2] += 1` changes `x`), or if types differ: the result
    has that of `x` only in place.
    """
    nodes, memory = list(module.graph.nodes), _memory_of(module)
    for index, node in enumerate(nodes):
        plain = _plain_form(node)
        if plain is None or node.args[0].op == "get_attr" or len(_types(node)) > 1:
            continue
        source, later = node.args[0], set(nodes[index + 1 :])
        others = [one for one in nodes[:index] if memory[one] is memory[source] and one is not source]
        if all(later.isdisjoint(one.users) for one in others):
            node.target, memory[node] = plain, node
            source.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    module.recompile()


def _types(node: fx.Node) -> set[torch.dtype]:
    values = [source.meta.get("val") for source in node.all_input_nodes]
    return {value.dtype for value in values if isinstance(value, Tensor)}


def _memory_of(module: fx.GraphModule) -> dict[fx.Node, object]:
    """By node, the same object for tensors that share memory."""
    memory: dict[fx.Node, object] = {}
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if operation(node) in _RETURN_THEIR_INPUT:
            memory[node] = memory[node.all_input_nodes[0]]
        else:
            memory[node] = value.untyped_storage() if isinstance(value, Tensor) else node
    return memory


def _plain_form(node: fx.Node) -> Callable[..., Any] | None:
    """The operation that computes the same and writes into nothing, if this one writes into its input."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    if not name.endswith("_") or name.startswith("_"):
        return None
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    plain: Callable[..., Any] | None = getattr(packet, overload, None)
    return plain
