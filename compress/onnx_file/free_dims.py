"""Dimensions besides the batch that the file leaves free: their names, and the proof that they are free."""

import onnx
import torch
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.plain.dynamic import FreeDims, smaller
from ...tasks.quality import as_tuple
from ..graph.graph import array_of
from ..graph.tracing.trace import dims_of
from .check import FLOAT_TOLERANCE, relative_error
from .run import answers


def name_free_dims(model: onnx.ModelProto, dims: FreeDims) -> None:
    """Gives the free dimensions their names, in the inputs and in values of the same size."""
    graph = model.graph
    renamed: dict[str, str] = {}
    for value, names in zip(graph.input, dims, strict=True):
        for index, name in names.items():
            dim = value.type.tensor_type.shape.dim[index]
            renamed[dim.dim_param] = name
            dim.dim_param = name
    for value in (*graph.value_info, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]


def require_same_when_smaller(
    model: onnx.ModelProto, folded: fx.GraphModule, inputs: tuple[Tensor, ...]
) -> None:
    """Raises StageError unless the file answers like torch with half of each free dimension, too."""
    dims = dims_of(folded)
    if not any(dims):
        return
    cut = smaller(inputs, dims)
    try:
        with torch.inference_mode():
            expected = [array_of(output) for output in as_tuple(folded(*cut))]
    except (RuntimeError, ValueError, IndexError):
        return  # the model takes no such size: the runtime's answers to the sizes of the data are the proof
    for answer, output in zip(answers(model, cut), expected, strict=True):
        if relative_error(answer, output) > FLOAT_TOLERANCE:
            shapes = ", ".join("×".join(map(str, x.shape)) for x in cut)
            raise StageError(f"the exported model differs from torch for inputs of {shapes}", stage="export")
