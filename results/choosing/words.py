"""Recommendations as lines for a terminal, and the command that takes a point."""

import shlex

from ..formats import Formats, ratio_text, speed_text
from ..placed import common_ratio, placed, placed_label
from ..records.point import Point
from ..records.run import Run
from ..view import views_of
from .recommended import named_points, recommended
from .slower import not_slower


def pick_command(run: Run, point: Point, directory: str, *, of_several: bool = False) -> str:
    """The command that writes the bundle of the point of the run in `directory`; `of_several`: the run is
    seen on one of its targets, which the command has to name.
    """
    words = ["autocompress", "pick", directory]
    if of_several:
        words += ["--target", run.target_names[0]]
    elif run.device is not None:
        words += ["--target", *run.measured(point)]
    words += ["--trial", str(point.trial)]
    if not not_slower(run, point):
        words.append("--allow-slower")
    return shlex.join([*words, "--out", "bundle"])


def next_command(run: Run, directory: str, *, of_several: bool = False) -> str | None:
    """The command for the star; None where nothing meets the limits, or nothing but the original was
    measured.
    """
    star = recommended(run)
    if not star.meets or len(run.points) == 1:
        return None
    return pick_command(run, star.point, directory, of_several=of_several)


def recommendation_lines(run: Run) -> list[str]:
    """`★ fastest: trial 7: 91.42 %, drop 0.31 pp, …`: one line for each named point, the star first."""
    star = recommended(run).point
    return [
        f"{'★' if named.point == star else ' '} {', '.join(named.names)}: "
        f"{placed_label(run, named.point)}, {numbers_of(run, named.point)}"
        for named in named_points(run)
    ]


def numbers_of(run: Run, point: Point) -> str:
    """Quality, latency and size of the point in words; on several targets the worst drop and size, and the
    latency on each.
    """
    formats, views = Formats.of(run), views_of(run)
    if run.device is not None:
        there = placed(run, point)
        latency = f"{formats.seconds_of(there)}, {common_ratio(run, point)}"
        return f"{formats.quality_of(there)}, {latency}, {formats.size_of(there)}"
    if len(views) == 1:
        there = views[0].on(point)
        return f"{formats.quality_of(there)}, {formats.latency_of(there)}, {formats.size_of(there)}"
    worst = run.worst_drop(point)
    latencies = ", ".join(f"{speed_text(view.on(point).latency)} on {view.target.name}" for view in views)
    size = ratio_text(run.vector(point)[1])
    return f"drop {formats.drop(worst.drop, worst.drop_interval)}, {latencies}, size {size}"
