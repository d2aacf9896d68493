"""What the pages show of a search and a run."""

from dataclasses import dataclass
from typing import Any

from ....results.formats import Formats, ratio_text
from ....results.records.run import Run
from ....results.view import views_of
from ...queue.job import Job
from ..schemas import PickOut, when


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A search in a list."""

    job: Job
    created: str
    share: int | None
    left_s: float | None
    best: str

    @property
    def over(self) -> bool:
        """Whether nothing happens any more."""
        return self.job.state not in ("queued", "running")


def row_of(job: Job) -> Row:
    """The line of a search in the list."""
    front = job.progress.get("front") or []
    ratios = [point.get("latency_ratio") for point in front if isinstance(point, dict)]
    fastest = min((one for one in ratios if isinstance(one, int | float)), default=None)
    share, left = job.progress.get("share"), job.progress.get("left_s")
    running = job.state == "running"
    return Row(
        job=job,
        created=(when(job.created) or "")[:16].replace("T", " "),
        share=round(100 * share) if isinstance(share, int | float) and 0 <= share <= 1 else None,
        left_s=float(left) if running and isinstance(left, int | float) else None,
        best="" if fastest is None else f"{len(front)} points, fastest {ratio_text(fastest)}",
    )


def pick_rows(run: Run, chosen: PickOut) -> list[dict[str, Any]]:
    """The picked point between its neighbours, their numbers as text."""
    view = views_of(run)[0]
    formats = Formats.of(view)
    roles = {chosen.trial: "picked", chosen.faster: "faster neighbour", chosen.slower: "slower neighbour"}
    return [
        {
            "role": roles[point.trial],
            "trial": point.trial,
            "quality": formats.quality(point.quality.validation),
            "drop": formats.drop(point.drop),
            "latency": formats.seconds_of(point),
            "size": formats.size_of(point),
        }
        for trial in (chosen.faster, chosen.trial, chosen.slower)
        for point in view.points
        if trial is not None and point.trial == trial
    ]
