"""What the mask of an attention hides: nothing, what follows (causal), or something else."""

from typing import Literal

import numpy as np
import onnx

from ....errors import StageError
from ..run import answers
from ..writer import attribute_of
from .view import GraphView

Kind = Literal["causal", "none", "other"]
Hides = Literal["by sum", "where true", "where false"]

HIDDEN = -1e4  # a score that is lower by as much has no weight left in float32
_NODES = 200  # of what computes a mask
_BATCH = 2  # a mask may differ from sample to sample


def kind_of_mask(view: GraphView, mask: str, hides: Hides = "by sum") -> Kind:
    """Which mask is added to the scores, or hides them where it is true or false, whatever the input.

    "causal": 0 at and below the diagonal, and so far below 0 above it that nothing is left of these scores;
    "none": each row adds the same to all scores, which a softmax does not see; "other": any other mask, and
    one that depends on the input.
    """
    if mask not in view.masks:
        values = _value(view, mask)
        if values is not None and hides != "by sum":
            values = np.where(
                values.astype(bool) == (hides == "where true"), np.float32(-np.inf), np.float32(0)
            )
        view.masks[mask] = _kind(values)
    kind: Kind = view.masks[mask]
    return kind


def _kind(values: np.ndarray | None) -> Kind:
    if values is None or values.ndim < 2 or np.isnan(values).any():
        return "other"
    if values.ndim == 4 and not (values[:1] == values).all():
        return "other"
    one = values[0, 0] if values.ndim == 4 and values.shape[1] == 1 else values
    if np.isfinite(values).all() and (values == values[..., :1]).all():
        return "none"
    if one.ndim != 2 or one.shape[0] != one.shape[1]:
        return "other"
    seen = np.tri(len(one), dtype=bool)
    return "causal" if (one[seen] == 0).all() and (one[~seen] <= HIDDEN).all() else "other"


def _value(view: GraphView, name: str) -> np.ndarray | None:
    """What a tensor is whatever the input, for a batch of two; None for those that depend on it."""
    constant = view.array(name)
    if constant is not None:
        return constant
    nodes, constants = _sources(view, name)
    if not nodes:
        return None
    graph = onnx.helper.make_graph(nodes, "g", [], [onnx.ValueInfoProto(name=name)], initializer=constants)
    model = onnx.helper.make_model(graph, opset_imports=view.model.opset_import)
    model.ir_version = view.model.ir_version
    try:
        return np.asarray(answers(model, ())[0])
    except StageError:
        return None


def _sources(view: GraphView, name: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes and constants that a tensor is computed from, shapes as constants; none where an input's
    values are among them.
    """
    nodes: dict[int, onnx.NodeProto] = {}
    constants: dict[str, onnx.TensorProto] = {}
    waiting, seen = [name], set[str]()
    while waiting:
        tensor = waiting.pop()
        if not tensor or tensor in seen:
            continue
        seen.add(tensor)
        array, node = view.array(tensor), view.maker(tensor)
        if array is not None:
            constants[tensor] = onnx.numpy_helper.from_array(array, tensor)
        elif node is None or len(nodes) > _NODES:
            return [], []
        elif node.op_type == "Shape" and (shape := view.shape(node.input[0])) is not None:
            if None in shape[1:]:
                return [], []
            sizes = np.array([_BATCH if size is None else size for size in shape], np.int64)
            part = sizes[attribute_of(node, "start", 0) : attribute_of(node, "end", len(sizes))]
            constants[tensor] = onnx.numpy_helper.from_array(part, tensor)
        else:
            nodes[id(node)] = node
            waiting += node.input
    order = [node for node in view.model.graph.node if id(node) in nodes]
    return order, list(constants.values())
