"""Readable names of the tensors of an ONNX file, as its model in Python would call them."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from .graph import Graph, Node

_READABLE = re.compile(r"\w+(\.\w+)+|[A-Za-z_]\w*")
_NUMBERED = re.compile(r"[a-z_]*_?\d+")  # val_12: made by an exporter
_ROLES = ("input", "weight", "bias", "running_mean", "running_var")
_OTHER_ROLES = {"Add": "bias", "Mul": "scale", "Gather": "weight"}


def parameter_names(graph: Graph, names: Sequence[str]) -> dict[str, str]:
    """For each of these tensors a path, each another one: the tensor's name where it is one
    (`layer1.0.conv1.weight`), else made of the layer that reads it.
    """
    readers: dict[str, tuple[Node, int]] = {}
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            readers.setdefault(name, (node, position))
    paths: dict[str, str] = {}
    for name in names:
        path = name if _is_readable(name) else _made(name, readers)
        paths[name] = _unique(path, paths)
    return paths


def _is_readable(name: str) -> bool:
    """Whether a model in Python has such a name; exporters call a tensor after the function that made it."""
    made_up = _NUMBERED.fullmatch(name) or hasattr(Tensor, re.sub(r"_\d+$", "", name))
    return bool(_READABLE.fullmatch(name)) and not made_up


def _made(name: str, readers: Mapping[str, tuple[Node, int]]) -> str:
    """`features.0.weight` for the second input of a layer in that module."""
    if "/" in name or name not in readers:  # TensorFlow's model/layer/kernel:0
        return cleaned(name.replace("/", "."))
    node, position = readers[name]
    role = _OTHER_ROLES.get(node.kind) or (_ROLES[position] if position < len(_ROLES) else "constant")
    return cleaned(f"{node.scope or node.name or node.kind}.{role}")


def cleaned(path: str) -> str:
    """The path with letters, digits and underscores alone between its dots."""
    parts = [re.sub(r"\W+", "_", part) for part in path.split(".")]
    return ".".join(part for part in parts if part)


def _unique(path: str, taken: Mapping[str, str]) -> str:
    used, count, made = set(taken.values()), 1, path
    while made in used:
        count += 1
        made = f"{path}_{count}"
    return made
