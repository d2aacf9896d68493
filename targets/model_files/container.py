"""A model's file in the container that a runtime reads: ONNX, or LiteRT's, which is made of an ONNX model."""

from pathlib import Path

import onnx

from ...compress.litert_file.convert import litert_from_onnx
from ...compress.litert_file.read import is_litert, litert_signature
from ...errors import InputError, StageError
from ...profiles.runtimes import Container


def contained(model: onnx.ModelProto, container: Container) -> bytes:
    """The model in a container. StageError names an operator that it cannot have."""
    if container == "tflite":
        return litert_from_onnx(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def as_taken(path: Path, container: Container, folder: Path) -> Path:
    """The file itself where it is of the container; otherwise the ONNX model in it, written below `folder`.
    InputError when that is not possible.
    """
    if is_litert(path):
        if container == "tflite":
            return path
        raise InputError(
            f"The model {path} is LiteRT's, which the target's runtime does not read: give an ONNX file, or "
            "choose a target with LiteRT, such as 'cpu-litert'."
        )
    if container == "onnx":
        return path
    made = folder / f"{path.stem}.tflite"
    try:
        made.write_bytes(contained(onnx.load(path), container))
    except StageError as error:
        raise InputError(f"The model {path} cannot be run with LiteRT: {error}.") from error
    return made


def require_litert(path: Path) -> None:
    """InputError if the .tflite file cannot be read."""
    try:
        litert_signature(path)
    except ValueError as error:
        raise InputError(
            f"The model {path} cannot be read ({error}): give the file as it was made."
        ) from error


def names_of_inputs(path: Path) -> set[str]:
    """The names of a file's inputs."""
    if is_litert(path):
        return {name for name, _, _ in litert_signature(path)[0]}
    graph = onnx.load(path, load_external_data=False).graph
    return {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
