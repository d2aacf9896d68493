"""What `zoo.py` found out about one architecture: kept as a file of JSON, printed as a line, put into a page."""

import json
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autocompress.benchmarks.zoo_families import versions
from autocompress.files import write_text

# Where in the user's code a reason points to.
_PLACE = re.compile(r" \(\S+\.py:\d+[^)]*\)")
_PAGE = """# Models that were tried

What autocompress can do to common architectures, with random weights, few layers and small inputs
({versions}).
Written by `python benchmarks/zoo.py --only '^(timm|torchvision|hf|own)' --rows DIR --markdown docs/models.md`.

{count} architectures: {summary}.

Groups are sets of channels or heads of which some can be removed, blocks are residual branches that can be
removed, int8 counts layers that can have 8 and fewer bits. Shares are of the weights in layers and tables; small
models have large tables and heads, so that the shares of full-size ones are higher. Builds: the original, every
layer in int8, every layer in 4 bits, half of every group, without the first block, and random mixtures of all
levels (which the probe runs, too); each file's answers are compared with torch.

| architecture | groups | blocks | int8 | prunable | quantizable | removable | builds like torch |
|---|--:|--:|--:|--:|--:|--:|---|
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture: counts, shares of the weights, and by build whether it answers like torch;
    layers with what keeps them whole. Where it is refused, only the name and why.
    """

    name: str
    counts: tuple[int, ...] = (0, 0, 0)
    shares: tuple[float, ...] = (0.0, 0.0, 0.0)
    builds: tuple[str, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"{self.name:28} {self.refused}"
        numbers = " ".join(f"{count:6}" for count in self.counts)
        shares = " ".join(f"{share:7.0%}" for share in self.shares)
        return f"{self.name:28} {numbers} {shares}  {' '.join(self.builds)}"

    @property
    def failures(self) -> tuple[str, ...]:
        """The builds that cannot be made, or do not answer like torch."""
        return tuple(text for text in self.builds if not text.endswith(":ok"))


def save_row(row: Row, folder: Path) -> None:
    """Writes the row into the folder, in the place of an older one of the same architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(_path(row.name, folder), json.dumps(asdict(row), indent=1) + "\n")


def saved_row(name: str, folder: Path) -> Row | None:
    """The architecture's row in the folder, or None."""
    path = _path(name, folder)
    if not path.exists():
        return None
    values: dict[str, Any] = json.loads(path.read_text())
    return Row(**{key: _tuples(value) for key, value in values.items()})


def _path(name: str, folder: Path) -> Path:
    return folder / (re.sub(r"\W+", "-", name) + ".json")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def page(rows: Sequence[Row]) -> str:
    """The table and the reasons as Markdown."""
    lines = [_PAGE.rstrip().format(versions=versions(), count=len(rows), summary=summary(rows))]
    traced = [row for row in rows if not row.refused]
    for row in traced:
        shares = " | ".join(f"{share:.0%}" for share in row.shares)
        counts = " | ".join(str(count) for count in row.counts)
        lines.append(f"| {row.name} | {counts} | {shares} | {'; '.join(row.failures) or _all_or_none(row)} |")
    lines += [
        "",
        "## What stays whole or float32, and why",
        "",
        "| architectures | layers | reason |",
        "|--:|--:|---|",
    ]
    layers = Counter(re.sub(_PLACE, "", reason) for row in traced for _, reason in row.reasons)
    owners = Counter(
        reason for row in traced for reason in {re.sub(_PLACE, "", text) for _, text in row.reasons}
    )
    lines += [f"| {owners[reason]} | {count} | {reason} |" for reason, count in layers.most_common()]
    lines += ["", "## What is refused", ""]
    lines += [f"- {row.name}: {row.refused}" for row in rows if row.refused] or ["Nothing of these."]
    return "\n".join(lines) + "\n"


def _all_or_none(row: Row) -> str:
    return "all" if row.builds else "not built"


def summary(rows: Sequence[Row]) -> str:
    """How many could be traced, how many of the built ones are right, and the medians of the shares."""
    traced = [row for row in rows if not row.refused]
    built = [row for row in traced if row.builds]
    good = sum(not row.failures for row in built)
    middles = [statistics.median(column) for column in zip(*(row.shares for row in traced), strict=True)]
    names = ("prunable", "quantizable", "removable")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, middles, strict=False))
    return (
        f"{len(traced)} could be traced, {good} of the {len(built)} that were built answer like torch in every "
        f"build; medians of shares: {shares}"
    )
