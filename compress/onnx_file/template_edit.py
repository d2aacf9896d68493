"""Edits the constants of a template that pruning changes: groups, padded channels, reshapes."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from ..graph.channels import Edit
from .export import Template
from .writer import initializers_of

Changes = Mapping[str, tuple[Edit, tuple[int, ...]]]


def edit_template(model: onnx.ModelProto, template: Template, changes: Changes) -> bool:
    """Changes `model`, filled from `template`, in place. False if a change has no rule: then export anew."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for name, (edit, counts) in changes.items():
        node = makers.get(template.values.get(name, ""))
        rule = _RULES.get(edit.kind)
        if node is None or rule is None or not rule(model, node, edit, counts):
            return False
    return True


def _edit_groups(model: onnx.ModelProto, node: onnx.NodeProto, edit: Edit, counts: tuple[int, ...]) -> bool:
    for attribute in node.attribute:
        if attribute.name == "group":
            attribute.i = counts[0]
            return True
    return False


def _edit_pad(model: onnx.ModelProto, node: onnx.NodeProto, edit: Edit, counts: tuple[int, ...]) -> bool:
    pads = initializers_of(model).get(node.input[1])
    if node.op_type != "Pad" or pads is None or len(node.input) > 3:
        return False
    amounts = numpy_helper.to_array(pads).copy()
    amounts[edit.dim], amounts[len(amounts) // 2 + edit.dim] = counts
    _set_constant(model, node, 1, amounts)
    return True


def _edit_view(model: onnx.ModelProto, node: onnx.NodeProto, edit: Edit, counts: tuple[int, ...]) -> bool:
    if node.op_type == "Flatten":
        return True
    shape = initializers_of(model).get(node.input[1]) if node.op_type == "Reshape" else None
    if shape is None:
        return False
    sizes = numpy_helper.to_array(shape).copy()
    sizes[edit.dim] = counts[0]
    _set_constant(model, node, 1, sizes)
    return True


def _set_constant(model: onnx.ModelProto, node: onnx.NodeProto, position: int, value: np.ndarray) -> None:
    """Gives the node a new constant: the exporter shares equal ones between nodes."""
    name = f"{node.output[0]}_c{position}"
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[position] = name


_RULES: Mapping[str, Callable[[onnx.ModelProto, onnx.NodeProto, Edit, tuple[int, ...]], bool]] = {
    "groups": _edit_groups,
    "pad": _edit_pad,
    "view": _edit_view,
}
