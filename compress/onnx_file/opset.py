"""Rewrites an exported model in opset 17 or 16, which torch's exporter does not write, for TensorRT 8.

TensorRT 8 lists opset 17 (onnx-tensorrt, docs/operators.md of 8.5), but its parser refuses no newer file
(`ModelImporter::importModel`, read in asfiyab-nvidia/onnx-tensorrt 0bef05b2, warns below 7 alone): it reads
what 18 changed as if it were older. In onnx-tensorrt's builtin_op_importers.cpp of 8.6 (commit
ba6a4fb34fdeaa3613bf981610c657e7b663a699) the `axes` input of ReduceMean and similar operators (not ReduceSum)
is ignored: every axis is reduced, without an error (NVIDIA/TensorRT#3467: refused since 10.0). Resize ignores
antialias, axes and keep_aspect_ratio_policy. Split rounds the parts of an uneven `num_outputs` down. Pad
refuses axes. 8.5 has no LayerNormalization (docs/operators.md; docs/Changelog.md: new in 8.6 EA), which is
new in opset 17: in 16 its sums are written out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import StageError
from .writer import ModelWriter, attribute_of, initializers_of

EXPORTED = 18  # the least that the exporter writes
_IR_VERSION = 8  # that of ONNX 1.12, which has opset 17
_REDUCTIONS = ("Max", "Mean", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")


def lower_opset(model: onnx.ModelProto, opset: int) -> None:
    """Rewrites a model of opset 18 in opset 17 or 16, in place. StageError names the operator that has no
    such form.
    """
    lowering = _Lowering(model)
    for node in [*model.graph.node]:
        if onnx.defs.get_schema(node.op_type, EXPORTED, node.domain).since_version <= opset:
            continue
        rule = _RULES.get(node.op_type)
        wrong = rule(lowering, node) if rule else "the operator is newer"
        if wrong is not None:
            problem = f"opset {opset} cannot write {node.op_type} as this model has it ({wrong})"
            remedy = f"set opset = {EXPORTED} or more in the target's profile, or keep it out of the model"
            raise StageError(f"{problem}: {remedy}", stage="export")
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    model.ir_version = _IR_VERSION
    lowering.finish()


class _Lowering:
    """A model under edit. Rules change a node in place, or return why it cannot be changed."""

    def __init__(self, model: onnx.ModelProto):
        self.writer = ModelWriter(model)
        self.constants = initializers_of(model)
        values = (*model.graph.value_info, *model.graph.input)
        self.shapes = {value.name: _shape(value) for value in values}

    def finish(self) -> None:
        """Removes the constants that became attributes, and orders the nodes."""
        used = {name for node in self.writer.model.graph.node for name in node.input}
        self.writer.dropped.update(self.constants.keys() - used)
        self.writer.finish()

    def reduction(self, node: onnx.NodeProto) -> str | None:
        """Axes become an attribute; without any, all are reduced in both forms."""
        only_named = _taken(node, "noop_with_empty_axes", 0)
        axes = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if axes is None and len(node.input) > 1 and node.input[1]:
            return "its axes are computed"
        listed = [] if axes is None else numpy_helper.to_array(axes).tolist()
        if only_named and not listed:
            return "it may reduce nothing"
        del node.input[1:]
        if listed:
            node.attribute.append(helper.make_attribute("axes", listed))
        return None

    def split(self, node: onnx.NodeProto) -> str | None:
        """Drops the number of equal parts: it is that of the outputs."""
        count, axis = _taken(node, "num_outputs", None), attribute_of(node, "axis", 0)
        shape = self.shapes.get(node.input[0], [])
        if count is not None and (axis >= len(shape) or not shape[axis] or shape[axis] % count):
            return "its parts may differ in size"
        return None

    def pad(self, node: onnx.NodeProto) -> str | None:
        """Without axes both forms are the same."""
        return "it has axes" if len(node.input) > 3 else None

    def resize(self, node: onnx.NodeProto) -> str | None:
        """Drops new attributes that have the value of the old behaviour."""
        antialias = _taken(node, "antialias", 0)
        policy = _taken(node, "keep_aspect_ratio_policy", b"stretch")
        if antialias or policy != b"stretch" or attribute_of(node, "axes", None) is not None:
            return "it has axes, antialias or keeps a ratio"
        return None

    def scatter(self, node: onnx.NodeProto) -> str | None:
        """Reductions by max and min are new."""
        reduces = attribute_of(node, "reduction", b"none") in (b"max", b"min")
        return "it reduces by max or min" if reduces else None

    def layer_normalization(self, node: onnx.NodeProto) -> str | None:
        """Writes (x - mean) / sqrt(variance + epsilon) · scale + bias in single operators."""
        axis, epsilon = attribute_of(node, "axis", -1), attribute_of(node, "epsilon", 1e-5)
        if axis >= 0 or len(node.output) > 1:
            return "its axis is counted from the front, or its mean is asked for"
        (x, scale, *bias), y = node.input, node.output[0]
        add = self.writer.add_node
        mean = add("ReduceMean", [x], f"{y}.mean", axes=list(range(axis, 0)))
        centered = add("Sub", [x, mean], f"{y}.centered")
        squares = add("Mul", [centered, centered], f"{y}.squares")
        variance = add("ReduceMean", [squares], f"{y}.variance", axes=list(range(axis, 0)))
        offset = self.writer.constant(np.array(epsilon, np.float32), "_o")
        raised = add("Add", [variance, offset], f"{y}.raised")
        normal = add("Div", [centered, add("Sqrt", [raised], f"{y}.deviation")], f"{y}.normal")
        if bias:
            scaled = add("Mul", [normal, scale], f"{y}.scaled")
            node.CopyFrom(helper.make_node("Add", [scaled, *bias], [y]))
        else:
            node.CopyFrom(helper.make_node("Mul", [normal, scale], [y]))
        return None


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _taken(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, which is removed."""
    value = attribute_of(node, name, default)
    remaining = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(remaining)
    return value


_RULES: Mapping[str, Callable[[_Lowering, onnx.NodeProto], str | None]] = {
    **{f"Reduce{name}": _Lowering.reduction for name in _REDUCTIONS},
    "Split": _Lowering.split,
    "Pad": _Lowering.pad,
    "Resize": _Lowering.resize,
    **dict.fromkeys(("ScatterElements", "ScatterND"), _Lowering.scatter),
    "LayerNormalization": _Lowering.layer_normalization,
}
