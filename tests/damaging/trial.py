"""One damaged input: what a command makes of it, compared with what it makes of the whole one."""

import random
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autocompress.tests.damaging.damage import copied, damage
from autocompress.tests.damaging.kinds import ERRORS, Kind

Outcome = Literal["refused", "right", "made again", "as the file says", "traceback", "silently wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a damaged file."""

    seed: int
    file: str
    how: str
    outcome: Outcome
    text: str


def trials(kind: Kind, seeds: range) -> Iterator[Trial]:
    """A trial for each seed."""
    with tempfile.TemporaryDirectory(prefix="damaging-") as name:
        top = Path(name)
        real, folder = top / "real", top / "used"
        real.mkdir()
        kind.make(real)
        expected = kind.use(copied(real, folder))
        for seed in seeds:
            draw = random.Random(f"{kind.name} {seed}")
            pattern = draw.choice(kind.files)
            files = sorted(path for path in copied(real, folder).glob(pattern) if path.is_file())
            file = draw.choice(files)
            how = damage(file, draw, kind.ways)
            kind.settle(folder)
            outcome, text = _outcome(kind, folder, expected)
            yield Trial(seed=seed, file=file.name, how=how, outcome=outcome, text=text)


def _outcome(kind: Kind, folder: Path, expected: object) -> tuple[Outcome, str]:
    damaged = copied(folder, folder.with_name("damaged")) if folder.is_dir() else folder
    try:
        result = kind.use(folder)
    except ERRORS as error:
        lines = str(error).splitlines()
        return ("refused", lines[0]) if len(lines) == 1 else ("traceback", str(error))
    except Exception:  # what a user would see
        return "traceback", traceback.format_exc()
    if result == expected:
        return "right", ""
    if kind.parts and _is_part(result, expected):
        return "made again", ""
    if kind.faithful(damaged, result):
        return "as the file says", ""
    return "silently wrong", f"{str(result)[:300]} instead of {str(expected)[:300]}"


def _is_part(result: object, expected: object) -> bool:
    """Whether nothing is other than expected; something may be missing."""
    if isinstance(result, dict) and isinstance(expected, dict):
        return all(key in expected and expected[key] == value for key, value in result.items())
    return isinstance(result, bool)  # a run that is not continued says why
