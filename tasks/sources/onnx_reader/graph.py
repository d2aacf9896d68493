"""An ONNX file as plain records, and the refusal of files that hold no float32 model for inference."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper
from onnx.helper import get_attribute_value, tensor_dtype_to_np_dtype

from ....errors import TaskError
from ...boundary import user_code

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "Integer", "NBits")
_SCOPES = "pkg.torch.onnx.name_scopes"
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator. `scope` is the path of the module that it belongs to, empty if the file does not say."""

    kind: str
    name: str
    scope: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})" if self.name else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of the model; a size that is free is None."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The model: its nodes in the order of running, its tensors by name, what goes in and comes out.

    `fixed` tensors are constants of the computation, not weights.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, np.ndarray]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    fixed: frozenset[str] = frozenset()


def read_model(path: Path) -> Graph:
    """The graph in the file. TaskError if it is missing, damaged, quantized, in half precision or training
    form.
    """
    if not path.is_file():
        raise TaskError(f"There is no model {str(path)!r}: give an .onnx file.")
    with user_code(
        f"Reading {path}", remedy="Give an .onnx file as it was exported, with its data beside it"
    ):
        model = onnx.load(path)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        opset = next((one.version for one in model.opset_import if one.domain in _STANDARD), 0)
        tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = tuple(_node(one, opset) for one in model.graph.node)
    _require_float(path, nodes, tensors)
    given = [one for one in model.graph.input if one.name not in tensors]
    if not nodes or not given:
        raise TaskError(f"{path} has no operators or no inputs: give the .onnx file of a model.")
    return Graph(
        nodes=nodes,
        tensors=tensors,
        inputs=tuple(_input(path, one) for one in given),
        outputs=tuple(one.name for one in model.graph.output),
    )


def _node(node: onnx.NodeProto, opset: int) -> Node:
    kind = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
    return Node(
        kind=kind,
        name=node.name,
        scope=_scope(node),
        opset=opset,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={one.name: _attribute(one) for one in node.attribute},
    )


def _attribute(attribute: onnx.AttributeProto) -> Any:
    """A number, a string, an array, or a list of those."""
    value = get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value


def _scope(node: onnx.NodeProto) -> str:
    """The module's path, from the notes of torch's exporter, or from a name like `/layer1/layer1.0/Conv`."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    if _SCOPES in notes:
        try:
            scopes = [str(one) for one in ast.literal_eval(notes[_SCOPES])]
        except (ValueError, SyntaxError, TypeError):
            return ""
        return scopes[-2] if len(scopes) > 1 else ""
    path: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)


def _input(path: Path, given: onnx.ValueInfoProto) -> Input:
    kind = given.type.tensor_type
    if not kind.elem_type or not kind.HasField("shape") or not kind.shape.dim:
        raise TaskError(
            f"The input {given.name!r} of {path} is no tensor with a batch in dimension 0: "
            "export the model with it."
        )
    dtype = tensor_dtype_to_np_dtype(kind.elem_type)
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
    return Input(name=given.name, dtype=dtype, shape=shape)


def _require_float(path: Path, nodes: tuple[Node, ...], tensors: Mapping[str, np.ndarray]) -> None:
    for node in nodes:
        if any(word in node.kind for word in _QUANTIZED):
            raise TaskError(
                f"{path} is quantized ({node}): give the float32 model that it was made from; autocompress "
                "quantizes it."
            )
        if node.attributes.get("training_mode"):
            raise TaskError(
                f"{path} holds the model in training form ({node}): export it after model.eval()."
            )
    for name, array in tensors.items():
        if (array.dtype.kind == "f" and array.dtype.itemsize < 4) or array.dtype.name == "bfloat16":
            raise TaskError(
                f"{path} is in half precision ({name} is {array.dtype}): give the float32 model that it was "
                "made from; autocompress can store float16 itself."
            )


def simplified(graph: Graph) -> Graph:
    """The graph with its Constant nodes among the tensors, and without second names and uses of vectors.

    Torch's exporters store equal tensors once. A vector becomes one for each of its readers (the norms of two
    layers are not tied), a matrix stays one (an embedding that is the output layer too).
    """
    nodes, tensors = list[Node](), dict(graph.tensors)
    names, fixed = dict[str, str](), set[str]()
    for original in graph.nodes:
        node = replace(original, inputs=tuple(names.get(name, name) for name in original.inputs))
        source = node.inputs[0] if node.inputs else ""
        if node.kind == "Constant":
            tensors[node.outputs[0]] = np.asarray(next(iter(node.attributes.values())))
            fixed.add(node.outputs[0])
        elif node.kind == "Identity" and source in tensors and tensors[source].ndim == 2:
            names[node.outputs[0]] = source
        elif node.kind == "Identity" and source in tensors:
            tensors[node.outputs[0]] = tensors[source]
        else:
            nodes.append(node)
    if not any(array.ndim > 1 for array in graph.tensors.values()):
        fixed.clear()  # Paddle's exporter has the weights in Constant nodes
    read: set[str] = set()
    for index, node in enumerate(nodes):
        inputs = [_own(name, index, tensors) if name in read else name for name in node.inputs]
        nodes[index] = replace(node, inputs=tuple(inputs))
        read |= set(inputs)
    return replace(graph, nodes=tuple(nodes), tensors=tensors, fixed=frozenset(fixed))


def _own(name: str, reader: int, tensors: dict[str, np.ndarray]) -> str:
    """The name of the reader's own copy of a vector that was read before; other tensors keep their name."""
    if name not in tensors or tensors[name].ndim != 1 or tensors[name].dtype.kind != "f":
        return name
    tensors[f"{name}:{reader}"] = tensors[name]
    return f"{name}:{reader}"
