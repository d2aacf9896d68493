"""Weights that a model computes from its parameters at each call are stored as plain parameters.

Standardized weights, a scaled bias, the product of two factors: a layer with such a weight could be neither
seen nor compressed. Training changes the stored values from then on.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from ..graph import LAYERS, TRANSPOSED, argument, get_tensor, operation, set_tensor, varying_nodes

_PARAMETERS = dict.fromkeys(LAYERS | TRANSPOSED, (1, 2)) | {"batch_norm": (1, 2, 3, 4)}


def store_computed_parameters(module: fx.GraphModule) -> set[str]:
    """Replaces weights and biases that are computed from parameters alone by their values, in place.

    A value takes the name of the parameter of its size that it was computed from, if nothing else reads it.
    Returns the names of all parameters that values were computed from.
    """
    varying = varying_nodes(module)
    absorbed: set[str] = set()
    for node in list(module.graph.nodes):
        for index in _PARAMETERS.get(operation(node), ()):
            source = argument(node, index)
            if isinstance(source, fx.Node) and source.op == "call_function" and source not in varying:
                absorbed |= _store(module, source)
    module.recompile()
    return absorbed


def _store(module: fx.GraphModule, source: fx.Node) -> set[str]:
    """Replaces a node by a parameter with its value; returns the parameters that it was computed from."""
    read = [str(node.target) for node in _sources(source, set()) if node.op == "get_attr"]
    value = _value(module, source)
    path, dot, leaf = (read or [source.name])[0].rpartition(".")
    name = f"{path}{dot}{leaf}_{source.name}"
    set_tensor(module, name, value)
    with module.graph.inserting_before(source):
        stored = module.graph.get_attr(name)
    stored.meta["val"] = source.meta["val"]
    source.replace_all_uses_with(stored)
    module.graph.eliminate_dead_code()
    still_read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for free in read:
        if free not in still_read and get_tensor(module, free).numel() == value.numel():
            set_tensor(module, free, value)
            stored.target = free
            break
    return set(read)


def _value(module: fx.GraphModule, source: fx.Node) -> Tensor:
    with torch.no_grad():
        value: Tensor = _computed(module, source, {})
    return value.detach().clone(memory_format=torch.contiguous_format)


def _computed(module: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """What the node computes; it and all that it reads depend on no input of the model."""
    if node not in values:
        for one in node.all_input_nodes:
            _computed(module, one, values)
        if node.op == "get_attr":
            values[node] = get_tensor(module, str(node.target))
        else:
            assert callable(node.target)
            args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return values[node]


def _sources(node: fx.Node, seen_nodes: set[fx.Node]) -> Iterator[fx.Node]:
    """All nodes that a node's value depends on, the nearest first."""
    for one in node.all_input_nodes:
        if one not in seen_nodes:
            seen_nodes.add(one)
            yield one
            yield from _sources(one, seen_nodes)
