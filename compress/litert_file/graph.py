"""OnnxGraph: an encoded ONNX model as the LiteRT writer reads it: shapes, constants, and who reads what.

Nodes whose inputs are all constant are computed here. A weight that is stored in few bits (`encoding/stored`:
Cast and Mul; `encoding/qdq`: DequantizeLinear) stays integers with their steps: a StoredConstant.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConstant:
    """Integers of `bits` bits, and their steps: one, or one for each index of dimension `axis`. `quantized`:
    what they belong to computes with integers, too.
    """

    integers: np.ndarray
    steps: np.ndarray
    axis: int
    bits: int
    quantized: bool

    def values(self) -> np.ndarray:
        """What the integers stand for, float32."""
        shape = [1] * self.integers.ndim
        if self.steps.size > 1:
            shape[self.axis] = -1
        return np.asarray(self.integers * self.steps.reshape(shape), np.float32)


Constant = np.ndarray | StoredConstant


class OnnxGraph:
    """Reads `model`, whose shapes are inferred first. `nodes` are those that compute with inputs."""

    def __init__(self, model: onnx.ModelProto):
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self.graph = inferred.graph
        self._opset = {entry.domain: entry.version for entry in inferred.opset_import}
        self._constants: dict[str, Constant] = {}
        for tensor in self.graph.initializer:
            self._constants[tensor.name] = numpy_helper.to_array(tensor)
        self.nodes = [node for node in self.graph.node if not self._is_folded(node)]
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that are not stored."""
        return [value for value in self.graph.input if value.name not in self._constants]

    @cached_property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return [value.name for value in self.graph.output]

    @cached_property
    def _types(self) -> dict[str, tuple[str, Shape]]:
        values = [*self.graph.value_info, *self.graph.input, *self.graph.output]
        return {value.name: _type(value) for value in values if value.type.tensor_type.HasField("shape")}

    def shape(self, name: str) -> Shape | None:
        """A value's shape; None where inference does not tell its rank."""
        constant = self._constants.get(name)
        if constant is not None:
            array = constant.integers if isinstance(constant, StoredConstant) else constant
            return tuple(array.shape)
        return self._types[name][1] if name in self._types else None

    def dtype(self, name: str) -> str:
        """A value's type, as NumPy calls it; float32 where inference does not tell."""
        return self._types[name][0] if name in self._types else "float32"

    def constant(self, name: str) -> Constant | None:
        """The value of a constant, or None."""
        return self._constants.get(name)

    def array(self, name: str) -> np.ndarray | None:
        """The same as an array."""
        constant = self._constants.get(name)
        return constant.values() if isinstance(constant, StoredConstant) else constant

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads a value, if there is one and the value is no output."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def _is_folded(self, node: onnx.NodeProto) -> bool:
        """Whether all that a node reads is constant; its results are kept then."""
        if node.op_type == "Constant":
            self._constants[node.output[0]] = _constant_of(node)
            return True
        if not node.input or not all(name in self._constants for name in node.input if name):
            return False
        given = [self._constants[name] for name in node.input if name]
        stored = _stored(node, given)
        if stored is not None:
            self._constants[node.output[0]] = stored
            return True
        for name, value in zip(node.output, self._computed(node), strict=False):
            self._constants[name] = value
        return True

    def _computed(self, node: onnx.NodeProto) -> list[np.ndarray]:
        arrays = {name: np.asarray(self.array(name)) for name in node.input if name}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        model = helper.make_model(
            helper.make_graph([node], "one", inputs, outputs),
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._opset.items()],
        )
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, arrays)]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constant_of(node: onnx.NodeProto) -> np.ndarray:
    value = helper.get_attribute_value(node.attribute[0])
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _stored(node: onnx.NodeProto, given: list[Constant]) -> StoredConstant | None:
    """What a node makes of constants that stay integers; None for any other node."""
    first, steps = given[0], given[1] if len(given) > 1 else None
    if node.op_type == "Cast":
        return first if isinstance(first, StoredConstant) else _integers(first)
    if not isinstance(steps, np.ndarray):
        return None
    if node.op_type == "DequantizeLinear":
        kept = first if isinstance(first, StoredConstant) else _integers(first)
        axis = 0 if kept is None else _axis(node, kept.integers.ndim)
        return kept and replace(kept, steps=steps.ravel(), axis=axis, quantized=True)
    if node.op_type == "Mul" and isinstance(first, StoredConstant):
        return _scaled(first, steps)
    return None


def _integers(array: np.ndarray) -> StoredConstant | None:
    """Integers that have no steps yet; None where the array has none that are stored so."""
    bits = {np.dtype(np.int8): 8, np.dtype(ml_dtypes.int4): 4, np.dtype(np.int32): 32}.get(array.dtype)
    if bits is None or not array.ndim:
        return None
    integers = array.astype(np.int8) if bits == 4 else array
    return StoredConstant(integers=integers, steps=np.ones(1, np.float32), axis=0, bits=bits, quantized=False)


def _scaled(stored: StoredConstant, steps: np.ndarray) -> StoredConstant | None:
    """Integers that are multiplied with steps that vary along one dimension at most."""
    varying = [dim for dim, size in enumerate(steps.shape) if size > 1]
    if stored.steps.size > 1 or len(varying) > 1 or steps.ndim not in (0, stored.integers.ndim):
        return None
    scaled = np.asarray(steps.ravel() * stored.steps[0], np.float32)
    return replace(stored, steps=scaled, axis=varying[0] if varying else 0)


def _axis(node: onnx.NodeProto, rank: int) -> int:
    return int(attributes(node).get("axis", 1)) % rank


def _type(value: onnx.ValueInfoProto) -> tuple[str, Shape]:
    tensor = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return dtype, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
