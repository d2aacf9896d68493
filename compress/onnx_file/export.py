"""From a folded graph to an ONNX template, and from the template to each candidate by replacing initializers.

`torch.onnx.export` takes seconds. The template is exported once; a candidate is a copy with other weights,
made in milliseconds. The template knows which initializer holds each parameter, and which ONNX value is which
node of the graph (proved by running both), so that pruning and quantization can be written into it.
"""

import contextlib
import hashlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.plain.parts import fixed_batch
from ..graph.graph import argument, array_of, batch_norms, clone, get_tensor, operation
from ..graph.tracing.trace import batch_of_two, dims_of, dynamic_shapes, output_names
from ..heap import give_memory_back
from .free_dims import name_free_dims, require_same_when_smaller
from .known_sizes import use_known_sizes
from .locate import Stored, locate_parameters, locate_values, same
from .opset import EXPORTED, lower_opset
from .writer import attribute_of, initializers_of, keep_initializers, name_outputs

IR_VERSION = 10
FLUSH_BELOW = float(np.finfo(np.float32).tiny)
_ZERO = 1e-4  # a parameter whose numbers are no larger is marked as zeros are
_MARK_OF_ZEROS = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A float32 ONNX model, where it stores each parameter, and the ONNX value of each graph node.

    The initializers of parameters have shapes and no numbers: a template is small, whatever the model weighs.
    `baked` has the digests of parameters that the exporter stored in another form (a GRU's gates in another
    order): the template serves only models with equal ones.
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
    """The template of a folded graph. Raises StageError if the exporter, the opset or ONNX Runtime refuses
    it.
    """
    distinct = _markable(folded)
    while True:
        marked = _marked(folded, distinct)
        model = _export(marked, inputs, max(opset, EXPORTED))
        _strip(model)
        name_free_dims(model, dims_of(folded))
        use_known_sizes(model)
        _flatten_and_pool(model)
        if opset < EXPORTED:
            lower_opset(model, opset)
        _tie(model)
        if (names := output_names(folded)) is not None:
            name_outputs(model, names)
        parameters = locate_parameters(model, marked)
        lost = folded.state_dict().keys() - parameters.keys()
        if lost.isdisjoint(distinct):
            break
        distinct -= lost  # they cannot be filled in later: they keep their values
    values = locate_values(model, marked, inputs)
    require_same_when_smaller(model, marked, inputs)
    del model.graph.value_info[:]
    _empty(model, {stored.initializer for stored in parameters.values()})
    digests = {name: _digest(folded.state_dict()[name]) for name in sorted(lost)}
    for tensor in (*marked.parameters(), *marked.buffers()):
        tensor.data = tensor.new_empty(0)  # onnxscript's rules remember the last model that they matched
    model = onnx.load_from_string(model.SerializeToString())  # a message keeps the memory of what it held
    give_memory_back()
    return Template(model=model, parameters=parameters, values=values, baked=digests)


def _empty(model: onnx.ModelProto, names: Set[str]) -> None:
    """Takes the numbers out of these initializers."""
    for tensor in model.graph.initializer:
        if tensor.name in names:
            name, dims, data_type = tensor.name, list(tensor.dims), tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, data_type
            tensor.dims.extend(dims)


def _digest(tensor: Tensor) -> str:
    data = array_of(tensor.contiguous()).tobytes()
    return hashlib.sha256(f"{tuple(tensor.shape)}".encode() + data).hexdigest()


def _markable(folded: fx.GraphModule) -> set[str]:
    """The parameters and statistics that a candidate may change."""
    names = {name for name, tensor in folded.named_parameters() if tensor.is_floating_point()}
    return names | {str(argument(norm, index).target) for norm in batch_norms(folded) for index in (3, 4)}


def _marked(folded: fx.GraphModule, names: Set[str]) -> fx.GraphModule:
    """A copy in which all tensors of these names differ: the exporter drops zero biases and merges what is
    equal, such as the statistics of two normalizations that never saw data. A bias of zeros gets a large
    mark: what it is added to and the sum would be taken for the same value.
    """
    marked, generator = clone(folded), torch.Generator().manual_seed(0)
    _fix_memory_layouts(marked)
    parameters = dict(marked.named_parameters())
    with torch.no_grad():
        for name in (*(name for name in parameters if name in names), *sorted(names - parameters.keys())):
            tensor = get_tensor(marked, name)
            size = float(tensor.abs().mean())
            spread = 0.05 * size + 1e-4 if size > _ZERO else _MARK_OF_ZEROS
            draw = torch.randn if name in parameters else torch.rand  # a variance stays positive
            tensor.add_(spread * draw(tensor.shape, generator=generator))
    return marked


def _fix_memory_layouts(module: fx.GraphModule) -> None:
    """Copies what attention gives: its strides depend on the kernel, and the exporter takes views by them."""
    for node in module.graph.nodes:
        if operation(node) == "scaled_dot_product_attention":
            with module.graph.inserting_after(node):
                copied = module.graph.call_function(torch.ops.aten.clone.default, (node,))
            copied.meta["val"] = node.meta["val"]
            copied.kwargs = {"memory_format": torch.contiguous_format}
            node.replace_all_uses_with(copied, delete_user_cb=lambda user, copied=copied: user is not copied)
    module.recompile()


def _export(folded: fx.GraphModule, inputs: tuple[Tensor, ...], opset: int) -> onnx.ModelProto:
    batch = fixed_batch(folded)
    with quiet_exporter():
        try:
            program = torch.onnx.export(
                folded,
                inputs if batch else batch_of_two(inputs),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=dynamic_shapes(dims_of(folded), batch),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            message = f"torch.onnx.export failed: {type(error).__name__}: {error}"[:400]
            raise StageError(message, stage="export") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hides the exporter's notices (torchvision is missing, what it could not fold) from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Removes what no runtime reads (70 KB of a ResNet-20), and names the batch dimension."""
    graph = model.graph
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name, model.producer_version, model.doc_string = "autocompress", "", ""
    values = (*graph.input, *graph.output, *graph.value_info)
    for holder in (model, graph, *graph.node, *graph.initializer, *values):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del model.functions[:]
    for value in values:
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_param = "batch"


def _flatten_and_pool(model: onnx.ModelProto) -> None:
    """Rewrites operators that would fix the channels of a pruned model, or slow it down.

    Reshape to [-1, C·H·W] becomes Flatten, a mean over H and W becomes GlobalAveragePool.
    """
    constants = initializers_of(model)
    values_known = (*model.graph.value_info, *model.graph.input)
    shapes = {value.name: [*value.type.tensor_type.shape.dim] for value in values_known}
    ranks = {name: len(dims) for name, dims in shapes.items()}
    for node in model.graph.node:
        second = constants.get(node.input[1]) if len(node.input) > 1 else None
        if second is None or node.op_type not in ("Reshape", "ReduceMean"):
            continue
        values, rank = numpy_helper.to_array(second).tolist(), ranks.get(node.input[0], 0)
        if node.op_type == "Reshape" and rank > 2 and ranks.get(node.output[0]) == 2:
            behind = math.prod(dim.dim_value for dim in shapes[node.input[0]][1:])
            first = shapes[node.input[0]][0].dim_value  # 0 where the batch is free
            if len(values) == 2 and values[0] in (-1, first) and values[1] in (-1, behind):
                _become(node, "Flatten", axis=1)
        elif node.op_type == "ReduceMean" and rank == 4 and attribute_of(node, "keepdims", 1) == 1:
            over_image = sorted(dim % 4 for dim in values) == [2, 3]
            if over_image:
                _become(node, "GlobalAveragePool")
    used = {name for node in model.graph.node for name in node.input}
    keep_initializers(model, used)


def _tie(model: onnx.ModelProto) -> None:
    """Stores a matrix once that the exporter stored several times: for each call of a layer, or both ways
    (the table of an embedding and the classifier).

    ONNX Runtime transposes it when the session loads.
    """
    tensors = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    matrices = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    matrices = {name: array for name, array in matrices.items() if array.size > 1}
    first: dict[str, str] = {}  # by another name of it
    for name, array in matrices.items():
        alike = (other for other in matrices if other not in first and same(matrices[other], array))
        if (earliest := next(alike)) != name:
            first[name] = earliest
    for node in model.graph.node:
        node.input[:] = [first.get(name, name) for name in node.input]
    kept = {name: array for name, array in matrices.items() if name not in first}
    for name, array in kept.items():
        for other, matrix in kept.items():
            if other < name and same(matrix, array.T):
                node = onnx.helper.make_node("Transpose", [other], [name], perm=[1, 0])
                model.graph.node.insert(0, node)
                break
    made = {name for node in model.graph.node for name in node.output}
    keep_initializers(model, initializers_of(model).keys() - made - first.keys())


def _become(node: onnx.NodeProto, op_type: str, **attributes: int) -> None:
    node.op_type = op_type
    del node.input[1:]
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())


def flush_denormals(array: np.ndarray) -> np.ndarray:
    """The array with zeros for subnormal float32 values: weights near 1e-39 made a model 57 times slower."""
    return np.where(np.abs(array) < FLUSH_BELOW, np.float32(0), array) if array.dtype == np.float32 else array


def fill_template(template: Template, folded: fx.GraphModule) -> onnx.ModelProto:
    """A copy of the template's model with the parameters of `folded`, which may have other shapes."""
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
        array = flush_denormals(array_of(get_tensor(folded, name)))
        if array.ndim == 1 < len(tensor.dims):
            array = array.reshape(*np.where(np.array(tensor.dims) > 1, -1, 1).tolist())
        array = np.ascontiguousarray(array.T if transposed else array)
        model.graph.initializer.append(numpy_helper.from_array(array, tensor.name))
    return model
