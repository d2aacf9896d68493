"""From a folded graph to an ONNX template, and from the template to each candidate by replacing initializers.

`torch.onnx.export` takes seconds; the template is exported once and a candidate is a copy with other weights,
in milliseconds. The template knows which initializer holds which parameter, and which ONNX value is which
node of the graph (proved by running both), so that channels and quantization can be written into it.
"""

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from ...errors import StageError
from ..graph.graph import clone, get_tensor
from .opset import EXPORTED, lower_opset

IR_VERSION = 10
_STATE = vars(onnxruntime.capi.onnxruntime_pybind11_state)
RUNTIME_ERRORS = tuple(  # ONNX Runtime's exceptions share no base class but Exception
    item for item in _STATE.values() if isinstance(item, type) and issubclass(item, Exception)
)
FLUSH_BELOW = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where a parameter stands in the ONNX file: the initializer's name, and whether it is transposed there."""

    initializer: str
    transposed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A float32 ONNX model with the places of parameters (by parameter name) and of tensors (by graph node
    name).

    `baked` has the digests of parameters that the exporter stored in a form of its own (a GRU's gates in
    another order): the template serves models with equal ones only.
    """

    model: onnx.ModelProto
    parameters: Mapping[str, Stored]
    values: Mapping[str, str]
    baked: Mapping[str, str] = field(default_factory=dict)

    def serves(self, folded: fx.GraphModule) -> bool:
        """Whether the template can be filled with the parameters of `folded`."""
        state = folded.state_dict()
        if state.keys() != self.parameters.keys() | self.baked.keys():
            return False
        return all(_digest(state[name]) == digest for name, digest in self.baked.items())


def export_template(folded: fx.GraphModule, inputs: tuple[Tensor, ...], opset: int) -> Template:
    """The template of a folded graph. Raises StageError when the exporter, the opset or ONNX Runtime refuses
    the model.
    """
    baked: frozenset[str] = frozenset()
    while True:
        marked = _marked(folded, baked)
        model = _export(marked, inputs, max(opset, EXPORTED))
        _strip(model)
        _flatten_and_pool(model)
        if opset < EXPORTED:
            lower_opset(model, opset)
        _tie(model)
        parameters = _locate_parameters(model, marked)
        lost = folded.state_dict().keys() - parameters.keys()
        if lost <= baked:
            break
        baked |= lost
    values = _locate_values(model, marked, inputs)
    del model.graph.value_info[:]
    digests = {name: _digest(folded.state_dict()[name]) for name in sorted(lost)}
    return Template(model=model, parameters=parameters, values=values, baked=digests)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(
        f"{tuple(tensor.shape)}".encode() + tensor.detach().contiguous().numpy().tobytes()
    ).hexdigest()


def _marked(folded: fx.GraphModule, exact: Set[str]) -> fx.GraphModule:
    """A copy whose parameters all differ: the exporter drops zero biases and lets equal parameters share an
    initializer.

    Those in `exact` keep their values: they cannot be filled in later.
    """
    marked, generator = clone(folded), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in marked.named_parameters():
            if parameter.is_floating_point() and name not in exact:
                spread = 0.05 * float(parameter.abs().mean()) + 1e-4
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return marked


def _export(folded: fx.GraphModule, inputs: tuple[Tensor, ...], opset: int) -> onnx.ModelProto:
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    inputs = tuple(x if len(x) > 1 else x.repeat(2, *[1] * (x.dim() - 1)) for x in inputs)
    with quiet_exporter():
        try:
            program = torch.onnx.export(
                folded, inputs, dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise StageError(
                f"torch.onnx.export failed: {type(error).__name__}: {error}"[:400], stage="export"
            ) from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's notices (torchvision is missing, deprecated internals) away from the user's
    terminal.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Removes what no runtime reads (70 KB of a ResNet-20) and gives the batch dimension its name."""
    graph = model.graph
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name, model.producer_version, model.doc_string = "autocompress", "", ""
    for holder in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.input,
        *graph.output,
        *graph.value_info,
    ):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del model.functions[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_param = "batch"


def _flatten_and_pool(model: onnx.ModelProto) -> None:
    """Rewrites what would freeze or slow a pruned model.

    Reshape to [-1, C·H·W] becomes Flatten, a mean over H and W becomes GlobalAveragePool.
    """
    constants = initializers_of(model)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*model.graph.value_info, *model.graph.input)}
    for node in model.graph.node:
        second = constants.get(node.input[1]) if len(node.input) > 1 else None
        if second is None:
            continue
        values, rank = numpy_helper.to_array(second).tolist(), ranks.get(node.input[0], 0)
        if (
            node.op_type == "Reshape"
            and len(values) == 2
            and values[0] == -1
            and values[1] > 0
            and rank > 2
            and ranks.get(node.output[0]) == 2
        ):
            _become(node, "Flatten", axis=1)
        elif (
            node.op_type == "ReduceMean"
            and rank == 4
            and sorted(d % 4 for d in values) == [2, 3]
            and _attribute(node, "keepdims", 1) == 1
        ):
            _become(node, "GlobalAveragePool")
    _drop_unused_initializers(model)


def _tie(model: onnx.ModelProto) -> None:
    """A matrix that the exporter stored both ways (the table of an embedding and the classifier) is stored
    once.

    ONNX Runtime transposes it when the session loads.
    """
    matrices = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2
    }
    for name, array in matrices.items():
        twin = next(
            (o for o, a in matrices.items() if o < name and a.size > 1 and np.array_equal(a, array.T)), None
        )
        if twin is not None:
            model.graph.node.insert(0, onnx.helper.make_node("Transpose", [twin], [name], perm=[1, 0]))
    made = {name for node in model.graph.node for name in node.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in made]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _become(node: onnx.NodeProto, op_type: str, **attributes: int) -> None:
    node.op_type = op_type
    del node.input[1:]
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _drop_unused_initializers(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def initializers_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _locate_parameters(model: onnx.ModelProto, folded: fx.GraphModule) -> dict[str, Stored]:
    """By name and shape where the exporter kept them, else by value (linear weights are transposed under
    made-up names).
    """
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for name, tensor in folded.state_dict().items():
        value = tensor.detach().numpy()
        if name in stored and np.array_equal(stored[name], value):
            found[name] = Stored(initializer=name, transposed=False)
            continue
        for other, array in stored.items():
            if array.ndim == 2 and array.shape == value.shape[::-1] and np.array_equal(array, value.T):
                found[name] = Stored(initializer=other, transposed=True)
            elif _holds(array, value):
                found[name] = Stored(initializer=other, transposed=False)
    return found


def _holds(array: np.ndarray, value: np.ndarray) -> bool:
    """Equal, or a vector (the slopes of a PReLU) among dimensions of size 1."""
    if value.ndim == 1 < array.ndim and max(array.shape) == array.size:
        return np.array_equal(array.ravel(), value)
    return array.size > 1 and array.shape == value.shape and np.array_equal(array, value)


class _Values(fx.Interpreter):
    """Runs a graph and keeps every tensor."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, Tensor):
            self.kept[n.name] = result
        return result


def _locate_values(
    model: onnx.ModelProto, folded: fx.GraphModule, inputs: tuple[Tensor, ...]
) -> dict[str, str]:
    """The ONNX value of each graph node: the equal one of the same name, else the only equal one.

    Equal means that both models computed the same from the example: names alone are not trusted.
    """
    ran = _run_all_values(model, inputs)
    torch_values = _Values(folded)
    with torch.inference_mode():
        torch_values.run(*inputs)
    placeholders = [node.name for node in folded.graph.nodes if node.op == "placeholder"]
    found = {name: value.name for name, value in zip(placeholders, model.graph.input, strict=True)}
    for name, tensor in torch_values.kept.items():
        array = tensor.numpy()
        equal = (
            [name] if name in ran and _close(ran[name], array) else [v for v in ran if _close(ran[v], array)]
        )
        if len(equal) == 1:
            found.setdefault(name, equal[0])
    return found


def _run_all_values(model: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Every tensor that the nodes of the model make, unoptimized."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = list(dict.fromkeys(name for node in probe.graph.node for name in node.output if name))
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    feeds = {value.name: x.numpy() for value, x in zip(probe.graph.input, inputs, strict=True)}
    try:
        session = onnxruntime.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return dict(zip(names, session.run(names, feeds), strict=True))
    except RUNTIME_ERRORS as error:
        raise StageError(
            f"ONNX Runtime cannot run the exported model: {error}"[:400], stage="export"
        ) from error


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and np.allclose(
        left, right, rtol=1e-3, atol=1e-3 * max(1e-6, float(np.abs(right).max(initial=0)))
    )


def flush_denormals(array: np.ndarray) -> np.ndarray:
    """The array with subnormal float32 values set to zero: weights near 1e-39 made a model 57 times slower."""
    return np.where(np.abs(array) < FLUSH_BELOW, np.float32(0), array) if array.dtype == np.float32 else array


def fill_template(template: Template, folded: fx.GraphModule) -> onnx.ModelProto:
    """A copy of the template's model that holds the parameters of `folded`, whatever their new shapes."""
    model = onnx.ModelProto()
    model.graph.node.extend(template.model.graph.node)
    model.graph.input.extend(template.model.graph.input)
    model.graph.output.extend(template.model.graph.output)
    model.opset_import.extend(template.model.opset_import)
    model.ir_version, model.producer_name, model.graph.name = template.model.ir_version, "autocompress", "g"
    holders = {stored.initializer: (name, stored.transposed) for name, stored in template.parameters.items()}
    for tensor in template.model.graph.initializer:
        if tensor.name not in holders:
            model.graph.initializer.append(tensor)
            continue
        name, transposed = holders[tensor.name]
        array = flush_denormals(get_tensor(folded, name).detach().numpy())
        if array.ndim == 1 < len(tensor.dims):
            array = array.reshape([-1 if size > 1 else 1 for size in tensor.dims])
        model.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(array.T if transposed else array), tensor.name)
        )
    return model
