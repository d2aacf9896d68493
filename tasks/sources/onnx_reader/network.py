"""The module that runs the nodes of an ONNX file."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ....errors import TaskError
from .batch import FixedBatch
from .graph import Graph, Node, simplified
from .names import cleaned, parameter_names
from .operators import IDENTITIES, NUMBERS_BEHIND, OPERATORS, RECURRENT
from .recurrent import Recurrent
from .values import Operator, Value, constant, tensor

Reshapes: TypeAlias = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


class Scope(nn.Module):
    """A module of the model's, by its path: its tensors, and a place where operators run under its name."""

    def forward(self, function: Operator, node: Node, *values: Value) -> Value:
        """What the function makes of the values."""
        return function(node, *values)


class OnnxNetwork(nn.Module):
    """The model in the file, in inference form. Its floating-point initializers are parameters.

    `output` is the only tensor that it returns, of those that the file gives. Where the file fixes the batch
    size, constants that contain it become free (batch.py), which its answers must confirm.
    """

    def __init__(self, graph: Graph, output: str, path: Path):
        super().__init__()
        self.inputs, self.output = tuple(one.name for one in graph.inputs), output
        self.fixed: FixedBatch | None = None
        graph = simplified(graph)
        self.nodes = _needed(graph, output)
        _require_supported(self.nodes, path)
        self.constants: dict[str, Value] = {}
        self.paths: dict[str, str] = {}  # of tensors, and of recurrent layers by their node's first output
        self.scopes: dict[str, str] = {}  # of the other nodes by their first output
        for node in self.nodes:
            if node.kind in RECURRENT:
                layer = Recurrent(node, graph.tensors)
                self.paths[node.outputs[0]] = self._add(node.scope or node.name or node.kind, layer)
        self._add_tensors(graph)
        for node in self.nodes:
            self.scopes[node.outputs[0]] = self._scope(cleaned(node.scope))
        self.eval()
        if graph.inputs[0].shape[0] is not None:
            self.fixed = self._fixed_batch(graph)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """The output for inputs by position, or by name."""
        return self._run(dict(zip(self.inputs, inputs, strict=False)) | named, {})

    def _run(self, given: dict[str, Tensor], reshapes: Reshapes) -> Tensor:
        """The output. The shapes before and after each Reshape are noted in `reshapes`."""
        values: dict[str, Value] = {"": None, **self.constants, **given}
        for name, path in self.paths.items():
            values[name] = _attribute(self, path)
        batch = given[self.inputs[0]].shape[0]
        for node in self.nodes:
            arguments = [values.get(name) for name in node.inputs]  # a recurrent layer has its weights
            if self.fixed is not None:
                arguments = self.fixed.freed(node, arguments, batch)
            results = self._results(node, arguments)
            values.update(zip(node.outputs, results, strict=False))
            if node.kind == "Reshape" and isinstance(results[0], Tensor):
                reshapes[node.outputs[0]] = tuple(tensor(arguments[0]).shape), tuple(results[0].shape)
        result: Tensor = values[self.output]
        return result

    def _fixed_batch(self, graph: Graph) -> FixedBatch:
        """Runs the file's own batch once, of zeros; sizes that are free are 1."""
        zeros = {
            one.name: torch.from_numpy(np.zeros([size or 1 for size in one.shape], one.dtype))
            for one in graph.inputs
        }
        reshapes: Reshapes = {}
        with torch.inference_mode():
            self._run(zeros, reshapes)
        return FixedBatch(len(zeros[self.inputs[0]]), reshapes)

    def _results(self, node: Node, arguments: list[Value]) -> tuple[Value, ...]:
        if node.kind in IDENTITIES:
            return (arguments[0],)
        if node.kind in RECURRENT:
            layer = _attribute(self, self.paths[node.outputs[0]])
            return tuple(layer(arguments[0], *arguments[5:7]))
        scope = _attribute(self, self.scopes[node.outputs[0]])
        function = OPERATORS[node.kind]
        result = scope(function, node, *arguments) if scope is not self else function(node, *arguments)
        return result if isinstance(result, tuple) else (result,)

    def _add_tensors(self, graph: Graph) -> None:
        """Registers the tensors that the nodes read: parameters, buffers, or plain numbers."""
        readers = [(node, position, name) for node in self.nodes for position, name in enumerate(node.inputs)]
        numbers = {name for node, position, name in readers if position and node.kind in NUMBERS_BEHIND}
        statistics = {
            name for node, place, name in readers if place > 2 and node.kind == "BatchNormalization"
        }
        large = {}
        for name in dict.fromkeys(name for node, _, name in readers if node.kind not in RECURRENT):
            array = graph.tensors.get(name)
            if array is None:
                continue
            if not array.ndim or name in numbers or (array.ndim == 1 and array.dtype == np.int64):
                self.constants[name] = constant(array)
            else:
                large[name] = torch.from_numpy(np.array(array))
        for name, path in parameter_names(graph, list(large)).items():
            value = large[name]
            trained = value.is_floating_point() and name not in statistics | graph.fixed
            trained = trained and bool(value.isfinite().all())
            self.paths[name] = self._add(path, nn.Parameter(value) if trained else value)

    def _add(self, path: str, value: Tensor | nn.Module) -> str:
        """Puts a tensor or a layer at the path, or at one like it that is free; returns the path."""
        scope, _, name = cleaned(path).rpartition(".")
        scope = self._scope(scope)
        owner: Any = _attribute(self, scope)
        while hasattr(owner, name):
            name += "_"
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            owner.register_buffer(name, value)
        else:
            setattr(owner, name, value)
        return f"{scope}.{name}" if scope else name

    def _scope(self, path: str) -> str:
        """Makes the modules of the path; returns it with the names that they got."""
        owner: nn.Module = self
        made: list[str] = []
        for part in filter(None, path.split(".")):
            name = part
            while hasattr(owner, name) and not isinstance(getattr(owner, name), Scope):
                name += "_"
            if not hasattr(owner, name):
                owner.add_module(name, Scope())
            owner = getattr(owner, name)
            made.append(name)
        return ".".join(made)


def _attribute(owner: nn.Module, path: str) -> Any:
    value: Any = owner
    for part in filter(None, path.split(".")):
        value = getattr(value, part)
    return value


def _needed(graph: Graph, output: str) -> tuple[Node, ...]:
    """The nodes that the output is computed by."""
    wanted, chosen = {output}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            chosen.append(node)
            wanted |= set(node.inputs)
    return tuple(reversed(chosen))


def _require_supported(nodes: tuple[Node, ...], path: Path) -> None:
    for node in nodes:
        if node.kind not in OPERATORS and node.kind not in RECURRENT and node.kind not in IDENTITIES:
            raise TaskError(
                f"{path} has the operator {node}, which cannot be followed: export the model without it, or "
                "give it as .pt2 (--task exported) or in a Python file (docs/tasks.md)."
            )
