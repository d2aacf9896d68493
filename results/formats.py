"""The words for a run's numbers: one unit per quantity in the whole run, every measured number with its
spread.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..profiles.units import format_duration
from .limits import Constraints, Limits, chance_text
from .records.latency import AnyLatency, Predicted
from .records.point import Point, Quality
from .records.reading import Interval
from .records.run import Run
from .view import PointOn, RunOn

MISSING = "–"
LAYER_TIMES_NOTE = (
    "time_s and time_original_s are seconds per inference under ONNX Runtime's profiler, which slows every "
    "kernel down: compare them with each other, not with a latency."
)
_LATENCY_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """How the numbers of one run are written; `Formats.of(run)` makes it.

    All latencies have the unit that fits the original model, and so have all sizes, so that a column can be
    compared at a glance. With several targets the original on the first one decides.
    """

    metric_name: str
    fraction: bool
    lower_is_better: bool
    latency_unit: str
    latency_scale: float
    size_unit: str
    size_scale: int

    @classmethod
    def of(cls, run: Run | RunOn) -> "Formats":
        """The formats that fit the run's metric and its original model."""
        whole = run.run if isinstance(run, RunOn) else run
        metric = whole.facts.task.metric
        original = whole.baseline.measured[whole.target_names[0]]
        seconds, large = original.latency.seconds, original.artifact.size_bytes >= 10 * 1024**2
        unit, scale = next((pair for pair in _LATENCY_UNITS if seconds >= pair[1]), _LATENCY_UNITS[-1])
        return cls(
            metric_name=metric.name,
            fraction=metric.unit == "fraction",
            lower_is_better=metric.direction == "lower",
            latency_unit=unit,
            latency_scale=scale,
            size_unit="MB" if large else "KB",
            size_scale=1024**2 if large else 1024,
        )

    @property
    def quality_unit(self) -> str:
        """`%` for a fraction, nothing otherwise."""
        return "%" if self.fraction else ""

    @property
    def quality_scale(self) -> float:
        """The value of one written unit of the metric: 0.01 for a fraction, else 1."""
        return 0.01 if self.fraction else 1.0

    def quality(self, value: float | None) -> str:
        """`91.73 %`, or four significant digits of a metric that is no fraction."""
        return f"{self.bare_quality(value)} {self.quality_unit}".rstrip() if value is not None else MISSING

    def bare_quality(self, value: float) -> str:
        """The same without its unit."""
        return f"{100 * value:.2f}" if self.fraction else f"{value:.4g}"

    def quality_spread(self, interval: Interval | None) -> str:
        """`±0.78` in the written unit of the metric, half of the interval; empty without one."""
        if interval is None:
            return ""
        half = (interval[1] - interval[0]) / 2 / self.quality_scale
        return f"±{half:.2f}" if self.fraction else f"±{half:.2g}"

    def drop(self, value: float, interval: Interval | None = None) -> str:
        """`0.42 pp`, or `0.42 ±0.28 pp`; negative where the point is better than the original model."""
        return f"{self.bare_drop(value, interval)} pp" if self.fraction else self.bare_drop(value, interval)

    def bare_drop(self, value: float, interval: Interval | None = None) -> str:
        """The same without its unit."""
        number = f"{100 * value:.2f}" if self.fraction else f"{value:.3g}"
        return f"{_minus(number)} {self.quality_spread(interval)}".rstrip()

    def test_spread(self, quality: Quality) -> str:
        """`drop 0.42 ±0.28 pp` on the test split; the metric's own `±0.78` where no drop was computed."""
        if quality.test_drop is None:
            return self.quality_spread(quality.test_interval)
        return f"drop {self.drop(quality.test_drop, quality.test_drop_interval)}"

    def latency(self, seconds: float) -> str:
        """The latency in the run's unit: `0.412 ms`."""
        return f"{self.bare_latency(seconds)} {self.latency_unit}"

    def bare_latency(self, seconds: float) -> str:
        """The same without its unit."""
        value = seconds / self.latency_scale
        return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"

    def size(self, size_bytes: float) -> str:
        """The size in the run's unit: `169.6 KB`; two decimals below one unit."""
        value = size_bytes / self.size_scale
        return f"{value:,.{1 if value >= 1 else 2}f} {self.size_unit}"

    def size_of(self, point: PointOn) -> str:
        """The size of the point's file. A size is exact, so it has no spread."""
        return self.size(point.size_bytes)

    def latency_of(self, point: PointOn) -> str:
        """The latency of the point and its ratio to the original's with the spread, `0.412 ms, 0.31× ±0.7 %`;
        `noisy` where the protocol gave up.

        The spread is the ratio's: seconds are those of the hour of the search, and drift with the machine.
        A predicted latency has none, `~0.412 ms, ~0.31×`; the original is told in seconds alone.
        """
        noisy = " noisy" if is_noisy(point.latency) else ""
        if point.trial == point.view.baseline.trial:
            return f"{self.seconds_of(point)}{noisy}"
        return f"{self.seconds_of(point)}, {ratio_of(point)}{noisy}"

    def seconds_of(self, point: PointOn) -> str:
        """The latency of the point without its spread, a predicted one with `~`."""
        return mark_of(point.latency) + self.latency(point.latency.seconds)

    def quality_of(self, point: PointOn) -> str:
        """The validation metric of the point and its drop: `91.42 %, drop 0.31 ±0.28 pp`.

        Where the drop has no interval, the metric with its own: `91.73 % ±0.78`.
        """
        value = self.quality(point.quality.validation)
        if point.drop_interval is not None:
            return f"{value}, drop {self.drop_of(point)}"
        return f"{value} {self.quality_spread(point.quality.interval)}".rstrip()

    def drop_of(self, point: PointOn) -> str:
        """The drop of the point with its spread: `0.31 ±0.28 pp`."""
        return self.drop(point.drop, point.drop_interval)


def mark_of(latency: AnyLatency) -> str:
    """`~` for a predicted latency, nothing for a measured one."""
    return "~" if isinstance(latency, Predicted) else ""


def speed_text(latency: AnyLatency) -> str:
    """`0.31×`, predicted `~0.31×`: the latency relative to the original's."""
    return mark_of(latency) + ratio_text(latency.ratio)


def ratio_interval_of(latency: AnyLatency) -> Interval | None:
    """The interval of a measured ratio; None for a prediction, which has none."""
    return None if isinstance(latency, Predicted) else latency.ratio_interval


def interval_of(latency: AnyLatency) -> Interval | None:
    """The interval of a measured latency in seconds, among the candidates of its run (the machine's drift is
    not in it); None for a prediction, which has none.
    """
    return None if isinstance(latency, Predicted) else latency.interval_s


def spread_of(latency: AnyLatency) -> str:
    """`±0.7 %` of a measured ratio; empty for a prediction."""
    interval = ratio_interval_of(latency)
    return "" if interval is None else relative_spread(interval)


def ratio_of(point: PointOn) -> str:
    """`0.31× ±0.7 %`: the latency relative to the original's; the original's own, 1, has no spread."""
    latency = point.latency
    spread = "" if point.trial == point.view.baseline.trial else spread_of(latency)
    return f"{speed_text(latency)} {spread}".rstrip()


def load_sentence(latency: AnyLatency) -> str:
    """`±6 %: other processes used 1.4 of 2 cores while it was measured`, of a noisy latency; empty of any
    other, or where the load is not known.
    """
    if isinstance(latency, Predicted) or not latency.noisy or latency.others_cores is None:
        return ""
    used = f"other processes used {latency.others_cores:.1f} of {latency.cores} cores"
    return f"±{100 * latency.half_width:.2g} %: {used} while it was measured"


def is_noisy(latency: AnyLatency) -> bool:
    """Whether the latency was measured, and its interval stayed wider than was asked for."""
    return not isinstance(latency, Predicted) and latency.noisy


def prediction_note(run: RunOn) -> str:
    """Says that the latencies of the run's target are predicted, from what, and what to do about it; empty if
    they are not.
    """
    predicted, name = run.target.prediction, run.target.name
    if predicted is None:
        return ""
    off = "unknown" if predicted.error is None else f"{100 * predicted.error:.1f} % (median)"
    return (
        f"~ Latencies on {name} are predicted, not measured, from the {predicted.source}; "
        f"their error is {off}. {predicted.quality}. "
        f"`autocompress verify RUN --target {name}@user@host` measures them."
    )


def meets_text(point: PointOn, constraints: Constraints | None = None) -> str:
    """`meets 1pp with 97 %`: how likely the point keeps the limit of the drop, by default the run's; empty
    without one.
    """
    target = point.view.target
    limit = (constraints or target.constraints).max_drop
    if limit is None:
        return ""
    resolved = Limits(drop=limit.limit(point.view.baseline.quality.validation))
    chance = point.view.run.chance(point.point, {target.name: resolved})
    return "" if chance is None else f"meets {limit} with {chance_text(chance)}"


def ratio_text(value: float) -> str:
    """`0.31×`, or three decimals below 0.1."""
    return f"{value:.{2 if value >= 0.1 else 3}f}×"


def relative_spread(interval: Sequence[float]) -> str:
    """`±0.7 %`: half of the interval, relative to its middle."""
    low, high = interval
    return f"±{100 * (high - low) / (high + low):.1f} %" if high + low > 0 else ""


def count_text(value: float) -> str:
    """`40.6 M`, `269 k`, `87`: three significant digits of a count."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.{0 if value >= 100 * scale else 1}f} {unit}"
    return f"{value:.0f}"


def label_of(point: Point | PointOn, run: Run | RunOn) -> str:
    """`original`, `uniform int8`, `trial 12` or `trial 12, fine-tuned 30 min`."""
    if point.finetuned:
        return (
            f"{_trial_label(point.finetuned.of, run)}, fine-tuned {format_duration(point.finetuned.seconds)}"
        )
    return _trial_label(point.trial, run)


def _trial_label(trial: int, run: Run | RunOn) -> str:
    if trial == run.baseline.trial:
        return "original"
    uniform = run.uniform_int8
    return "uniform int8" if uniform and trial == uniform.trial else f"trial {trial}"


def short_label(point: Point | PointOn) -> str:
    """`12`, or `12 tuned` for a trial that was fine-tuned."""
    return f"{point.finetuned.of} tuned" if point.finetuned else str(point.trial)


def same_text(point: PointOn, *, limit: int = 4) -> str:
    """The trials on the front that cannot be told apart from the point: `5, 17 and 3 more`; empty without
    any.
    """
    front = {other.trial: short_label(other) for other in point.view.front}
    return _listed([front[trial] for trial in point.indistinguishable_from if trial in front], limit)


def grouped_warnings(point: PointOn) -> list[str]:
    """The point's warnings. Those that differ only in the layer (after the colon) become
    one: `asked int8, ran …:
    a, b`.

    Beyond six layers the rest is counted.
    """
    groups: dict[str, list[str]] = {}
    for warning in point.warnings:
        what, _, layer = warning.partition(": ")
        groups.setdefault(what, []).append(layer)
    return [f"{what}: {_listed(layers, 6)}" if all(layers) else what for what, layers in groups.items()]


def mean_bits(point: PointOn) -> float:
    """The bits in which a weight of the point's file is stored on average, 32 for a float32 model."""
    parameters = sum(layer.parameters for layer in point.layers)
    bits = sum(layer.bits * layer.parameters for layer in point.layers)
    return bits / parameters if parameters else 0.0


def bits_text(point: PointOn) -> str:
    """`32`, `8` or `4.6`: `mean_bits` for a person."""
    return f"{mean_bits(point):.1f}".removesuffix(".0")


def notes_of(point: PointOn) -> list[str]:
    """The point's warnings in a few words for a table: `noisy`, `not faster`, `2 layers not as asked`."""
    notes = ["noisy"] if is_noisy(point.latency) else []
    if is_not_faster(point):
        notes.append("smaller, not faster")
    if differing := sum(row.differs for row in point.layers):
        notes.append(f"{differing} layer{'s' if differing > 1 else ''} not as asked")
    return notes


def is_not_faster(point: PointOn) -> bool:
    """Whether a warning says that the point is smaller, but not faster."""
    return any(warning.startswith("smaller, but not") for warning in point.warnings)


def recipe_lines(point: PointOn, *, limit: int = 6) -> list[str]:
    """The recipe in lines of one subject each; beyond `limit` pruned groups or float32 layers the rest is
    counted.
    """
    recipe = point.recipe
    widths = {group.name: group.channels for group in point.view.run.facts.groups}
    order = sorted(recipe.keep, key=lambda name: (recipe.keep[name] / widths.get(name, 1), name))
    counts = [f"{name} {recipe.keep[name]}/{widths.get(name, '?')}" for name in order]
    lines = [f"channels: {_listed(counts, limit) or 'all kept'}", _precision_line(point, limit)]
    if recipe.skip:
        lines.append(f"blocks removed: {_listed(recipe.skip, limit)}")
    if recipe.rank:
        lines.append(f"rank: {_listed([f'{name} {rank}' for name, rank in recipe.rank.items()], limit)}")
    if recipe.resolution:
        lines.append(f"images: resized to {recipe.resolution[0]} × {recipe.resolution[1]}")
    if recipe.fused:
        lines.append("fused: what the runtime has one kernel for is one node")
    if recipe.used_rows:
        lines.append("tables: without unused rows")
    lines.append(_training_line(point))
    return lines


def _training_line(point: PointOn) -> str:
    recovery, tuned = point.recipe.recovery, point.finetuned
    if tuned:
        return f"fine-tuned: trial {tuned.of} for {format_duration(tuned.seconds)}"
    if recovery is None:
        return "not distilled"
    return (
        f"distilled: {recovery.steps} steps, learning rate {recovery.learning_rate:.2g}, "
        f"temperature {recovery.temperature:.2g}, weight {recovery.weight:.2g}"
    )


def _precision_line(point: PointOn, limit: int) -> str:
    """`int8: 5, int4: 15 of 20 layers`, and the names of the layers that are float32 beside them."""
    asked = point.recipe.precision
    present = [layer.name for layer in point.layers if layer.channels_out]
    counts = Counter(asked[name] for name in present if name in asked)
    floats = [name for name in present if name not in asked]
    if not counts:
        return f"float32: all {len(present)} layers"
    line = ", ".join(f"{name}: {count}" for name, count in counts.most_common())
    line += f" of {len(present)} layers"
    return line + (f"; float32: {_listed(floats, limit)}" if floats else "")


def _listed(words: Sequence[str], limit: int) -> str:
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _minus(text: str) -> str:
    """With a true minus sign, and no sign on zero."""
    zero = not text.strip("-0.")
    return text.lstrip("-") if zero else text.replace("-", "−")
