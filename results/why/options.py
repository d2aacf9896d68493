"""A limit as the command line writes it: `--max-drop 1pp`, and the least one that lets a point in."""

import math
from collections.abc import Callable

from ...profiles.units import parse_drop, parse_duration, parse_size
from ..formats import Formats
from ..view import PointOn, RunOn

_KILO = {"KB": 1024, "MB": 1024**2}
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


def option_of(name: str, run: RunOn) -> str:
    """The limit `name` (drop, latency, size) as the user may have given it: `--max-latency 0.3ms`."""
    limits, formats = run.limits, Formats.of(run)
    if name == "drop":
        return f"--max-drop {run.target.constraints.max_drop}"
    if name == "latency":
        return f"--max-latency {(limits.latency_s or 0.0) / formats.latency_scale:.6g}{formats.latency_unit}"
    return f"--max-size {(limits.size_bytes or 0) / formats.size_scale:.6g}{formats.size_unit}"


def admitting(name: str, point: PointOn) -> str:
    """The limit in its own unit, rounded up to three digits, that the point meets: `--max-drop 1.61pp`."""
    run = point.view
    formats = Formats.of(run)
    if name == "latency":
        unit = formats.latency_unit
        return f"--max-latency {_rounded_up(point.latency.seconds, unit, _SECONDS[unit], parse_duration)}"
    if name == "size":
        unit = formats.size_unit
        return f"--max-size {_rounded_up(point.size_bytes, unit, _KILO[unit], parse_size)}"
    baseline = run.baseline.quality.validation
    unit = str(run.target.constraints.max_drop).lstrip("0123456789.eE+-")
    worth = {"pp": 0.01, "%": abs(baseline) / 100, "abs": 1.0}[unit]
    return f"--max-drop {_rounded_up(point.drop, unit, worth, lambda text: parse_drop(text).limit(baseline))}"


def _rounded_up(value: float, unit: str, worth: float, parsed: Callable[[str], float]) -> str:
    """`value` as text in units of `worth`, such that what `parsed` makes of it is no less: rounding must not
    shut the point out.
    """
    amount = value / worth
    step = 10.0 ** (math.floor(math.log10(amount)) - 2)
    count = math.ceil(amount / step)
    while parsed(text := f"{count * step:.9g}{unit}") < value:
        count += 1
    return text
