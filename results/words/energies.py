"""Energy in words: for the table, the report and what `measure` prints."""

from ...profiles import format_energy
from ..formats import ratio_text, relative_spread
from ..records.energy import Energy
from ..view import PointOn, RunOn

_UNITS = (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6), ("nJ", 1e-9))


def energy_of(point: PointOn) -> Energy | None:
    """What a sensor counted of the point; None where there was none."""
    return point.latency.energy


def energy_unit(view: RunOn) -> tuple[str, float] | None:
    """The unit that fits the original, and its joules; None where no sensor counted the original."""
    original = energy_of(view.baseline)
    if original is None:
        return None
    return next((unit for unit in _UNITS if original.energy_j >= unit[1]), _UNITS[-1])


def bare_energy(joules: float, scale: float) -> str:
    """The energy in its unit, without that: three significant digits."""
    value = joules / scale
    return f"{value:.{2 if value < 10 else 1}f}"


def energy_ratio(energy: Energy, *, original: bool) -> str:
    """`0.45× ±2.1 %`; the original's own, 1, has no spread."""
    spread = "" if original else relative_spread(energy.ratio_interval)
    return f"{ratio_text(energy.ratio)} {spread}".rstrip()


def energy_sentence(energy: Energy) -> str:
    """`5.21 mJ an inference, 0.452 × the baseline ± 2.1 % (rapl: package-0, dram-0; idle 3.2 W)`."""
    low, high = energy.ratio_interval
    spread = 100 * (high - low) / 2 / energy.ratio
    idle = "" if energy.idle_w is None else f"; idle {energy.idle_w:.3g} W"
    ratio = f"{energy.ratio:.3f} × the baseline ± {spread:.1f} %"
    return f"{format_energy(energy.energy_j)} an inference, {ratio} ({energy.sensor}{idle})"


def energy_note(view: RunOn) -> str:
    """Says what the energies of the run are of; empty where it has none."""
    original = energy_of(view.baseline)
    if original is None:
        return ""
    idle = (
        ""
        if original.idle_w is None
        else f", of which the idle machine uses {original.idle_w:.3g} W all the time"
    )
    return f"Energy on {view.target.name}: all that {original.sensor} counts{idle}."
