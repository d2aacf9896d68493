"""A model under edit: initializers to add or drop, nodes to add, constants that are shared."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class ModelWriter:
    """Edits `model` in place; `dropped` are the initializers that `finish` removes.

    Names that the user gave (an input, a parameter of the model itself) may be any: `free_name` keeps ours
    apart from them.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.constants: dict[bytes, str] = {}
        self.dropped: set[str] = set()
        graph = model.graph
        self._given = {item.name for item in (*graph.input, *graph.initializer)} | {
            n for node in graph.node for n in node.output
        }

    def free_name(self, name: str) -> str:
        """The name, with as many underscores behind it as keep it apart from those of the model."""
        while name in self._given:
            name += "_"
        return name

    def add_initializer(self, array: np.ndarray, name: str) -> str:
        """Stores an array under a name that nothing else has; returns the name."""
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, array: np.ndarray, stem: str) -> str:
        """The name of an initializer with this value; equal ones are shared."""
        key = bytes(array.dtype.str, "ascii") + array.tobytes() + bytes(str(array.shape), "ascii")
        if key not in self.constants:
            self.constants[key] = self.add_initializer(array, self.free_name(f"{stem}{len(self.constants)}"))
        return self.constants[key]

    def add_node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node at the end, wherever its inputs are made; returns its output."""
        self.model.graph.node.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def finish(self) -> None:
        """Removes the dropped initializers and puts the nodes in order."""
        kept = [tensor for tensor in self.model.graph.initializer if tensor.name not in self.dropped]
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(kept)
        sort_topologically(self.model)


def drop_dead_nodes(model: onnx.ModelProto) -> None:
    """Removes nodes whose outputs nobody reads."""
    outputs = {value.name for value in model.graph.output}
    while True:
        used = outputs | {name for node in model.graph.node for name in node.input}
        kept = [node for node in model.graph.node if used.intersection(node.output)]
        if len(kept) == len(model.graph.node):
            return
        del model.graph.node[:]
        model.graph.node.extend(kept)


def sort_topologically(model: onnx.ModelProto) -> None:
    """Orders the nodes so that each stands behind what it reads; stable otherwise. ValueError for a tensor
    made of itself.
    """
    graph = model.graph
    edges = len(graph.node) + sum(len(node.input) for node in graph.node)
    ready = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    order: list[int] = []
    done: set[int] = set()

    def visit(index: int) -> None:
        stack = [index]
        while stack:
            current = stack[-1]
            waiting = [
                makers[n] for n in graph.node[current].input if n not in ready and makers[n] not in done
            ]
            if waiting:
                if len(stack) > edges:
                    raise ValueError(f"the tensor {graph.node[current].output[0]!r} is made of itself")
                stack.extend(waiting)
                continue
            stack.pop()
            if current not in done:
                done.add(current)
                order.append(current)

    for index in range(len(graph.node)):
        visit(index)
    nodes = [graph.node[index] for index in order]
    del graph.node[:]
    graph.node.extend(nodes)
