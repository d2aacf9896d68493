"""Runs an exported model here, as it is written, to compare it with torch."""

from typing import Any

import onnx
import onnxruntime
from torch import Tensor

from ...errors import StageError
from ..graph.graph import array_of

_STATE = vars(onnxruntime.capi.onnxruntime_pybind11_state)
_ERRORS = tuple(  # ONNX Runtime's exceptions share no base class but Exception
    kind for kind in _STATE.values() if isinstance(kind, type) and issubclass(kind, Exception)
)


def answers(model: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> list[Any]:
    """All outputs of the model, without optimizations. Raises StageError."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    feeds = {value.name: array_of(x) for value, x in zip(model.graph.input, inputs, strict=True)}
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs: list[Any] = session.run([value.name for value in model.graph.output], feeds)
        return outputs
    except _ERRORS as error:
        message = f"ONNX Runtime cannot run the exported model: {error}"[:400]
        raise StageError(message, stage="export") from error
