"""StoredSplit: the samples of a split, on disk for the workers that run a model."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ..tasks.data import write_inputs
from ..tasks.task import Split

VALIDATION_BATCH = 250


class StoredSplit:
    """A split whose inputs are in an .npz file and whose targets are here; both are made on first use."""

    def __init__(self, split: Split, path: Path):
        self._split = split
        self._path = path

    @property
    def inputs(self) -> Path:
        """The file with the inputs."""
        self.targets  # noqa: B018 - writes the file
        return self._path

    @cached_property
    def targets(self) -> Any:
        """The targets of the whole split."""
        return write_inputs(self._split, self._path)
