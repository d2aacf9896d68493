"""The front as a table for a terminal. With several targets it is the front of all together, and each target
has a latency column. Of the runtimes of one device each line is a candidate in one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text.printable import printable
from .choosing.recommended import named_points, recommended
from .choosing.slower import fastest_original_notes
from .formats import (
    MISSING,
    Formats,
    bits_text,
    is_noisy,
    label_of,
    load_sentence,
    mark_of,
    meets_text,
    notes_of,
    prediction_note,
    ratio_of,
    ratio_text,
    same_text,
)
from .limits import chance_text
from .pick import cost_of
from .placed import common_ratio, left_out_notes, originals_note, place_of, placed
from .records.point import Point
from .records.run import Run
from .view import PointOn, RunOn, views_of
from .words.energies import bare_energy, energy_note, energy_of, energy_ratio, energy_unit

if TYPE_CHECKING:
    from rich.table import Table


SHOWN_LOADS, LONG_NAME = 3, 10
SURE = 0.995  # more than that is not worth a note


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its heading in two lines, and the text of a point in it."""

    heading: str
    cell: Callable[[Point], str]


def front_table(run: Run) -> "Table":
    """A rich table of the front, the original and uniform int8, the fastest first; `★` is the point to look
    at.
    """
    from rich.table import Table
    from rich.text import Text

    best, joint = recommended(run), len(run.target_names) > 1
    table = Table(
        title="all targets" if joint and run.device is None else None,
        title_justify="left",
        caption=Text("\n".join(map(printable, [f"★ {best.reason}. {_rule(run)}", *notes_below(run)]))),
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    shown = columns(run)
    for index, column in enumerate(shown):
        words = column.heading == "notes"
        table.add_column(
            Text(column.heading), justify="right" if index and not words else "left", no_wrap=not words
        )
    for point in shown_points(run):
        star = same_place(run, point, best.point)
        label, *numbers = (column.cell(point) for column in shown)
        cells = [f"{'★' if star else ' '} {label}", *numbers]
        table.add_row(*(Text(printable(cell)) for cell in cells), style="bold" if star else None)
    return table


def _rule(run: Run) -> str:
    """What is on the front, and what the numbers are."""
    if run.device is not None:
        return (
            "A point is a candidate in one runtime. ± 95 %; × against the original in the runtime where that "
            "is fastest."
        )
    if len(run.target_names) > 1:
        return (
            "A point is on this front when no other is as good in its worst drop, size and latency ×. ± 95 %."
        )
    return "≈ intervals overlap, cannot be told apart. ± 95 %; drop and × against the original."


def same_place(run: Run, one: Point, other: Point) -> bool:
    """Whether two points are the same candidate, and of alternatives in the same runtime."""
    return one.trial == other.trial and run.measured(one).keys() == run.measured(other).keys()


def shown_points(run: Run) -> list[Point]:
    """The front with the recommended points (without one: the nearest miss), the original model and uniform
    int8, the fastest first.

    With several targets the order is that of the worst latency ratio of all targets; of alternatives the
    original is shown in each runtime.
    """
    if run.device is not None:
        return _shown_placements(run)
    advised = (recommended(run).point, *(named.point for named in named_points(run)))
    members = (*run.front, *advised, run.baseline, run.uniform_int8)
    shown = {point.trial for point in members if point is not None}
    points = [point for point in run.points if point.trial in shown and run.complete(point)]
    return sorted(points, key=lambda point: cost_of(run, point, "latency"))


def _shown_placements(run: Run) -> list[Point]:
    advised = [recommended(run).point, *(named.point for named in named_points(run))]
    originals = [run.baseline.on(name) for name in run.target_names]
    uniform = [run.uniform_int8] if run.uniform_int8 else []
    shown: dict[tuple[int, str], Point] = {}
    for point in (*run.front, *advised, *originals, *uniform):
        name = place_of(run, point)
        shown.setdefault((point.trial, name), run.point(point.trial).on(name))
    return sorted(shown.values(), key=lambda point: cost_of(run, point, "latency"))


def notes_below(run: Run) -> list[str]:
    """What could not be measured, which targets are predicted, what else used the machine while noisy points
    were measured, and what energies are of: one sentence each.
    """
    views = views_of(run)
    notes = [missing_note(run), *map(prediction_note, views)]
    notes += [load_note(view, several=len(views) > 1) for view in views]
    notes += [
        *map(energy_note, views),
        *fastest_original_notes(run),
        originals_note(run),
        *left_out_notes(run),
    ]
    return [note for note in notes if note]


def load_note(view: RunOn, *, several: bool = False) -> str:
    """`Noisy: trial 7 ±6 %: other processes used 1.4 of 2 cores while it was measured; …` of the shown
    points; empty where the load of none is known.
    """
    shown = [view.on(point) for point in shown_points(view.run)]
    loads = [f"{label_of(point, view)} {load}" for point in shown if (load := load_sentence(point.latency))]
    more = f"; {len(loads) - SHOWN_LOADS} more" if len(loads) > SHOWN_LOADS else ""
    where = f" on {view.target.name}" if several else ""
    return f"Noisy{where}: {'; '.join(loads[:SHOWN_LOADS])}{more}." if loads else ""


def missing_note(run: Run) -> str:
    """Says how many points have no latency on a target, and on which targets the original has none either.
    Empty when none is missing.
    """
    counts = {
        name: sum(name not in {*point.measured, *point.left_out} for point in run.points)
        for name in run.facts.target_names
    }
    parts = [
        f"{counts[name]} point{'s' if counts[name] > 1 else ''} could not be measured on {name}"
        for name in run.target_names
        if counts[name]
    ]
    parts += [
        f"{name} was away, {counts[name]} measurements are queued for it and its limits are open"
        for name in run.facts.target_names
        if name not in {*run.target_names, *run.baseline.left_out}
    ]
    return f"{', '.join(parts)}: the next session tries again." if parts else ""


def columns(run: Run) -> list[Column]:
    """The columns of the table, the first one with the point's name."""
    if run.device is not None:
        return _placement_columns(run)
    formats, views = Formats.of(run), views_of(run)
    first, alone = views[0], len(views) == 1
    tested = _test_columns(run, formats)
    counted = alone and not tested  # a terminal has no room for both
    paired = any(run.worst_drop(point).drop_interval for point in shown_points(run))
    named = [("latency", first)] if alone else [(view.target.name, view) for view in views]
    latencies = [
        column for name, view in named for column in _latency_columns(name, view, formats, alone=alone)
    ]
    return [
        Column(heading="trial", cell=lambda point: _short_name(point, run)),
        Column(
            heading=_quality_heading(formats),
            cell=lambda point: _quality(first.on(point), formats, alone=not paired),
        ),
        Column(
            heading="drop\npp" if formats.fraction else "drop\n",
            cell=lambda point: _drop(run, point, formats),
        ),
        *tested,
        *([] if alone else _chance_columns(run)),
        *latencies,
        Column(
            heading=f"size\n{formats.size_unit}",
            cell=lambda point: f"{_largest(run, point) / formats.size_scale:,.1f}",
        ),
        Column(heading="×\n", cell=lambda point: ratio_text(run.vector(point)[1])[:-1]),
        *(_energy_columns(first) if alone else []),
        *([Column(heading="MACs\n×", cell=lambda point: _macs(first.on(point)))] if counted else []),
        Column(heading="bits\nmean", cell=lambda point: bits_text(first.on(point))),
        *([Column(heading="notes", cell=lambda point: _notes(first.on(point)))] if alone else []),
    ]


def _placement_columns(run: Run) -> list[Column]:
    """Those of a front over the runtimes of a device."""
    formats = Formats.of(run)
    paired = any(run.worst_drop(point).drop_interval for point in shown_points(run))

    def there(point: Point) -> PointOn:
        return placed(run, point)

    return [
        Column(heading="trial", cell=lambda point: _short_name(point, run)),
        Column(heading="target", cell=lambda point: place_of(run, point)),
        Column(
            heading=_quality_heading(formats),
            cell=lambda point: _quality(there(point), formats, alone=not paired),
        ),
        Column(
            heading="drop\npp" if formats.fraction else "drop\n",
            cell=lambda point: _drop(run, point, formats),
        ),
        *_test_columns(run, formats),
        Column(
            heading=f"latency\n{formats.latency_unit}",
            cell=lambda point: _latency(there(point), formats, alone=True),
        ),
        Column(heading="×\n", cell=lambda point: _bare_ratio(common_ratio(run, point))),
        Column(
            heading=f"size\n{formats.size_unit}",
            cell=lambda point: f"{_largest(run, point) / formats.size_scale:,.1f}",
        ),
        Column(heading="×\n", cell=lambda point: ratio_text(run.vector(point)[1])[:-1]),
        Column(heading="bits\nmean", cell=lambda point: bits_text(there(point))),
        Column(heading="notes", cell=lambda point: _notes(there(point))),
    ]


def _latency_columns(name: str, view: RunOn, formats: Formats, *, alone: bool) -> list[Column]:
    """The latency on a target and its ratio. Beside other targets the column itself marks noisy ones."""
    return [
        Column(
            heading=f"{printable(name)}\n{formats.latency_unit}",
            cell=lambda point: _latency(view.on(point), formats, alone=alone),
        ),
        Column(heading="×\n", cell=lambda point: _ratio(view.on(point))),
    ]


def _energy_columns(view: RunOn) -> list[Column]:
    """Joules per inference and their ratio; no columns where no sensor counted them."""
    unit = energy_unit(view)
    if unit is None:
        return []

    def joules(point: Point) -> str:
        energy = energy_of(view.on(point))
        return MISSING if energy is None else bare_energy(energy.energy_j, unit[1])

    def ratio(point: Point) -> str:
        energy = energy_of(view.on(point))
        words = "" if energy is None else energy_ratio(energy, original=point.trial == view.baseline.trial)
        return words.replace("×", "").replace(" %", "%")

    return [Column(heading=f"energy\n{unit[0]}", cell=joules), Column(heading="×\n", cell=ratio)]


def _latency(point: PointOn, formats: Formats, *, alone: bool) -> str:
    latency = point.latency
    number = mark_of(latency) + formats.bare_latency(latency.seconds)
    noisy = " noisy" if is_noisy(latency) and not alone else ""
    return f"{number}{noisy}"


def _ratio(point: PointOn) -> str:
    """`0.31 ±0.7%`; the original's has no spread."""
    return _bare_ratio(ratio_of(point))


def _bare_ratio(text: str) -> str:
    number, _, spread = text.partition("× ")
    return f"{number.rstrip('×')} {spread.replace(' ', '')}".rstrip()


def _short_name(point: Point, run: Run) -> str:
    return label_of(point, run).removeprefix("trial ").removesuffix(" int8")


def _quality_heading(formats: Formats) -> str:
    """`accuracy` above its unit; a long name in two lines, since its numbers are short."""
    name = printable(formats.metric_name)
    first, space, last = name.rpartition(" ")
    if space and len(name) > LONG_NAME:
        return f"{first}\n{last} {formats.quality_unit}".rstrip()
    return f"{name}\n{formats.quality_unit}"


def _quality(point: PointOn, formats: Formats, *, alone: bool) -> str:
    """The metric; `alone` with its own spread, since no drop has one."""
    number = formats.bare_quality(point.quality.validation)
    return f"{number} {formats.quality_spread(point.quality.interval)}".rstrip() if alone else number


def _drop(run: Run, point: Point, formats: Formats) -> str:
    """The drop on the target where it is largest, with its spread."""
    worst = run.worst_drop(point)
    return formats.bare_drop(worst.drop, worst.drop_interval)


def _test_columns(run: Run, formats: Formats) -> list[Column]:
    """The metric on the test split, of the worst target; no column where nothing was scored there."""
    scored = any(run.worst_drop(point).quality.test is not None for point in shown_points(run))

    def cell(point: Point) -> str:
        quality = run.worst_drop(point).quality
        return "" if quality.test is None else formats.bare_quality(quality.test)

    return [Column(heading=f"test\n{formats.quality_unit}", cell=cell)] if scored else []


def _chance_columns(run: Run) -> list[Column]:
    """How likely a point keeps the limit of the drop; no column without a limit, or in older runs."""
    limit = run.targets[0].constraints.max_drop  # the same on all targets
    if all(run.chance(point) is None for point in shown_points(run)):
        return []

    def cell(point: Point) -> str:
        chance = run.chance(point)
        return "" if chance is None else chance_text(chance).removesuffix(" %")

    return [Column(heading=f"≤{limit}\n%", cell=cell)]


def _largest(run: Run, point: Point) -> int:
    return max(measured.artifact.size_bytes for measured in run.measured(point).values())


def _macs(point: PointOn) -> str:
    return ratio_text(point.artifact.macs / max(1, point.view.baseline.artifact.macs))[:-1]


def _notes(point: PointOn) -> str:
    notes, same = notes_of(point), same_text(point)
    if point.chance is not None and point.chance < SURE:
        notes = [meets_text(point), *notes]
    return ", ".join([*notes, *([f"≈{same.replace(', ', ' ≈')}"] if same else [])])
