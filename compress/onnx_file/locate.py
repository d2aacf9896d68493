"""Where an exported ONNX model stores each parameter of a graph, and which of its values is which node.

Both are found by comparing numbers, since the exporter transposes and renames. Nearly all pairs differ, and
do so in the first few numbers: those are compared first.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from ..graph.graph import array_of, operation
from .run import answers

_FEW = 64  # numbers of an array that are compared before all of it
_COPIES = frozenset({"alias", "clone", "contiguous", "detach", "dropout"})  # none of them is in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the ONNX file stores a parameter: the initializer's name, and whether it is transposed."""

    initializer: str
    transposed: bool


def locate_parameters(model: onnx.ModelProto, folded: fx.GraphModule) -> dict[str, Stored]:
    """Where each parameter is: under its own name, or found by its value. Not those that share one place.

    The exporter transposes weights of linear layers and gives them other names.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    places = {}
    for name, tensor in folded.state_dict().items():
        value = array_of(tensor)
        if name in arrays and same(arrays[name], value):
            places[name] = Stored(initializer=name, transposed=False)
            continue
        for other, array in arrays.items():
            if array.dtype != value.dtype:
                continue
            if array.ndim == 2 and same(array, value.T):
                places[name] = Stored(initializer=other, transposed=True)
            elif _holds(array, value):
                places[name] = Stored(initializer=other, transposed=False)
    holders = Counter(stored.initializer for stored in places.values())
    return {name: stored for name, stored in places.items() if holders[stored.initializer] == 1}


def _holds(array: np.ndarray, value: np.ndarray) -> bool:
    """Equal, or a vector (the slopes of a PReLU) among dimensions of size 1."""
    if value.ndim == 1 < array.ndim and max(array.shape) == array.size:
        return same(array.ravel(), value)
    return array.size > 1 and same(array, value)


def same(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same; most differ in the first row."""
    if array.ndim and (array.shape != other.shape or not np.array_equal(array[:1], other[:1])):
        return False
    return np.array_equal(array, other)


class _Values(fx.Interpreter):
    """Runs a graph and keeps every tensor."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.by_node: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, Tensor):
            self.by_node[n.name] = result.clone()  # a later operation may write into it
        return result


def locate_values(
    model: onnx.ModelProto, folded: fx.GraphModule, inputs: tuple[Tensor, ...]
) -> dict[str, str]:
    """The ONNX value of each graph node: the only equal one, or the one at the same place among as many equal
    ones as nodes, or else the equal one of the same name. A copy has that of its source.

    Values are equal if both models compute the same from the example; names alone are not trusted.
    """
    arrays = _run_all_values(model, inputs)
    torch_values = _Values(folded)
    with torch.inference_mode():
        torch_values.run(*inputs)
    placeholders = [node.name for node in folded.graph.nodes if node.op == "placeholder"]
    places = {name: value.name for name, value in zip(placeholders, model.graph.input, strict=True)}
    nodes: dict[tuple[str, ...], list[str]] = {}
    copies = {node.name: node.args[0] for node in folded.graph.nodes if operation(node) in _COPIES}
    for name, tensor in torch_values.by_node.items():
        if name in copies:
            continue
        expected = Expected(array_of(tensor))
        equal = tuple(value for value, array in arrays.items() if expected.is_close(array))
        nodes.setdefault(equal, []).append(name)
    for equal, names in nodes.items():
        if len(equal) == 1:
            places |= dict.fromkeys(names, equal[0])
        elif len(equal) == len(names):  # a pooling of 1 × 1 pixels, dead ReLUs: both run in the same order
            places |= dict(zip(names, equal, strict=True))
        else:
            places |= {name: name for name in names if name in equal}
    for name, source in copies.items():
        if str(source) in places:
            places[name] = places[str(source)]
    return places


def _run_all_values(model: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """All values that the nodes of the model compute, without optimizations."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    names = list(dict.fromkeys(name for node in exposed.graph.node for name in node.output if name))
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return dict(zip(names, answers(exposed, inputs), strict=True))


class Expected:
    """The value of a node, for comparison with many ONNX values: most differ in the first few numbers."""

    def __init__(self, value: np.ndarray):
        self.value = value
        largest = float(np.abs(value).max(initial=0, where=np.isfinite(value)))  # a mask has infinities
        self.tolerance = 1e-3 * max(1e-6, largest)

    def is_close(self, array: Any) -> bool:
        """Whether an ONNX value (it may be a sequence of tensors) equals it."""
        if not isinstance(array, np.ndarray) or array.shape != self.value.shape:
            return False
        few = slice(None, None, max(1, array.size // _FEW))
        pairs = ((array.reshape(-1)[few], self.value.reshape(-1)[few]), (array, self.value))
        return all(np.allclose(ours, theirs, rtol=1e-3, atol=self.tolerance) for ours, theirs in pairs)
