"""The model's file as a bundle ships it: the bytes that were measured, and after them what they are.

A message of protobuf ends where its file ends, and fields may come in any order: metadata that is appended
changes no byte of what was measured. ONNX Runtime shows it as `custom_metadata_map`.
"""

from importlib.metadata import PackageNotFoundError, version

import onnx

from ...files import digest_of
from ...results.formats import recipe_lines
from ...results.records.manifest import Manifest
from ...results.view import PointOn
from ...text.printable import json_text


def shipped(model: bytes, point: PointOn, manifest: Manifest) -> bytes:
    """The model with its metadata: producer, task, recipe, metrics, and the digest of the manifest."""
    metrics = {
        manifest.task.metric.name: manifest.quality.validation,
        "drop": manifest.drop,
        "latency_ratio": manifest.latency.ratio,
    }
    entries = {
        "producer": f"autocompress {_version()}".rstrip(),
        "task": manifest.task.name,
        "recipe": "; ".join(recipe_lines(point)),
        "recipe_digest": manifest.recipe.digest,
        "metrics": json_text(metrics),
        "manifest_digest": manifest_digest(manifest),
    }
    appended = onnx.ModelProto()
    for name, text in entries.items():
        appended.metadata_props.add(key=f"autocompress.{name}", value=text)
    content: bytes = appended.SerializeToString(deterministic=True)
    return model + content


def manifest_digest(manifest: Manifest) -> str:
    """SHA-256 of the manifest's canonical JSON without `model`, which has the digest of the file."""
    return digest_of({key: value for key, value in manifest.to_json().items() if key != "model"})


def _version() -> str:
    try:
        return version("autocompress")
    except PackageNotFoundError:  # a copy that is not installed
        return ""
