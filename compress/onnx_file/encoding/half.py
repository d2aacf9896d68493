"""Layers that compute in float16: weights and biases of 2 bytes, a Cast in front and a Cast behind.

The file is strongly typed: float16 values are computed in float16. A second pass extends this to element-wise
operations, pooling, moves of data and products of activations behind float16 layers: neighbours exchange 2
bytes a value, and no Cast remains between them. Operations that lose digits (softmax, normalization, means
over tokens) stay in float32.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from torch import fx

from ....errors import StageError
from ...graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ..export import Template
from ..writer import ModelWriter, drop_dead_nodes, initializers_of, sort_topologically

LARGEST = float(np.finfo(np.float16).max)
_MOVES = tuple("Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Expand Gather Identity".split())
# By operator, which inputs have the type of the output; None: all.
_FOLLOWS: Mapping[str, tuple[int, ...] | None] = {
    **dict.fromkeys("Relu LeakyRelu Sigmoid Tanh HardSigmoid HardSwish Gelu Erf".split(), (0,)),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), (0,)),
    **dict.fromkeys(_MOVES, (0,)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Clip", "PRelu", "Concat", "MatMul"), None),
    "Pad": (0, 2),
}


def round_to_half(module: fx.GraphModule, layers: Collection[str]) -> None:
    """Rounds weights and biases of the named layers to float16, in place. StageError for a value beyond
    65504.
    """
    for name, node in layer_nodes(module):
        if name not in layers:
            continue
        for parameter in (argument(node, 1), argument(node, 2)):
            if parameter is None:
                continue
            tensor = get_tensor(module, str(parameter.target)).detach()
            if float(tensor.abs().max()) > LARGEST:
                problem = f"{parameter.target} has values beyond {LARGEST:g}, the largest of float16"
                raise StageError(f"{problem}: keep {name} in float32", stage="calibrate")
            set_tensor(module, str(parameter.target), tensor.half().float())


def write_half(model: onnx.ModelProto, template: Template, layers: Mapping[str, str]) -> None:
    """Converts the layers' nodes to float16, in place. `layers` has the weight parameter by layer."""
    if not layers:
        return
    half = _HalfWriter(model)
    for name, weight in layers.items():
        initializer = template.parameters[weight].initializer if weight in template.parameters else ""
        nodes = [node for node in model.graph.node if initializer in node.input]
        if not nodes or any(node.op_type not in ("Conv", "Gemm", "MatMul") for node in nodes):
            message = f"the exported model does not hold the weight of {name} as it is: it cannot be float16"
            raise StageError(message, stage="build")
        half.store(initializer)
        for node in nodes:
            half.compute(node)
    half.follow()


class _HalfWriter:
    """Edits a model. By float32 tensor: `made` has its form if it is computed in float16, `casts` if it is
    cast.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.writer = ModelWriter(model)
        self.constants = initializers_of(model)
        self.made: dict[str, str] = {}
        self.casts: dict[str, str] = {}

    def store(self, initializer: str) -> None:
        """Converts a constant that nothing reads as float32 any more."""
        tensor = self.constants[initializer]
        array = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(array, initializer))
        self.made[initializer] = initializer

    def compute(self, node: onnx.NodeProto) -> None:
        """Makes a layer's node read and write float16."""
        for position, name in enumerate(node.input):
            if name and name not in self.casts and not self._convert(name):
                self.casts[name] = self.writer.add_node("Cast", [name], f"{name}.h", to=TensorProto.FLOAT16)
            node.input[position] = self.made.get(name) or self.casts.get(name, name)
        self._cast_back(node)

    def follow(self) -> None:
        """Runs nodes that read nothing but float16 in float16, first to last, and removes unread nodes."""
        sort_topologically(self.model)
        for node in [*self.model.graph.node]:
            source = node.input[0] if node.input else ""
            is_our_cast = node.op_type == "Cast" and node.output[0] == self.casts.get(source)
            if is_our_cast and source in self.made:
                self._replace(node.output[0], self.made[source])
            elif self._can_follow(node):
                for position in self._values_of(node):
                    self._convert(node.input[position])
                    node.input[position] = self.made[node.input[position]]
                self._cast_back(node)
        drop_dead_nodes(self.model)
        used = {name for node in self.model.graph.node for name in node.input}
        self.writer.dropped.update(self.constants.keys() - used)
        self.writer.finish()

    def _values_of(self, node: onnx.NodeProto) -> list[int]:
        """The positions of the inputs that have the type of the output."""
        positions = _FOLLOWS[node.op_type]
        present = [index for index, name in enumerate(node.input) if name]
        return present if positions is None else [index for index in present if index in positions]

    def _can_follow(self, node: onnx.NodeProto) -> bool:
        """Whether the node reads at least one value that is float16, and otherwise constants that fit."""
        if node.op_type not in _FOLLOWS or self._enters_recurrence(node):
            return False
        names = [node.input[index] for index in self._values_of(node)]
        computed = [name for name in names if name in self.made and name not in self.constants]
        if node.op_type == "MatMul" and len(computed) < 2:  # a layer, not a product of activations
            return False
        return bool(computed) and all(name in self.made or self._fits(name) for name in names)

    def _enters_recurrence(self, node: onnx.NodeProto) -> bool:
        """Whether there are only moves of data between the node and a recurrent layer, which stays float32.

        TensorRT-RTX 1.7 fails on a Cast there: an operation in float32 must come between.
        """
        readers = [reader for reader in self.model.graph.node if node.output[0] in reader.input]
        moved = (self._enters_recurrence(reader) for reader in readers if reader.op_type in _MOVES)
        return any(reader.op_type in ("GRU", "LSTM", "RNN") for reader in readers) or any(moved)

    def _fits(self, name: str) -> bool:
        """Whether this is a float32 constant that float16 can hold."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return False
        array = numpy_helper.to_array(tensor)
        return bool(np.abs(array[np.isfinite(array)]).max(initial=0) <= LARGEST)

    def _convert(self, name: str) -> bool:
        """Stores a constant in float16; other readers keep the float32 one. False if it is no constant."""
        if name in self.made or not self._fits(name):
            return name in self.made
        if sum(list(node.input).count(name) for node in self.model.graph.node) == 1:
            self.store(name)
        else:
            array = numpy_helper.to_array(self.constants[name]).astype(np.float16)
            self.made[name] = self.writer.constant(array, "_h")
        return True

    def _cast_back(self, node: onnx.NodeProto) -> None:
        for position, name in enumerate(node.output):
            half = f"{name}.16"  # no underscore: the exporter numbers names with it
            self.made[name] = node.output[position] = half
            self.writer.add_node("Cast", [half], name, to=TensorProto.FLOAT)

    def _replace(self, old: str, new: str) -> None:
        for node in self.model.graph.node:
            for position, name in enumerate(node.input):
                if name == old:
                    node.input[position] = new
