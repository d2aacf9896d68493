"""A bundle as it is sent: verified, and copied aside, so that nothing changes it on the way."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...files import digest_of, digest_of_file, file_below, read_text
from ...results.records.manifest import Manifest, ReferenceFacts
from ..bundled.signature import CHECKSUMS, SIGNATURE
from ..read_bundle import is_bundle, read_manifest
from ..reference import STEM as REFERENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContent:
    """The files of a bundle in `folder`: `digests` by their path in it.

    `digest` is the identity of the bundle: the SHA-256 of the canonical JSON of `digests`, a signature aside.
    """

    folder: Path
    manifest: Manifest
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256, 64 hexadecimal digits."""
        return digest_of({name: each for name, each in self.digests.items() if name != SIGNATURE})

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.digests)


def content_of(bundle: Path, folder: Path) -> BundleContent:
    """The bundle, copied to `folder`: the files of SHA256SUMS, that file, and the reference and the signature
    if they are there.

    Whatever else lies in the bundle stays there. InputError when it is no bundle, or a file is not the one
    that was bundled.
    """
    if not is_bundle(bundle):
        raise InputError(f"{bundle} is no bundle: give the folder that `autocompress pick` wrote.")
    manifest = read_manifest(bundle)
    digests = {name: digest for digest, name in map(_entry, read_text(bundle / CHECKSUMS).splitlines())}
    digests[CHECKSUMS] = digest_of_file(bundle / CHECKSUMS)
    reference = f"{REFERENCE}.{manifest.target.container}"
    if isinstance(manifest.reference, ReferenceFacts) and (bundle / reference).is_file():
        digests[reference] = manifest.reference.sha256
    if (bundle / SIGNATURE).is_file():
        digests[SIGNATURE] = digest_of_file(file_below(bundle, SIGNATURE))
    for name, digest in digests.items():
        _copy(file_below(bundle, name), folder / name, digest)
    return BundleContent(folder=folder, manifest=manifest, digests=dict(sorted(digests.items())))


def _entry(line: str) -> tuple[str, str]:
    digest, _, name = line.partition("  ")  # read_manifest has checked its form
    return digest, name


def _copy(source: Path, copy: Path, digest: str) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    if digest_of_file(copy) != digest:
        raise InputError(
            f"{source} is not the file that was bundled, its SHA-256 differs: copy the bundle again."
        )
