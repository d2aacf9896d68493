"""`autocompress verify RUN`: the points of a front measured now on a target, against what the run says of them.

A run with predicted latencies learns what they were worth, one that was measured whether it still holds: on another device, after
an update of the runtime. Each point that was measured is kept in the run directory until the end, so that an interrupted call
goes on; then `verify.json` is replaced as a whole, and the report shows it.

What counts as regressed, for every point:

- its latency was measured on a target of this name, and the interval of the new ratio to the original starts more than `ROOM`
  above the end of the old one: differences from hour to hour stay below that,
- it met the search's latency limit, and the interval of the new latency starts above it,
- its metric on validation is below the interval that the run states (`QUALITY_ROOM` of it where there is none),
- it cannot be built or run on the target.
"""

import json
import time
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, RunDirectoryError, StageError, TargetUnavailable, TaskError
from ..files import digest_of, digest_of_file, write_text
from ..profiles import FINALIST_TIMING, TimingConfig
from ..profiles.regression import PredictionError
from ..targets.held_clocks import ClocksOfTargets
from ..targets.here import require_here
from ..targets.store import MeasurementStore
from ..targets.target import Target, TargetSession
from ..tasks.load import load_task
from ..tasks.quality import score
from ..tasks.task import Metric
from .availability import is_away
from .evaluate import VALIDATION_BATCH, StoredSplit
from .formats import Point, Run, is_predicted, label_of, ratio_interval_of, ratio_of, seconds_of
from .pick import excess_of, limits_of
from .records import Latency
from .run_directory import VERIFIED, read_json, read_run
from .several import NamedTarget, load_targets, target_at
from .views import run_on, targets_of

SCHEMA_VERSION = 1
UNFINISHED, STORE = "verify-unfinished.json", "verify.db"
ROOM = 0.05  # relative, on the ratio of two latencies
QUALITY_ROOM = 0.01  # relative, where the run states no interval

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores files on the validation split of the task; `inputs` are what latencies are timed with."""

    metric: Metric
    split: StoredSplit

    def score(self, session: TargetSession, model: Path, *, batch: int) -> float:
        """The metric of a file on the session's target. Raises StageError."""
        inputs = self.split.inputs
        outputs = session.run(model, inputs, batch=session.running_batch(VALIDATION_BATCH, measured=batch))
        return score(self.metric, outputs, self.split.targets)


def scorer_or_reason(facts: Mapping[str, Any], folder: Path) -> tuple[Scorer | None, str]:
    """The scorer of the task that a run or manifest names, or None and why it cannot be loaded here. It writes to `folder`."""
    try:
        task = load_task(facts["spec"], facts["arguments"])
    except TaskError as error:
        return None, str(error)
    return Scorer(metric=task.metric, split=StoredSplit(task.validation, folder / "validation.npz")), ""


def usable_target(named: NamedTarget, store: MeasurementStore | None, *, inputs: Path | None) -> Target:
    """The target, which answered. TargetUnavailable says which one did not, and why."""
    try:
        if named.address.local:
            require_here(named.profile)
        target = target_at(named.profile, named.address, store, inputs=inputs, clocks=named.clocks)
        target.probe()
    except TargetUnavailable as error:
        raise TargetUnavailable(f"Target '{named.profile.name}': {error}") from error
    return target


def one_target(text: str, clocks: ClocksOfTargets | None) -> NamedTarget:
    """The target that `text` names, with clocks that are set for it. InputError for several."""
    found = load_targets(text)
    if len(found) != 1:
        raise InputError(f"--target {text!r} names {len(found)} targets: verify one after the other.")
    named = found[0]
    return named if clocks is None else replace(named, clocks=clocks.of(named.profile, named.address))


def verify_run(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> dict[str, Any]:
    """What verify.json then says. `target` None is the run's own; `folder` is for temporary files, `clocks` for `--set-clocks`.

    InputError when the run, its files or the target's name are wrong, TargetUnavailable when the target cannot be used, or is
    lost: what was measured until then is kept.
    """
    run = read_run(path)
    named = one_target(target or own_target(path, run), clocks)
    name = named.profile.name
    view = run_on(run, name if name in targets_of(run) else None)
    points = _points(view)
    files = {point["trial"]: _file(path, point) for point in points}
    scorer, reason = scorer_or_reason(run["task"], folder)
    if reason:
        note(f"Note: the task cannot be loaded here, so that only latency is verified, with random inputs. {reason}")
    say(f"asking the target {name}")
    subject = usable_target(named, MeasurementStore(path / STORE), inputs=scorer.split.inputs if scorer else None)
    timing = timing.with_batch(view["target"]["batch"])
    key = digest_of([subject.profile.fingerprint, subject.probe().fingerprint, name, scorer is None, timing.batch])
    kept = read_json(path / UNFINISHED) or {}
    rows: dict[str, Any] = kept.get("rows", {}) if kept.get("key") == key else {}
    baseline = points[0]
    for number, point in enumerate(points, 1):
        digest = point["artifact"]["digest"]
        if digest not in rows:
            say(f"verifying {number} of {len(points)}: {label_of(point, view)}")
            rows[digest] = _measured(subject, files[point["trial"]], files[baseline["trial"]], scorer=scorer, timing=timing)
            write_text(path / UNFINISHED, _json({"key": key, "rows": rows}))
    found = _result(view, points, rows, subject, named=named, reason=reason)
    write_text(path / VERIFIED, _json(found))
    for name in (UNFINISHED, STORE):
        with suppress(FileNotFoundError):
            (path / name).unlink()
    return found


def own_target(path: Path, run: Run) -> str:
    """The run's primary target as it was written on the command line."""
    try:
        text = tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))["options"]["target"]
    except (OSError, KeyError, ValueError):
        text = run["target"]["name"]
    return str(text).partition(",")[0].strip()


def _points(view: Run) -> list[Point]:
    """The original, uniform int8 and the front, each once."""
    listed = [view["baseline"], *([view["uniform_int8"]] if view["uniform_int8"] else []), *view["front"]]
    return list({point["trial"]: point for point in listed}.values())


def _file(path: Path, point: Point) -> Path:
    """The point's file. RunDirectoryError when it is gone or is another one."""
    file = path / str(point["artifact"]["file"])
    if not file.is_file() or digest_of_file(file) != point["artifact"]["digest"]:
        what = "is not the file that the run describes" if file.is_file() else "is gone"
        raise RunDirectoryError(f"{file} {what}: run the search's command again to rebuild it.")
    return file


def _measured(target: Target, model: Path, baseline: Path, *, scorer: Scorer | None, timing: TimingConfig) -> dict[str, Any]:
    """`latency` and `quality` of a file now; or the `failure`. TargetUnavailable when the target is lost."""
    try:
        with target.session() as session:
            latency = Latency.of(session.measure(model, baseline, timing)).to_json()
            quality = scorer.score(session, model, batch=timing.batch) if scorer else None
    except StageError as error:
        refuse_lost(error, target.profile.name)
        return {"latency": None, "quality": None, "failure": f"{error.stage}: {error}"}
    return {"latency": latency, "quality": quality, "failure": None}


def refuse_lost(error: StageError, name: str) -> None:
    """TargetUnavailable when the error says nothing of the file: the target is away, or too restless to measure on."""
    if is_away(error):
        raise TargetUnavailable(f"Target '{name}' was lost; the same command goes on. {error}") from error
    if error.kind == "noisy":
        raise TargetUnavailable(f"Target '{name}' is too restless now; the same command goes on. {error}") from error


def _result(
    view: Run, points: list[Point], rows: Mapping[str, Any], target: Target, *, named: NamedTarget, reason: str
) -> dict[str, Any]:
    compared = [_row(point, rows[point["artifact"]["digest"]], view, name=target.profile.name) for point in points]
    both = [row for row in compared if row["latency"] is not None]
    spent = [(row["earlier_s"], row["latency"]["latency_s"]) for row in both]
    error = PredictionError.of([earlier for earlier, _ in spent], [now for _, now in spent])
    return {
        "schema_version": SCHEMA_VERSION,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "target": {"name": target.profile.name, "address": str(named.address), "profile_fingerprint": target.profile.fingerprint},
        "environment": target.probe().to_json(),
        "earlier": {"target": view["target"]["name"], "predicted": view["target"].get("predicted")},
        "batch": view["target"]["batch"],
        "points": compared,
        "count": error.count,
        "kendall_tau": error.kendall_tau,
        "median_error": error.median,
        "p90_error": error.p90,
        "quality_not_verified": reason or None,
        "regressed": any(row["regressed"] for row in compared),
    }


def _row(point: Point, now: Mapping[str, Any], view: Run, *, name: str) -> dict[str, Any]:
    """A point then and now. `error` is the earlier latency / the measured one - 1."""
    latency, quality = now["latency"], now["quality"]
    again = {**point, "latency": latency or point["latency"]}
    if quality is not None:
        again["drop"] = point["drop"] + _worse(point, quality, view)
    limits = limits_of(view)
    before, after = excess_of(point, limits), excess_of(again, limits)
    return {
        "trial": point["trial"],
        "label": label_of(point, view),
        "predicted": is_predicted(point),
        "earlier_s": seconds_of(point),
        "earlier_ratio": ratio_of(point),
        "earlier_interval": ratio_interval_of(point),
        "latency": latency,
        "error": seconds_of(point) / latency["latency_s"] - 1 if latency else None,
        "quality": {"earlier": point["quality"]["validation"], "interval": point["quality"]["interval"], "now": quality},
        "breaks": [limit for limit in after if limit not in before],
        "regressed": _regressions(point, now, view, same=view["target"]["name"] == name),
    }


def _regressions(point: Point, now: Mapping[str, Any], view: Run, *, same: bool) -> list[str]:
    """What is worse than the run states, in words; see the top of this file."""
    if now["failure"]:
        return [f"cannot be measured, {now['failure']}"]
    found, (low_s, _), (low, _) = [], now["latency"]["interval_s"], now["latency"]["ratio_interval"]
    earlier, limit_s = ratio_interval_of(point), limits_of(view).latency_s
    if same and earlier is not None and low > earlier[1] * (1 + ROOM):
        found.append("slower than was measured")
    if limit_s is not None and seconds_of(point) <= limit_s < low_s:
        found.append("breaks the latency limit")
    if now["quality"] is not None and quality_fell(point["quality"], now["quality"], view["task"]["metric"]):
        found.append("loses quality")
    return found


def quality_fell(stated: Mapping[str, Any], now: float, metric: Mapping[str, Any]) -> bool:
    """Whether a metric is worse than the interval that was stated, or than QUALITY_ROOM of the value without one."""
    value, interval = stated["validation"], stated["interval"]
    if metric["direction"] == "lower":
        return bool(now > (interval[1] if interval else value + QUALITY_ROOM * abs(value)))
    return bool(now < (interval[0] if interval else value - QUALITY_ROOM * abs(value)))


def _worse(point: Point, quality: float, view: Run) -> float:
    """By how much the metric is worse now, in its unit."""
    change = float(point["quality"]["validation"]) - quality
    return -change if view["task"]["metric"]["direction"] == "lower" else change


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
