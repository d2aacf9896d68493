"""The words for a run's numbers: one unit per quantity in the whole run, every measured number with its
spread.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RunDirectoryError
from ..profiles.units import format_duration, format_size

FRONT_SCHEMA_VERSION = 2  # of front.json
Run = Mapping[str, Any]
Point = Mapping[str, Any]
MISSING = "–"
LAYER_TIMES_NOTE = (
    "time_s and time_original_s are seconds per inference under ONNX Runtime's profiler, which slows every kernel down: "
    "compare them with each other, not with a latency."
)
_LATENCY_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def require_readable(run: Run) -> None:
    """Raises RunDirectoryError for a front.json of another version of autocompress."""
    if (version := run.get("schema_version")) != FRONT_SCHEMA_VERSION:
        raise RunDirectoryError(
            f"The run has schema version {version}, but this autocompress reads {FRONT_SCHEMA_VERSION}: "
            "use the version that wrote it, or search again."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """How the numbers of one run are written; `Formats.of(run)` makes it.

    Latencies share the unit that fits the original model, and so do sizes: a column of them compares at a
    glance.
    """

    metric_name: str
    fraction: bool
    lower_is_better: bool
    latency_unit: str
    latency_scale: float
    size_unit: str
    size_scale: int

    @classmethod
    def of(cls, run: Run) -> "Formats":
        """The formats that fit the run's metric and its original model."""
        metric = run["task"]["metric"]
        latency_s = seconds_of(run["baseline"])
        large = run["baseline"]["artifact"]["size_bytes"] >= 10 * 1024**2
        unit, scale = next((pair for pair in _LATENCY_UNITS if latency_s >= pair[1]), _LATENCY_UNITS[-1])
        return cls(
            metric_name=metric["name"],
            fraction=metric["unit"] == "fraction",
            lower_is_better=metric["direction"] == "lower",
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
        """What one written unit of the metric is worth: 0.01 for a fraction, else 1."""
        return 0.01 if self.fraction else 1.0

    def quality(self, value: float | None) -> str:
        """`91.73 %`, or four significant digits of a metric that is no fraction."""
        return f"{self.bare_quality(value)} {self.quality_unit}".rstrip() if value is not None else MISSING

    def bare_quality(self, value: float) -> str:
        """The same without its unit."""
        return f"{100 * value:.2f}" if self.fraction else f"{value:.4g}"

    def quality_spread(self, interval: Sequence[float] | None) -> str:
        """`±0.78` in the written unit of the metric, half of the interval; empty without one."""
        if interval is None:
            return ""
        half = (interval[1] - interval[0]) / 2 / self.quality_scale
        return f"±{half:.2f}" if self.fraction else f"±{half:.2g}"

    def drop(self, value: float) -> str:
        """`0.42 pp`; negative where the point is better than the original model."""
        if self.fraction:
            return f"{_minus(f'{100 * value:.2f}')} pp"
        return _minus(f"{value:.3g}")

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

    def size_of(self, point: Point) -> str:
        """The size of the point's file. A size is exact, so it has no spread."""
        return self.size(point["artifact"]["size_bytes"])

    def latency_of(self, point: Point) -> str:
        """The latency of the point with its spread: `0.412 ms ±0.7 %`, and `noisy` where the protocol gave
        up.

        A predicted one has no spread: `~0.412 ms`.
        """
        latency = point["latency"]
        if is_predicted(point):
            return self.seconds_of(point)
        noisy = " noisy" if latency["noisy"] else ""
        return f"{self.latency(latency['latency_s'])} {relative_spread(latency['interval_s'])}{noisy}"

    def seconds_of(self, point: Point, *, unit: bool = True) -> str:
        """The latency of the point without its spread, a predicted one with `~`."""
        seconds = seconds_of(point)
        return mark_of(point) + (self.latency(seconds) if unit else self.bare_latency(seconds))

    def quality_of(self, point: Point) -> str:
        """The validation metric of the point with its spread: `91.73 % ±0.78`."""
        quality = point["quality"]
        return f"{self.quality(quality['validation'])} {self.quality_spread(quality['interval'])}".rstrip()


def is_predicted(point: Point) -> bool:
    """Whether the point's latency is predicted, not measured."""
    return point["latency"] is not None and "predicted_s" in point["latency"]


def mark_of(point: Point) -> str:
    """`~` for a predicted latency, nothing for a measured one."""
    return "~" if is_predicted(point) else ""


def seconds_of(point: Point) -> float:
    """Seconds of the point's latency, measured or predicted: to compare with. What is printed needs
    `mark_of`.
    """
    return float(point["latency"]["predicted_s" if is_predicted(point) else "latency_s"])


def ratio_of(point: Point) -> float:
    """The point's latency relative to the original's, measured or predicted: to compare with. What is printed
    needs `mark_of`.
    """
    return float(point["latency"]["predicted_ratio" if is_predicted(point) else "ratio"])


def speed_text(point: Point) -> str:
    """`0.31×`, predicted `~0.31×`: the point's latency relative to the original's."""
    return mark_of(point) + ratio_text(ratio_of(point))


def ratio_interval_of(point: Point) -> Sequence[float] | None:
    """The interval of the measured ratio; None for a prediction, which has none."""
    return None if is_predicted(point) else point["latency"]["ratio_interval"]


def interval_of(point: Point) -> Sequence[float] | None:
    """The interval of the measured latency in seconds; None for a prediction, which has none."""
    return None if is_predicted(point) else point["latency"]["interval_s"]


def spread_of(point: Point) -> str:
    """`±0.7 %` of a measured latency; empty for a prediction."""
    interval = interval_of(point)
    return "" if interval is None else relative_spread(interval)


def is_noisy(point: Point) -> bool:
    """Whether the point's latency was measured, and its interval stayed wider than was asked for."""
    return not is_predicted(point) and bool(point["latency"]["noisy"])


def prediction_note(run: Run) -> str:
    """Says that the latencies of the run's target are predicted, from what, and what to do about it; empty if
    they are not.
    """
    predicted = run["target"].get("predicted")
    if predicted is None:
        return ""
    off = "unknown" if predicted["error"] is None else f"{100 * predicted['error']:.1f} % (median)"
    return (
        f"~ Latencies on {run['target']['name']} are predicted, not measured, from the {predicted['source']}; "
        f"their error is {off}. "
        f"{predicted['quality']}. `autocompress verify RUN --target {run['target']['name']}@user@host` measures them."
    )


def size_of(point: Point) -> str:
    """The size of the point's file in the unit that fits it alone, for a sentence outside a table: `169.6
    KB`.
    """
    return format_size(point["artifact"]["size_bytes"])


def size_ratio(point: Point, run: Run) -> float:
    """The size of the point's file relative to the original model's."""
    return float(point["artifact"]["size_bytes"] / run["baseline"]["artifact"]["size_bytes"])


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


def label_of(point: Point, run: Run) -> str:
    """`original`, `uniform int8`, `trial 12` or `trial 12, fine-tuned 30 min`."""
    if tuned := point.get("finetuned"):
        return f"{label_of({'trial': tuned['of']}, run)}, fine-tuned {format_duration(tuned['seconds'])}"
    if point["trial"] == run["baseline"]["trial"]:
        return "original"
    uniform = run["uniform_int8"]
    return "uniform int8" if uniform and point["trial"] == uniform["trial"] else f"trial {point['trial']}"


def same_text(point: Point, run: Run, *, limit: int = 4) -> str:
    """The trials on the front that cannot be told apart from the point: `5, 17 and 3 more`; empty without
    any.
    """
    front = {other["trial"]: short_label(other) for other in run["front"]}
    return _listed([front[trial] for trial in point["indistinguishable_from"] if trial in front], limit)


def short_label(point: Point) -> str:
    """`12`, or `12 tuned` for a trial that was fine-tuned."""
    tuned = point.get("finetuned")
    return f"{tuned['of']} tuned" if tuned else str(point["trial"])


def grouped_warnings(point: Point) -> list[str]:
    """The point's warnings, those that differ only in the layer (after the colon) as one: `asked int8, ran …:
    a, b`.

    Beyond six layers the rest is counted.
    """
    groups: dict[str, list[str]] = {}
    for warning in point["warnings"]:
        what, _, layer = warning.partition(": ")
        groups.setdefault(what, []).append(layer)
    return [f"{what}: {_listed(layers, 6)}" if all(layers) else what for what, layers in groups.items()]


def mean_bits(point: Point) -> float:
    """The bits in which a weight of the point's file is stored on average, 32 for a float32 model."""
    parameters: int = sum(layer["parameters"] for layer in point["layers"])
    bits: int = sum(layer["bits"] * layer["parameters"] for layer in point["layers"])
    return bits / parameters


def bits_text(point: Point) -> str:
    """`32`, `8` or `4.6`: `mean_bits` for a person."""
    return f"{mean_bits(point):.1f}".removesuffix(".0")


def notes_of(point: Point) -> list[str]:
    """The point's warnings in a few words for a table: `noisy`, `not faster`, `2 layers not as asked`."""
    warnings = point["warnings"]
    notes = ["noisy"] if is_noisy(point) else []
    notes += (
        ["smaller, not faster"] if any(warning.startswith("smaller, but not") for warning in warnings) else []
    )
    differing = sum(warning.startswith("asked ") for warning in warnings)
    return notes + ([f"{differing} layer{'s' if differing > 1 else ''} not as asked"] if differing else [])


def recipe_lines(point: Point, run: Run, *, limit: int = 6) -> list[str]:
    """The recipe in lines of one subject each; beyond `limit` pruned groups or float32 layers the rest is
    counted.
    """
    recipe = point["recipe"]
    widths = {group["name"]: group["channels"] for group in run["groups"]}
    order = sorted(recipe["keep"], key=lambda name: (recipe["keep"][name] / widths.get(name, 1), name))
    kept = [f"{name} {recipe['keep'][name]}/{widths.get(name, '?')}" for name in order]
    lines = [f"channels: {_listed(kept, limit) or 'all kept'}", _precision_line(point, limit)]
    if blocks := recipe.get("skip"):
        lines.append(f"blocks removed: {_listed(blocks, limit)}")
    if ranks := recipe.get("rank"):
        lines.append(f"rank: {_listed([f'{name} {rank}' for name, rank in ranks.items()], limit)}")
    if recovery := recipe["recovery"]:
        lines.append(
            f"distilled: {recovery['steps']} steps, learning rate {recovery['learning_rate']:.2g}, "
            f"temperature {recovery['temperature']:.2g}, weight {recovery['weight']:.2g}"
        )
    else:
        lines.append("not distilled")
    if tuned := point.get("finetuned"):
        lines[-1] = f"fine-tuned: trial {tuned['of']} for {format_duration(tuned['seconds'])}"
    return lines


def _precision_line(point: Point, limit: int) -> str:
    """`int8: 5, int4: 15 of 20 layers`, and the names of the layers that are float32 beside them."""
    asked = point["recipe"]["precision"]
    left = [layer["name"] for layer in point["layers"] if layer["channels_out"]]
    counts = Counter(asked[name] for name in left if name in asked)
    floats = [name for name in left if name not in asked]
    if not counts:
        return f"float32: all {len(left)} layers"
    line = ", ".join(f"{name}: {count}" for name, count in counts.most_common()) + f" of {len(left)} layers"
    return line + (f"; float32: {_listed(floats, limit)}" if floats else "")


def _listed(words: Sequence[str], limit: int) -> str:
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _minus(text: str) -> str:
    """With a true minus sign, and no sign on zero."""
    zero = not text.strip("-0.")
    return text.lstrip("-") if zero else text.replace("-", "−")
