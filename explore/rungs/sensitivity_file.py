"""The file of measured sensitivities, which all runs on a task share."""

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path

from ...compress.recipe import Recipe
from ...files import read_text, seal, unsealed, write_text

log = logging.getLogger(__name__)

SCHEMA_VERSION = 3  # 1 had no digest, 2 no rounding of activations


class MeasuredLosses:
    """The file of what was measured: KL by recipe digest, and the digests of recipes that failed."""

    def __init__(self, path: Path, values: dict[str, float], failed: set[str]):
        self.path, self.values, self.failed = path, values, failed

    @classmethod
    def load(cls, path: Path) -> "MeasuredLosses":
        """What the file has; nothing for one that is missing, damaged or of another version."""
        try:
            stored = unsealed(read_text(path))
            if stored["schema_version"] != SCHEMA_VERSION:
                return cls(path, {}, set())
            values = {str(digest): float(value) for digest, value in stored["measured"].items()}
            if not all(math.isfinite(value) and value >= 0 for value in values.values()):
                raise ValueError("a KL is finite and not negative")
            return cls(path, values, {str(digest) for digest in stored["failed"]})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if path.exists():
                log.warning("%s is damaged (%s): its measurements are made again.", path, error)
            return cls(path, {}, set())

    def __contains__(self, digest: str) -> bool:
        return digest in self.values or digest in self.failed

    def add(self, recipe: Recipe, value: float) -> None:
        """Keeps a measurement."""
        self.values[recipe.digest] = value
        self._write()

    def add_failed(self, recipes: Iterable[Recipe]) -> None:
        """Keeps that these cannot be measured."""
        before = len(self.failed)
        self.failed.update(recipe.digest for recipe in recipes)
        if len(self.failed) > before:
            self._write()

    def _write(self) -> None:
        stored = {"schema_version": SCHEMA_VERSION, "measured": self.values, "failed": sorted(self.failed)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(seal(stored), allow_nan=False))
        except OSError as error:  # a full disk, a read-only folder: the next run measures again
            log.warning("The sensitivity cannot be kept in %s: %s", self.path, error)
