"""The built-in task `onnx`: a model in an .onnx file, its data in an .npz file."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from ...errors import TaskError
from ..boundary import user_code
from ..task import Task
from .array_splits import ArraySplit, Wanted, array_splits, array_task
from .named_measures import measures
from .onnx_reader.graph import Graph, read_model
from .onnx_reader.network import OnnxNetwork

_COMPARED = 8  # samples
_TOLERANCE = 1e-3  # of the largest answer


def onnx_file(
    model: Path, data: Path, metric: str, *, loss: str | None = None, output: str | None = None, seed: int = 0
) -> Task:
    """The task: the network in `model` (.onnx), the arrays in `data` (.npz), loss and metric by name.

    Without `loss` it is the one that goes with the metric. `output` is the name of the output that they
    judge, where the file has several. The network must answer like ONNX Runtime. Raises TaskError.
    """
    chosen = measures(metric, loss)
    graph = read_model(model)
    output = _output(graph, output, model)
    if len(graph.inputs) == 1:
        graph = _with_input_x(graph)
    with _running(model):
        network = OnnxNetwork(graph, output, model)
    wanted = {
        one.name: Wanted(dtype=torch.from_numpy(np.zeros(1, one.dtype)).dtype, sizes=(None, *one.shape[1:]))
        for one in graph.inputs
    }
    splits = array_splits(data, wanted)
    _, validation, _ = splits
    with _running(model):
        answers = _answers(network, validation)
    _require_same(
        model, output, answers, _runtime_answers(model, output, validation, graph.inputs[0].shape[0])
    )
    return array_task(f"onnx-{model.stem}", network, splits, chosen, seed=seed)


def _running(path: Path) -> AbstractContextManager[None]:
    remedy = "Export it with a free batch size, or give it as .pt2 (--task exported)"
    return user_code(f"Running {path} by torch", remedy=remedy)


def _output(graph: Graph, name: str | None, path: Path) -> str:
    if name is None and len(graph.outputs) == 1:
        return graph.outputs[0]
    if name not in graph.outputs:
        problem = "more than one output" if name is None else f"no output {name!r}"
        raise TaskError(
            f"{path} has {problem}: give --task-arg output= one of "
            f"{', '.join(graph.outputs)}; loss and metric see it."
        )
    return name


def _with_input_x(graph: Graph) -> Graph:
    """The graph with its only input called x, as the arrays are."""
    name = graph.inputs[0].name
    nodes = [
        replace(node, inputs=tuple("x" if one == name else one for one in node.inputs))
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes), inputs=(replace(graph.inputs[0], name="x"),))


def _answers(network: torch.nn.Module, split: ArraySplit) -> np.ndarray:
    """The network's output for the first samples."""
    with torch.inference_mode():
        result: Tensor = network(*(array[:_COMPARED] for array in split.inputs.values()))
    return result.numpy()


def _runtime_answers(path: Path, output: str, split: ArraySplit, batch: int | None) -> np.ndarray:
    """The output of the file in ONNX Runtime for the same samples, in batches of the file's size."""
    arrays = [array[:_COMPARED].numpy() for array in split.inputs.values()]
    step = batch or len(arrays[0])
    with user_code(f"Running {path} by ONNX Runtime", remedy="Give a file that ONNX Runtime can run"):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        parts = []
        for start in range(0, len(arrays[0]), step):
            rows = [_filled(array[start : start + step], step) for array in arrays]
            parts.append(session.run([output], dict(zip(names, rows, strict=True)))[0])
    return np.concatenate(parts)[: len(arrays[0])]


def _filled(rows: np.ndarray, count: int) -> np.ndarray:
    """The rows, the last one repeated until there are `count`."""
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])


def _require_same(path: Path, output: str, answers: np.ndarray, expected: np.ndarray) -> None:
    sizes: Sequence[int] = expected.shape
    if answers.shape == expected.shape:
        largest = max(float(np.abs(expected).max(initial=0)), 1e-6)
        difference = float(np.abs(answers - expected).max(initial=0)) / largest
        if difference <= _TOLERANCE:
            return
        what = f"its answers differ by {difference:.1%} of the largest"
    else:
        what = f"{output} is {'×'.join(map(str, answers.shape))} instead of {'×'.join(map(str, sizes))}"
    raise TaskError(
        f"{path} cannot be followed: run by torch, {what} from those of ONNX Runtime. Export it with a free "
        "batch size (torch.onnx.export with dynamic_shapes), or give it as .pt2 (--task exported)."
    )
