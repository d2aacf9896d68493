"""The operators of a .tflite file, by the schema that comes with LiteRT."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INTEGERS = ("int8", "int4", "int2")
_IDENTIFIER = b"TFL3"


class Operator(NamedTuple):
    """One operator: its `number`, its `kind`, and the `layer` whose weight it takes ("" for all others).

    `precision` is what a layer computes in; `expands` is the number of the operator that makes its weight
    float32, None without one.
    """

    number: int
    kind: str
    layer: str
    precision: str
    expands: Any


class File:
    """A .tflite file with one graph."""

    def __init__(self, content: bytes):
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        (self._graph,) = self._model.subgraphs
        self._inputs = list(self._graph.inputs)

    def operators(self) -> Iterator[Operator]:
        """All operators but those that make a stored weight float32, once, when the file is loaded."""
        expanding = {}
        for number, found in enumerate(self._graph.operators):
            if self._kind(found) == "DEQUANTIZE" and self._is_stored(found.inputs[0]):
                expanding[int(found.outputs[0])] = number
                continue
            kind, layer, precision, expands = self._kind(found), "", "", None
            if kind in LAYERS:
                layer = self._text(found.inputs[1])
                types = [self._type(index) for index in found.inputs[:2]]
                precision = "int8" if all(name in _INTEGERS for name in types) else types[0]
            for index in found.inputs:
                expands = expanding.get(int(index), expands)
            yield Operator(number, kind, layer, precision, expands)

    def alone(self, operator: Operator, shapes: dict[int, list[int]]) -> bytes:
        """A model of one operator; `shapes` has those of tensors by number."""
        graph, before = self._graph, (self._graph.operators, self._graph.inputs, self._graph.outputs)
        found = graph.operators[operator.number]
        numbers = [operator.number] if operator.expands is None else [operator.expands, operator.number]
        made = [int(index) for number in numbers for index in graph.operators[number].outputs]
        for index, tensor in enumerate(graph.tensors):
            if index in shapes:
                tensor.shape, tensor.shapeSignature = shapes[index], None
        graph.inputs = [
            int(index)
            for index in found.inputs
            if index >= 0 and int(index) not in made and not self._is_stored(index)
        ]
        graph.outputs = list(found.outputs)
        graph.operators = [before[0][number] for number in numbers]
        builder = flatbuffers.Builder(1 << 12)
        builder.Finish(self._model.Pack(builder), _IDENTIFIER)
        graph.operators, graph.inputs, graph.outputs = before
        return bytes(builder.Output())

    def _kind(self, found: Any) -> str:
        return str(_NAMES[self._model.operatorCodes[found.opcodeIndex].builtinCode])

    def _type(self, index: int) -> str:
        return str(_TYPES[self._graph.tensors[index].type])

    def _text(self, index: int) -> str:
        name = self._graph.tensors[index].name
        return str(name.decode("utf-8", "replace")) if name else ""

    def _is_stored(self, index: int) -> bool:
        buffer = self._model.buffers[self._graph.tensors[index].buffer]
        return buffer.data is not None and len(buffer.data) > 0
