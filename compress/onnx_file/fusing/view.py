"""GraphView: an ONNX graph by what makes each tensor, with constants and shapes, for rewriting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..writer import ModelWriter, attribute_of, drop_dead_nodes, keep_initializers, sort_topologically

Shape = tuple[int | None, ...]
_PRODUCTS = frozenset({"MatMulNBits", "DynamicQuantizeMatMul"})


class GraphView:
    """Changes `model` in place; `finish` drops what nobody reads, and puts the nodes in order."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.domains = {entry.domain for entry in model.opset_import}
        self._writer = ModelWriter(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._shapes = _shapes_of(model)
        self._count = 0
        self.masks: dict[str, Any] = {}  # the kinds of masks: computing them takes time
        self.known: dict[str, str] = {}  # tensors that several patterns share, by what they are

    def nodes(self, *kinds: str) -> list[onnx.NodeProto]:
        """The nodes of these kinds."""
        return [node for node in self.model.graph.node if node.op_type in kinds]

    def maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, if it is of one of these kinds."""
        node = self._makers.get(name)
        return node if node is not None and (not kinds or node.op_type in kinds) else None

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.model.graph.node if name in node.input]

    def shape(self, name: str) -> Shape | None:
        """The dimensions of a tensor, those that are free as None; None where the rank is not known."""
        tensor = self._constants.get(name)
        return tuple(tensor.dims) if tensor is not None else self._shapes.get(name)

    def array(self, name: str) -> np.ndarray | None:
        """The value of a constant; None for other tensors."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element; None for other tensors."""
        tensor = self._constants.get(name)
        if tensor is None or int(np.prod(tensor.dims)) != 1:
            return None
        return float(numpy_helper.to_array(tensor).reshape(()))

    def integers(self, name: str) -> list[int] | None:
        """The values of a constant vector or scalar of integers; None for other tensors."""
        array = self.array(name)
        return None if array is None or array.dtype.kind != "i" else [int(one) for one in array.ravel()]

    def constant(self, array: np.ndarray) -> str:
        """The name of an initializer with this value; equal ones are shared."""
        name = self._writer.constant(array, "_f")
        self._constants[name] = next(
            tensor for tensor in reversed(self.model.graph.initializer) if tensor.name == name
        )
        return name

    def free_name(self) -> str:
        """A name for a new tensor."""
        self._count += 1
        return self._writer.free_name(f"_fused{self._count}")

    def make(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str = "",
        *,
        domain: str = "",
        shape: Shape | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a node; returns its output. One that another node made is made by this one from now on."""
        name = output or self.free_name()
        if domain and domain not in self.domains:
            self.domains.add(domain)
            self.model.opset_import.append(helper.make_opsetid(domain, 1))
        before = self._makers.get(name)
        if before is not None:
            position = list(before.output).index(name)
            before.output[position] = self.free_name()  # nobody reads it
            self._makers[before.output[position]] = before
        node = helper.make_node(kind, list(inputs), [name], domain=domain, **attributes)
        self.model.graph.node.append(node)
        self._makers[name] = self.model.graph.node[-1]
        if shape is not None:
            self._shapes[name] = shape
        return name

    def make_several(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Adds a node with so many outputs; returns them."""
        names = [self.free_name() for _ in range(count)]
        self.model.graph.node.append(helper.make_node(kind, list(inputs), names, **attributes))
        self._makers |= dict.fromkeys(names, self.model.graph.node[-1])
        return names

    def finish(self) -> None:
        """Drops what nobody reads, and puts the nodes in order."""
        drop_dead_nodes(self.model)
        read = {name for node in self.model.graph.node for name in node.input}
        keep_initializers(self.model, read | {value.name for value in self.model.graph.output})
        sort_topologically(self.model)


def axis_of(node: onnx.NodeProto, rank: int, default: int = -1) -> int:
    """The node's `axis`, counted from the front."""
    axis = int(attribute_of(node, "axis", default))
    return axis + rank if axis < 0 else axis


def _shapes_of(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shapes that can be told, by tensor."""
    inferred = onnx.shape_inference.infer_shapes(_with_plain_products(model), data_prop=True)
    shapes: dict[str, Shape] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return shapes


def _with_plain_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with MatMul for what multiplies with integers, whose shapes ONNX does not infer."""
    if not any(node.op_type in _PRODUCTS for node in model.graph.node):
        return model
    dims = {tensor.name: [*tensor.dims] for tensor in model.graph.initializer}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for at, node in enumerate(node for node in plain.graph.node if node.op_type in _PRODUCTS):
        blocks = node.op_type == "MatMulNBits"
        shape = [attribute_of(node, "K", 0), attribute_of(node, "N", 0)] if blocks else dims[node.input[1]]
        weight = helper.make_tensor_value_info(f"_plain{at}", onnx.TensorProto.FLOAT, shape)
        plain.graph.input.append(weight)
        node.CopyFrom(helper.make_node("MatMul", [node.input[0], weight.name], list(node.output)))
    return plain
