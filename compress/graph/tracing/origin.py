"""Where in the user's code an operation of the graph comes from, as the exporter noted it."""

import re
from pathlib import Path

import torch
from torch import fx

from ..graph import operation

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = Path(torch.__file__).parent.as_posix()
_OURS = tuple(
    (Path(__file__).parents[3] / part).as_posix() for part in ("tasks/plain", "tasks/sources", "compress")
)


def named(node: fx.Node) -> str:
    """`stack (model.py:42 in layers.0.attention)`: the operation, and where the user's code calls it."""
    place = _place(node)
    return f"{operation(node)} ({place})" if place else operation(node)


def _place(node: fx.Node) -> str:
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    lines = [
        f"{Path(file).name}:{line}"
        for file, line in frames
        if not file.startswith((_TORCH, *_OURS, "torch/", "<"))
    ]
    modules = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    modules = [path for path in modules if path and not path.startswith("_")]
    return " in ".join([*lines[-1:], *modules[-1:]])
