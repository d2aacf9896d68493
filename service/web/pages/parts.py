"""What the pages show of a search, a run and the machines."""

import json
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markupsafe import Markup
from sqlalchemy import select

from ....errors import InputError
from ....results.choosing.recommended import recommended
from ....results.formats import Formats, ratio_text
from ....results.records.run import Run
from ....results.report import charts
from ....results.report.sections import failures, front_table
from ....results.view import RunOn, views_of
from ....text.printable import printable_strings
from ...access.caller import Caller
from ...database.tables import DeviceRow, JobRow, WorkerRow
from ...queue.job import Job
from ..schemas import PickOut, when
from ..state import FrontState, NoRunError, Service, run_of


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """A limit that is chosen by hand: from `least`, which the best point has, to `most` in `unit`."""

    name: str
    label: str
    least: float
    most: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The front of a run as HTML, its failures, and the limits that can be chosen."""

    table: Markup
    failures: Markup
    sliders: tuple[Slider, ...]
    targets: str


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


def front_of(service: Service, job_id: str) -> Front | None:
    """The front of a job's run; None before anything was measured."""
    try:
        return _front(service.front_state(job_id))
    except NoRunError:
        return None


@lru_cache(maxsize=64)
def _front(state: FrontState) -> Front:
    run = run_of(state)
    view = views_of(run)[0]
    chosen = view.on(recommended(view.run).point)
    return Front(
        table=Markup(front_table(view, chosen=chosen)),
        failures=Markup(failures(run)),
        sliders=_sliders(view),
        targets=", ".join(run.target_names),
    )


def _sliders(view: RunOn) -> tuple[Slider, ...]:
    """Limits between the best and the worst of the points."""
    points = [point for point in view.points if point.measured]
    seconds = [1e6 * _seconds(point.latency) for point in points]
    sizes = [point.artifact.size_bytes / 1024 for point in points]
    made = [
        _slider("max_latency", "Latency at most", seconds, "us"),
        _slider("max_size", "Size at most", sizes, "KB"),
    ]
    if view.task.metric.unit == "fraction":
        drops = [max(0.0, 100 * point.drop) for point in points]
        made.insert(0, _slider("max_drop", "Drop at most", [0.0, *drops], "pp"))
    return tuple(made)


def _seconds(latency: Any) -> float:
    return float(getattr(latency, "latency_s", None) or latency.seconds)


def _slider(name: str, label: str, values: list[float], unit: str) -> Slider:
    return Slider(name=name, label=label, least=min(values), most=max(values) or 1.0, unit=unit)


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


@lru_cache(maxsize=64)
def charts_of(state: FrontState) -> bytes:
    """The report's charts of the first target, as JSON."""
    view = views_of(run_of(state))[0]
    chosen = view.on(recommended(view.run).point)
    figures = {
        "latency": charts.plane(view, "latency", chosen=chosen),
        "size": charts.plane(view, "size", chosen=chosen),
        "history": charts.history(view),
    }
    return json.dumps(printable_strings(figures), allow_nan=False).encode()


def arguments_of(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines as arguments. InputError for another line."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if wrong := next((key for key, equals, _ in pairs if not equals or not key.strip().isidentifier()), None):
        raise InputError(f"{wrong!r} is no KEY=VALUE: write an argument a line, like data=/srv/datasets.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def machines(service: Service, caller: Caller) -> dict[str, Any]:
    """Workers and what they do, boards and who has them, the disk."""
    now, disk = time.time(), shutil.disk_usage(service.data)
    with service.database.reading() as session:
        running = {
            row.worker: row for row in session.scalars(select(JobRow).where(JobRow.state == "running"))
        }
        workers = [
            {
                "name": one.name,
                "labels": ", ".join(one.labels),
                "ago_s": max(0.0, now - one.seen),
                "job": _seen(running.get(one.name), caller),
            }
            for one in session.scalars(select(WorkerRow).order_by(WorkerRow.seen.desc()).limit(200))
        ]
        boards = [
            {"name": one.name, "busy": one.job_id is not None}
            for one in session.scalars(select(DeviceRow).order_by(DeviceRow.name).limit(200))
        ]
    return {
        "workers": workers,
        "boards": boards,
        "disk": {"free": disk.free, "total": disk.total},
        "data": str(service.data),
    }


def _seen(row: JobRow | None, caller: Caller) -> str:
    """The id of the job if the caller may see it, `busy` if not, empty without one."""
    if row is None:
        return ""
    return row.id if caller.sees_all or row.owner_id == caller.user_id else "busy"
