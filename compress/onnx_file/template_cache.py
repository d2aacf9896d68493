"""Keeps exported templates on disk, so that only the first search on a task waits for the exporter.

The oldest go first when there are more than LIMIT_BYTES of them.
"""

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import fx

from ...files import read_text, seal, unsealed, write_bytes, write_text
from ...tasks.plain.parts import fixed_batch
from ..graph.graph import array_of
from ..graph.tracing.trace import dims_of, output_names
from .export import Template
from .locate import Stored

log = logging.getLogger(__name__)

LIMIT_BYTES = 256 << 20
TEMPLATE_VERSION = 12  # a new number whenever `export.py` makes other templates


def template_key(folded: fx.GraphModule, opset: int) -> str:
    """SHA-256 of what decides the template: the graph, its weights, the opset and the version of torch."""
    hasher = hashlib.sha256(f"{TEMPLATE_VERSION} {torch.__version__} {opset}\n{folded.code}".encode())
    hasher.update(f"{output_names(folded)} {dims_of(folded)} {fixed_batch(folded)}".encode())
    for name, tensor in sorted(folded.state_dict().items()):
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(array_of(tensor).tobytes())
    return hasher.hexdigest()


def save_template(template: Template, folder: Path, key: str) -> None:
    """Writes the template to `folder`, where that is possible; the model comes first, so that the places
    never lack their model.
    """
    try:
        _write(template, folder, key)
        _shrink(folder)
    except OSError as error:  # a full disk, a read-only folder: exported again in the next run
        log.warning("The template cannot be kept in %s: %s", folder, error)


def _write(template: Template, folder: Path, key: str) -> None:
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


def _shrink(folder: Path) -> None:
    """Removes the oldest templates beyond LIMIT_BYTES; another process may do the same."""
    facts = {}
    for path in folder.glob("template-*"):
        with suppress(FileNotFoundError):
            facts[path] = path.stat()
    excess = sum(each.st_size for each in facts.values()) - LIMIT_BYTES
    for path in sorted(facts, key=lambda path: facts[path].st_mtime):
        if excess <= 0:
            return
        excess -= facts[path].st_size
        path.unlink(missing_ok=True)


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
