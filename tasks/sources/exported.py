"""The built-in task `exported`: a model that torch.export.save wrote, its data in an .npz file."""

import importlib
import logging
import warnings
import zipfile
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from ...errors import TaskError
from ..boundary import user_code
from ..checkpoint import require_whole
from ..task import Task
from .array_splits import Wanted, array_splits, array_task
from .named_measures import measures

_TRAINING_ARGUMENT = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}


def exported(model: Path, data: Path, metric: str, *, loss: str | None = None, seed: int = 0) -> Task:
    """The task: the program in `model` (.pt2), the arrays in `data` (.npz), loss and metric by name.

    Without `loss` it is the one that goes with the metric. Loading a .pt2 file can run code, as importing a
    Python file does: torch evaluates expressions in it. Raises TaskError.
    """
    chosen = measures(metric, loss)
    program = _program(model)
    network = _module(program, model)
    inputs = _inputs(program, model)
    splits = array_splits(data, {name: _wanted(tensor) for name, tensor in inputs.items()})
    return array_task(f"exported-{model.stem}", network, splits, chosen, seed=seed)


def _wanted(tensor: Tensor) -> Wanted:
    sizes = [size if isinstance(size, int) else None for size in tensor.shape]
    return Wanted(dtype=tensor.dtype, sizes=sizes)


def _program(path: Path) -> ExportedProgram:
    """The program; TaskError if the file is missing, damaged or of another kind."""
    if not path.is_file():
        raise TaskError(f"There is no model {str(path)!r}: give a .pt2 file, as torch.export.save writes it.")
    if not zipfile.is_zipfile(path):
        raise TaskError(f"{path} is no .pt2 file: write one with torch.export.save(program, path).")
    _refuse_jit(path)
    require_whole(path)
    importlib.import_module("torch._dynamo")  # torch.export.load would, beside the thread of the search
    remedy = f"Write it with torch.export.save of torch {torch.__version__.partition('+')[0]}"
    log = logging.getLogger("torch.export")  # it would print the traceback of what is in our sentence
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with user_code(f"Loading {path}", remedy=remedy), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path)
    finally:
        log.setLevel(level)


def _refuse_jit(path: Path) -> None:
    """TaskError for what torch.jit.save wrote: its archive has code."""
    with user_code(f"Reading {path}"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.split("/")[1:2] == ["code"] for name in names):
        raise TaskError(
            f"{path} is a program of torch.jit, which cannot be changed: export the Python module that it "
            "was made from with torch.export.save(torch.export.export(model, …), path)."
        )


def _module(program: ExportedProgram, path: Path) -> fx.GraphModule:
    """The program as a plain module: tensors by position, a tuple of tensors, and eval() and train() work."""
    if len(program.graph_signature.user_outputs) != 1:
        raise TaskError(
            f"{path} has {len(program.graph_signature.user_outputs)} outputs, and a loss by name takes one: "
            "export a model that returns one tensor, or write a task in Python (docs/tasks.md)."
        )
    lifted = program.module(check_guards=False)
    graph = lifted.graph
    for node in graph.nodes:
        position = _TRAINING_ARGUMENT.get(str(node.target))
        if position is not None and node.args[position]:
            raise TaskError(
                f"{path} holds the model in training form ({node.name}): export it after model.eval()."
            )
    graph.set_codegen(fx.graph.CodeGen())
    return fx.GraphModule(lifted, graph, "Exported").eval()


def _inputs(program: ExportedProgram, path: Path) -> dict[str, Tensor]:
    """The inputs by name, as tensors without values. A single one is called x, whatever the program says."""
    values = {node.name: node.meta["val"] for node in program.graph.find_nodes(op="placeholder")}
    inputs = {str(name): values.get(str(name)) for name in program.graph_signature.user_inputs}
    if len(inputs) == 1:
        inputs = {"x": next(iter(inputs.values()))}
    for name, value in inputs.items():
        if not isinstance(value, Tensor) or name == "y":
            raise TaskError(
                f"The input {name!r} of {path} is no tensor, or called y as the targets are: export a model "
                "that takes tensors alone, with other names."
            )
        if not value.ndim or isinstance(value.shape[0], int):
            raise TaskError(
                f"{path} was exported for one batch size: leave it free with torch.export.export(model, "
                "inputs, dynamic_shapes=({0: torch.export.Dim.AUTO},)), one such dictionary for each input, "
                "and inputs of a batch of 2."
            )
    return cast(dict[str, Tensor], inputs)
