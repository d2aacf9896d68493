"""Weights that are stored in 8 or fewer bits and computed in float32.

ŵ = step · q, with one step for each output channel. The file has the integers (`pack`), a Cast and a Mul with
the steps, all of constants: ONNX Runtime and OpenVINO fold them when a session loads, and the float32 kernels
run that run the original. A DequantizeLinear in their place is not folded: it takes 1.1 to 5.6 times as long
as the whole float32 layer (ONNX Runtime 1.32).

Steps are float16 where that holds them with all its digits. A table from which only rows are taken is not
folded: rows of integers are taken, and these are expanded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import fx

from ....errors import StageError
from ...graph.graph import RECURRENT, array_of, get_tensor, set_tensor, weights_of
from ...levels.reconstruct import grid_limits
from ...levels.value_grids import steps_of
from ...recipe import BITS, Precision
from ..export import Template
from ..writer import ModelWriter, initializers_of, takes_rows
from .pack import write_integers

_HALF = np.finfo(np.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeight:
    """A weight's integers (int8, in the weight's shape), and their steps in a shape that broadcasts to it.

    `rows` are those of a recurrent weight before it was rounded: the file has them in another order.
    """

    integers: np.ndarray
    steps: np.ndarray
    bits: int
    rows: np.ndarray | None = None

    def values(self) -> np.ndarray:
        """The weight that the integers stand for, float32."""
        return np.asarray(self.integers * self.steps.astype(np.float32), np.float32)


def stored_weight(
    weight: np.ndarray, bits: int, *, axis: int = 0, steps: np.ndarray | None = None
) -> StoredWeight:
    """The integers of a weight whose output channels lie along `axis`.

    `steps` are those of a weight that is on a grid already, one per output channel; its integers are restored
    exactly.
    """
    if steps is None:
        steps = steps_of(torch.from_numpy(weight), bits, axis=axis).numpy()
    shape = [1] * weight.ndim
    shape[axis] = -1
    steps = steps.astype(np.float32).reshape(shape)
    integers = np.clip(np.rint(weight / steps), *grid_limits(bits)).astype(np.int8)
    in_half = steps.min() >= _HALF.smallest_normal and steps.max() <= _HALF.max
    return StoredWeight(integers=integers, steps=steps.astype(np.float16) if in_half else steps, bits=bits)


def round_stored(
    module: fx.GraphModule, precision: Mapping[str, Precision], steps: Mapping[str, np.ndarray]
) -> dict[str, StoredWeight]:
    """The stored weights of the layers in `precision`; those in `module` become what the integers stand
    for.

    `steps` has those of the layers that are on a grid already.
    """
    stored: dict[str, StoredWeight] = {}
    for weight in weights_of(module):
        if weight.layer not in precision or weight.layer in stored:
            continue
        before, bits = array_of(get_tensor(module, weight.parameter)), BITS[precision[weight.layer]]
        rounded = stored_weight(before, bits, axis=weight.step_dim, steps=steps.get(weight.layer))
        set_tensor(module, weight.parameter, torch.from_numpy(rounded.values()))
        stored[weight.layer] = replace(rounded, rows=before) if weight.operation in RECURRENT else rounded
    return stored


def write_stored(
    model: onnx.ModelProto, template: Template, layers: Mapping[str, tuple[str, StoredWeight]]
) -> None:
    """Replaces weights by their integers and the nodes that expand them, in place. `layers` has the weight
    parameter and the integers by layer.
    """
    if not layers:
        return
    writer = ModelWriter(model)
    recurrent = {name: weight for name, (_, weight) in layers.items() if weight.rows is not None}
    _write_recurrent(writer, recurrent)
    for name, (parameter, weight) in layers.items():
        if name in recurrent:
            continue
        if parameter not in template.parameters:
            problem = f"the exported model does not hold the weight of {name} as it is"
            raise StageError(f"{problem}: it cannot be stored in fewer bits", stage="build")
        place = template.parameters[parameter]
        writer.dropped.add(place.initializer)
        readers = [node for node in model.graph.node if place.initializer in node.input]
        if all(map(takes_rows, readers)):
            _expand_rows(writer, name, weight, readers)
            continue
        turned = replace(weight, integers=weight.integers.T, steps=weight.steps.T)
        _expand(writer, name, turned if place.transposed else weight, place.initializer)
    writer.finish()


def _expand(writer: ModelWriter, name: str, weight: StoredWeight, output: str) -> str:
    """Adds the weight's integers and steps, and the nodes that make the float32 weight `output` of them."""
    stored = writer.free_name(f"{name}.weight_q")
    values = write_integers(writer, stored, weight.integers, weight.bits, to=TensorProto.FLOAT)
    steps = writer.add_initializer(weight.steps, writer.free_name(f"_w{len(writer.model.graph.initializer)}"))
    if weight.steps.dtype == np.float16:
        steps = writer.add_node("Cast", [steps], f"{steps}f", to=TensorProto.FLOAT)
    return writer.add_node("Mul", [values, steps], output)


def _expand_rows(
    writer: ModelWriter, name: str, weight: StoredWeight, readers: Sequence[onnx.NodeProto]
) -> None:
    """Makes nodes that take rows of a table take rows of integers: only what is read is expanded to float32.

    A session expands fewer than 8 bits to int8 when it loads.
    """
    table = write_integers(writer, writer.free_name(f"{name}.weight_q"), weight.integers, weight.bits)
    steps = writer.add_initializer(weight.steps, writer.free_name(f"_w{len(writer.model.graph.initializer)}"))
    for reader in readers:
        output, rows = reader.output[0], reader.input[1]
        parts = []
        for suffix, source in (("q", table), ("s", steps)):
            taken = writer.add_node("Gather", [source, rows], f"{output}.{suffix}")
            parts.append(writer.add_node("Cast", [taken], f"{taken}f", to=TensorProto.FLOAT))
        reader.CopyFrom(onnx.helper.make_node("Mul", parts, [output]))


def _write_recurrent(writer: ModelWriter, layers: Mapping[str, StoredWeight]) -> None:
    """Replaces the matrices of GRU, LSTM and RNN nodes: directions × rows × inputs, the rows in ONNX's order
    of gates.
    """
    constants, written = initializers_of(writer.model), set[str]()
    nodes = [node for node in writer.model.graph.node if node.op_type in ("GRU", "LSTM", "RNN")]
    for matrix in dict.fromkeys(name for node in nodes for name in node.input[1:3] if name in constants):
        directions = numpy_helper.to_array(constants[matrix])
        ordered = [_in_order_of(rows, layers) for rows in directions]
        if not any(ordered):
            continue
        writer.dropped.add(matrix)
        parts = [f"{matrix}.{number}" for number in range(len(ordered))] if len(ordered) > 1 else [matrix]
        for part, rows, match in zip(parts, directions, ordered, strict=True):
            if match is None:
                writer.add_initializer(rows[np.newaxis], part)
                continue
            name, weight = match
            written.add(name)
            _expand(writer, name, weight, part)
        if len(parts) > 1:
            writer.add_node("Concat", parts, matrix, axis=0)
    if missing := layers.keys() - written:
        problem = f"the exported model does not hold the rows of {min(missing)} as they are"
        raise StageError(f"{problem}: they cannot be stored in fewer bits", stage="build")


def _in_order_of(rows: np.ndarray, layers: Mapping[str, StoredWeight]) -> tuple[str, StoredWeight] | None:
    """The layer whose rows these are in some order, and its weight in this order, 1 × rows × inputs."""
    for name, weight in layers.items():
        assert weight.rows is not None
        places = {row.tobytes(): place for place, row in enumerate(weight.rows)}
        order = [places.get(row.tobytes(), -1) for row in rows]
        if weight.rows.shape == rows.shape and min(order) >= 0:
            integers, steps = weight.integers[order][np.newaxis], weight.steps[order][np.newaxis]
            return name, replace(weight, integers=integers, steps=steps)
    return None
