"""Edits an ONNX model: adds and drops initializers, adds nodes, shares constants, orders nodes."""

from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class ModelWriter:
    """Edits `model` in place; `dropped` are the initializers that `finish` removes.

    The user may have given inputs and parameters any name: `free_name` makes one that is not used yet.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.constants: dict[bytes, str] = {}
        self.dropped: set[str] = set()
        graph = model.graph
        self._used = {value.name for value in (*graph.input, *graph.initializer)}
        self._used.update(name for node in graph.node for name in node.output)

    def free_name(self, name: str) -> str:
        """The name, with underscores appended until the model does not use it."""
        while name in self._used:
            name += "_"
        return name

    def add_initializer(self, array: np.ndarray, name: str) -> str:
        """Stores an array under an unused name; returns the name."""
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, array: np.ndarray, stem: str) -> str:
        """The name of an initializer with this value; equal ones are shared."""
        key = bytes(array.dtype.str, "ascii") + array.tobytes() + bytes(str(array.shape), "ascii")
        if key not in self.constants:
            self.constants[key] = self.add_initializer(array, self.free_name(f"{stem}{len(self.constants)}"))
        return self.constants[key]

    def add_node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node at the end (`finish` puts it in order); returns its output."""
        self.model.graph.node.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def finish(self) -> None:
        """Removes the dropped initializers and puts the nodes in order."""
        keep_initializers(self.model, initializers_of(self.model).keys() - self.dropped)
        sort_topologically(self.model)


def initializers_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def keep_initializers(model: onnx.ModelProto, names: Set[str]) -> None:
    """Removes all other initializers."""
    remaining = [tensor for tensor in model.graph.initializer if tensor.name in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend(remaining)


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or `default` if it has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def takes_rows(node: onnx.NodeProto) -> bool:
    """Whether the node takes rows of a table."""
    return bool(node.op_type == "Gather" and not attribute_of(node, "axis", 0))


def name_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Renames the outputs. What is inside and has one of their names gets another; an input keeps its own."""
    writer, graph = ModelWriter(model), model.graph
    inputs = {value.name for value in graph.input}
    names = [f"{name}_output" if name in inputs else name for name in names]
    inside = {name for node in graph.node for name in node.output}
    renamed: dict[str, str] = {}
    for output, name in zip(graph.output, names, strict=True):
        if output.name not in inside or output.name in renamed:  # an input, a parameter, an output twice
            copied = writer.free_name(f"{name}_copy")
            graph.node.append(helper.make_node("Identity", [output.name], [copied]))
            output.name = copied
        renamed[output.name] = name
    for taken in set(names) - renamed.keys():
        renamed[taken] = writer.free_name(taken)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.initializer, *graph.value_info):
        value.name = renamed.get(value.name, value.name)


def drop_dead_nodes(model: onnx.ModelProto) -> None:
    """Removes nodes whose outputs nobody reads."""
    outputs = {value.name for value in model.graph.output}
    while True:
        used = outputs | {name for node in model.graph.node for name in node.input}
        live = [node for node in model.graph.node if used.intersection(node.output)]
        if len(live) == len(model.graph.node):
            return
        del model.graph.node[:]
        model.graph.node.extend(live)


def sort_topologically(model: onnx.ModelProto) -> None:
    """Orders the nodes so that each comes after what it reads; stable otherwise. ValueError for a cycle."""
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
            sources = [makers[name] for name in graph.node[current].input if name not in ready]
            waiting = [source for source in sources if source not in done]
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
