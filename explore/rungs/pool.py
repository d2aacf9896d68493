"""The pool of rung r0: candidates whose stitched KL is known, kept in r0.jsonl; those that go up become
trials of the study.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...files import seal, unsealed
from ...results.run_directory import RunDirectory
from ..space.problem import LevelProblem, Levels

_FILE = "r0.jsonl"


@dataclass(slots=True, kw_only=True)
class Pool:
    """Every candidate of rung r0 with its KL in nats. Each candidate is a line, so that a killed search
    loses only the one that it was working on.

    `known` are those of earlier sessions that a deterministic search has not proposed again yet; `guessed`
    are those that could not be stitched, with what the table expects; a later session tries to stitch them
    again.
    """

    directory: RunDirectory
    problem: LevelProblem
    kls: dict[Levels, float] = field(default_factory=dict)
    promoted: set[Levels] = field(default_factory=set)
    guessed: dict[Levels, float] = field(default_factory=dict)
    known: dict[Levels, float] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: RunDirectory, problem: LevelProblem, *, replayed: bool = False) -> "Pool":
        """The pool of the run so far; candidates of another space are left out. A `replayed` one begins
        empty.
        """
        path = directory.path / _FILE
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if text and not text.endswith("\n"):  # a killed search was writing
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
        stored = dict(_readable(text.splitlines(), problem))
        if replayed:
            return cls(directory=directory, problem=problem, known=stored)
        return cls(directory=directory, problem=problem, kls=stored)

    def add(self, levels: Levels, kl: float) -> None:
        """Adds a candidate."""
        self.kls[levels] = kl
        if self.known.pop(levels, None) is not None:
            return
        pairs = zip(self.problem.slots, levels, strict=True)
        changed = {slot.name: level for slot, level in pairs if level != slot.original}
        with (self.directory.path / _FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(seal({"levels": changed, "kl": kl})) + "\n")

    def waiting(self) -> list[tuple[Levels, float]]:
        """Candidates that did not go up, with their KL."""
        return [(levels, kl) for levels, kl in self.kls.items() if levels not in self.promoted]

    def guesses(self) -> list[tuple[Levels, float]]:
        """The same for candidates that could not be stitched."""
        return [(levels, kl) for levels, kl in self.guessed.items() if levels not in self.promoted]


def _readable(lines: list[str], problem: LevelProblem) -> Iterator[tuple[Levels, float]]:
    for line in lines:
        try:
            value = unsealed(line)
            changed, kl = value["levels"], float(value["kl"])
            levels = tuple(int(changed.pop(slot.name, slot.original)) for slot in problem.slots)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # damaged, or a killed search was writing it
            continue
        in_range = (0 <= level < slot.levels for level, slot in zip(levels, problem.slots, strict=True))
        if not changed and all(in_range):
            yield levels, kl
