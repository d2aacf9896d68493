"""Keeps exported templates on disk, so that a resumed run does not wait for the exporter again."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import fx

from ...files import write_bytes, write_text
from ..graph.graph import array_of
from .export import Stored, Template

TEMPLATE_VERSION = 3  # a new number whenever `export.py` makes other templates


def template_key(folded: fx.GraphModule, opset: int) -> str:
    """SHA-256 of what decides the template: the graph, its weights, the opset and the version of torch."""
    hasher = hashlib.sha256(f"{TEMPLATE_VERSION} {torch.__version__} {opset}\n{folded.code}".encode())
    for name, tensor in sorted(folded.state_dict().items()):
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(array_of(tensor).tobytes())
    return hasher.hexdigest()


def save_template(template: Template, folder: Path, key: str) -> None:
    """Writes the template to `folder`; the model comes first, so that the places never lack their model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"template-{key}.onnx", template.model.SerializeToString())
    parameters = {name: asdict(stored) for name, stored in template.parameters.items()}
    places = {"parameters": parameters, "values": dict(template.values), "baked": dict(template.baked)}
    write_text(folder / f"template-{key}.json", json.dumps(places))


def load_template(folder: Path, key: str) -> Template | None:
    """The template saved under `key`, if there is one."""
    places_path = folder / f"template-{key}.json"
    if not places_path.exists():
        return None
    places = json.loads(places_path.read_text(encoding="utf-8"))
    return Template(
        model=onnx.load(folder / f"template-{key}.onnx"),
        parameters={name: Stored(**stored) for name, stored in places["parameters"].items()},
        values=places["values"],
        baked=places["baked"],
    )
