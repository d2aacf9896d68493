"""Keeps exported templates on disk, so that a resumed run does not wait for the exporter again."""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import fx

from ...files import read_text, seal, unsealed, write_bytes, write_text
from ...tasks.plain.parts import fixed_batch
from ..graph.graph import array_of
from ..graph.tracing.trace import dims_of, output_names
from .export import Stored, Template

log = logging.getLogger(__name__)

TEMPLATE_VERSION = 7  # a new number whenever `export.py` makes other templates


def template_key(folded: fx.GraphModule, opset: int) -> str:
    """SHA-256 of what decides the template: the graph, its weights, the opset and the version of torch."""
    hasher = hashlib.sha256(f"{TEMPLATE_VERSION} {torch.__version__} {opset}\n{folded.code}".encode())
    hasher.update(f"{output_names(folded)} {dims_of(folded)} {fixed_batch(folded)}".encode())
    for name, tensor in sorted(folded.state_dict().items()):
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(array_of(tensor).tobytes())
    return hasher.hexdigest()


def save_template(template: Template, folder: Path, key: str) -> None:
    """Writes the template to `folder`; the model comes first, so that the places never lack their model."""
    folder.mkdir(parents=True, exist_ok=True)
    data = template.model.SerializeToString()
    write_bytes(folder / f"template-{key}.onnx", data)
    places = {
        "model": hashlib.sha256(data).hexdigest(),
        "parameters": {name: asdict(stored) for name, stored in template.parameters.items()},
        "values": dict(template.values),
        "baked": dict(template.baked),
    }
    write_text(folder / f"template-{key}.json", json.dumps(seal(places)))


def load_template(folder: Path, key: str) -> Template | None:
    """The template saved under `key`; None if there is none, or it is damaged."""
    places_path, path = folder / f"template-{key}.json", folder / f"template-{key}.onnx"
    if not places_path.exists():
        return None
    try:
        places, data = unsealed(read_text(places_path)), path.read_bytes()
        if hashlib.sha256(data).hexdigest() != places["model"]:
            raise ValueError(f"{path.name} is another file")
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is damaged (%s): it is made again.", places_path, error)
        return None
    return Template(
        model=onnx.load_from_string(data),
        parameters={name: Stored(**stored) for name, stored in places["parameters"].items()},
        values=places["values"],
        baked=places["baked"],
    )
