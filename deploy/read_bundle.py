"""Reading a bundle strictly: its checksums, its manifest, its model. What does not fit is one sentence.

Whoever has the bundle can copy it again, which is the remedy for everything here.
"""

import os
import re
from pathlib import Path

from ..errors import InputError
from ..files import LARGEST_BYTES, digest_of_file, file_below, read_text, require_closed
from ..results.records.manifest import Manifest, model_name
from ..results.run_directory import read_record
from ..targets.model_files.one_file import require_whole
from .bundle import signature_of
from .bundled.packed import unpack
from .bundled.signature import CHECKSUMS, SIGNATURE
from .reference import STEM as REFERENCE

MANIFEST = "manifest.json"
_REMEDY = "copy the bundle again"
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>\S.*)")


def is_bundle(path: Path) -> bool:
    """Whether `path` is a deployment bundle."""
    return (path / MANIFEST).is_file()


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle `path`, whose files are those of SHA256SUMS. InputError when one is not."""
    require_closed(path)
    names = _checked_files(path)
    manifest = read_record(path / MANIFEST, Manifest.from_json, remedy=_REMEDY)
    if manifest is None or {MANIFEST, manifest.model.file} - names:
        raise InputError(f"{path / CHECKSUMS} does not cover the model and its manifest: {_REMEDY}.")
    return manifest


def require_nothing_else(path: Path) -> None:
    """InputError when the signed bundle `path`, whose files were checked, holds a file that its signature
    does not cover: one that SHA256SUMS does not list, and that is not the manifest's reference.
    """
    names = _checked_files(path) | {CHECKSUMS, SIGNATURE}
    manifest = read_manifest(path)
    for parent, folders, files in os.walk(path):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for file in (Path(parent, name) for name in (*files, *links)):
            name = file.relative_to(path).as_posix()
            stated = None if isinstance(manifest.reference, str) else manifest.reference.sha256
            if name not in names and not (Path(name).stem == REFERENCE and digest_of_file(file) == stated):
                raise InputError(f"{file} is not covered by the signature: remove it, or {_REMEDY}.")


def _checked_files(path: Path) -> set[str]:
    """The names in SHA256SUMS, whose files have these digests."""
    names, size = set(), 0
    try:
        lines = read_text(path / CHECKSUMS).splitlines()
        for number, line in enumerate(lines, 1):
            match = _LINE.fullmatch(line)
            if match is None or match["name"] in names:
                raise InputError(
                    f"{path / CHECKSUMS}: line {number} is no SHA-256 and a file that comes once: {_REMEDY}."
                )
            name = match["name"]  # on_device/ of a TensorRT bundle is inside
            file = file_below(path, name)
            size += file.stat().st_size
            if size > LARGEST_BYTES:
                raise InputError(f"{path} is larger than {LARGEST_BYTES >> 30} GB: {_REMEDY}.")
            if digest_of_file(file) != match["digest"]:
                raise InputError(f"{file} is not the file that was bundled, its SHA-256 differs: {_REMEDY}.")
            names.add(name)
    except (OSError, ValueError) as error:
        raise InputError(f"The bundle {path} cannot be read ({error}): {_REMEDY}.") from error
    return names


def restored_model(path: Path, manifest: Manifest, folder: Path) -> Path:
    """The model's file, restored to `folder` if it is packed. InputError when it is not the manifest's, or no
    model with all of its weights.
    """
    facts = manifest.model
    file = path / facts.file
    stated = facts.size_bytes if facts.packed_bytes is None else facts.packed_bytes
    if file.stat().st_size != stated:
        raise InputError(f"{file} has another size than {path / MANIFEST} says: {_REMEDY}.")
    if facts.packed_bytes is not None:
        try:
            model = unpack(file.read_bytes(), facts.size_bytes)
        except ValueError as error:
            reason = f"is damaged, its model cannot be restored ({error})"
            raise InputError(f"{file} {reason}: {_REMEDY}.") from error
        file = folder / model_name(manifest.target.runtime)
        file.write_bytes(model)
    if digest_of_file(file) != facts.sha256:
        raise InputError(f"The model of {path} is not that of its manifest, its SHA-256 differs: {_REMEDY}.")
    require_whole(file)
    if signature_of(file) != (manifest.inputs, manifest.outputs):
        raise InputError(f"{path / MANIFEST}: inputs and outputs are not those of the model: {_REMEDY}.")
    return file
