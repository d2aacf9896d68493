"""Artifact: a file to deploy, and what is stored in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .recipe import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A built model file.

    `precision` is what the file stores per layer; what a runtime executes is measured separately. `macs` are
    multiply-accumulates of one sample in convolutions and linear layers.
    """

    path: Path
    digest: str
    size_bytes: int
    macs: int
    parameters: int
    precision: Mapping[str, Precision]
