"""What runs on the nodes of a Ray cluster: builders, and the store of the level database's files.

What comes from the search are texts (the configuration, recipes) and what goes back are texts and the bytes
of files, so that both sides check what they read.
"""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...compress.compressor import Compressor
from ...compress.recipe import Recipe
from ...errors import AutocompressError, StageError
from ...files import cache_folder, file_below, write_bytes
from ...results.records.reading import parse
from ...scratch import temporary_folder
from ...targets.lease import WAITS
from .building import compressor_of
from .messages import BuilderConfig, Packed, failure_line, packed
from .ray_cluster import NodeLost, ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What has to be the same on all nodes: with other versions the same recipe gives another file."""

    python: str
    autocompress: str
    torch: str

    @classmethod
    def here(cls) -> "Versions":
        """Those of this process."""
        return cls(
            python=platform.python_version(),
            autocompress=importlib.metadata.version("autocompress"),
            torch=importlib.metadata.version("torch").partition("+")[0],
        )

    def differing(self, other: "Versions") -> list[tuple[str, str, str]]:
        """The names of those that differ, with both."""
        pairs = zip(asdict(self).items(), asdict(other).values(), strict=True)
        return [(name, mine, others) for (name, mine), others in pairs if mine != others]


class LevelStore:
    """The files of the level databases below a folder of the search's machine, for all nodes."""

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def fetch(self, name: str) -> bytes | None:
        """The content of a file; None if it is not there."""
        try:
            return file_below(self._folder, name).read_bytes()
        except (OSError, AutocompressError):
            return None

    def offer(self, name: str, content: bytes) -> None:
        """Keeps a file that a node has made, unless there is one."""
        path = file_below(self._folder, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)


class _StoreElsewhere:
    """The same store, asked from a node (SharedFiles of the level database). One that is gone has nothing."""

    def __init__(self, store: Any):
        self._store = store

    def fetch(self, name: str) -> bytes | None:
        try:
            content: bytes | None = ask(self._store, "fetch", name)
        except NodeLost:
            return None
        return content

    def offer(self, name: str, content: bytes) -> None:
        try:
            ask(self._store, "offer", name, content)
        except NodeLost:
            return


class Builder:
    """Builds the recipes of one task on a node, one after the other. `cores`: those that it keeps to, where
    others are measured on; `threads` is how many it computes with.
    """

    def __init__(self, config: str, store: Any, search: str, cores: Sequence[int], threads: int):
        self._store, self._cores = store, tuple(cores)
        self._threads = threads
        self._open = ExitStack()  # until the process is ended; the next command removes what is left then
        folder = self._open.enter_context(temporary_folder())
        given = BuilderConfig.from_json(config)
        self._config = replace(
            given,
            cache_dir=cache_folder() / given.cache_dir.name,
            levels_dir=cache_folder() / given.levels_dir.name,
            out_dir=folder / "artifacts",
            checks_dir=folder / "checks",
        )
        for path in (self._config.out_dir, self._config.checks_dir):
            path.mkdir()
        self._compressor: Compressor | None = None
        WAITS.who = search  # what a measurement on this machine waits for

    def versions(self) -> Versions:
        """What this node has installed."""
        return Versions.here()

    def load(self) -> str:
        """Loads the task; says what is wrong with that, or nothing."""
        import torch

        if self._cores:
            os.sched_setaffinity(0, self._cores)
        torch.set_num_threads(self._threads)
        try:
            self._compressor = compressor_of(self._config)
        except AutocompressError as error:
            return str(error)
        self._compressor.students.shared_levels = _StoreElsewhere(self._store)
        return ""

    def build(self, recipe: str) -> Packed:
        """The files of a recipe, or the line that says why there are none."""
        from ...evaluation.paced_training import PacedTraining

        assert self._compressor is not None
        try:
            with PacedTraining(lambda stage: None, cores=self._cores or None) as paced:
                built = self._compressor.build(_recipe(recipe), self._config.out_dir, progress=paced)
        except StageError as error:
            return Packed(line=failure_line(error), files={})
        return packed(built, self._config.checks_dir)

    def kl(self, recipe: str) -> float | str:
        """The probe's KL of a recipe in nats, or the line that says why there is none."""
        assert self._compressor is not None
        try:
            return self._compressor.probe.kl(_recipe(recipe))
        except StageError as error:
            return failure_line(error)


def _recipe(text: str) -> Recipe:
    value: Mapping[str, Any] = parse(text)
    return Recipe.from_json(value)
