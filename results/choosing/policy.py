"""Policy: in a user's words, which point of a run is to be deployed: `smallest within 1pp and 2ms`."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import InputError
from ...profiles.units import parse_drop, parse_duration, parse_energy, parse_size, quantity_kind
from ...text.printable import printable
from ..limits import Constraints, Limits
from ..records.run import Run
from .choose import Aim, Choice, choose
from .recommended import NAMES

LONGEST_NAME = 60
_AIMS: Mapping[str, Aim] = {name: aim for aim, name in NAMES.items()}
_WRITTEN = 'like "fastest within 1pp", "smallest within 0.5pp and 2ms" or "most accurate within 200KB"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An aim and limits that hold on every target of a run. `Policy.parse` makes it.

    `text` says the same in words, and `parse` reads it again. `name` is what the user calls it; without a
    name of its own it is called by its text.
    """

    name: str
    text: str
    aim: Aim
    constraints: Constraints

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > LONGEST_NAME or self.name != printable(self.name).strip():
            raise ValueError(f"The name of a policy has 1 to {LONGEST_NAME} printable characters.")

    @classmethod
    def parse(cls, text: str, *, name: str | None = None) -> "Policy":
        """The policy of `AIM within LIMIT [and LIMIT…]`, with `NAME: ` before it where it has a name of its
        own.

        The aims are `fastest`, `smallest`, `most accurate` and `balanced`. A limit is a drop (`1pp`, `1%`,
        `0.1abs`), a latency (`2ms`) or a size (`200KB`), each at most once. InputError for anything else, and
        for the fastest or the smallest without a limit on the drop: that may be a model which knows nothing.
        """
        before, colon, after = text.partition(":")
        called, words = (before.strip(), after) if colon else (name, text)
        aim_text, within, limits = " ".join(words.split()).partition(" within ")
        aim = _AIMS.get(aim_text.lower())
        if aim is None or (within and not limits):
            raise InputError(f"The policy {text!r} is none: write it {_WRITTEN}.")
        parts = [part.strip() for part in limits.replace(",", " and ").split(" and ")] if within else []
        constraints = _constraints(parts, text)
        if aim in ("latency", "size") and constraints.max_drop is None:
            raise InputError(
                f"The policy {text!r} has no limit on the drop, so that a model which lost all of "
                f'its quality would do: write "{aim_text} within {" and ".join(["1pp", *parts])}".'
            )
        plain = aim_text.lower() + (f" within {' and '.join(parts)}" if parts else "")
        try:
            return cls(name=plain if called is None else called, text=plain, aim=aim, constraints=constraints)
        except ValueError as error:
            raise InputError(f"The policy {text!r} cannot be called so: {error}") from error

    def __str__(self) -> str:
        """The policy as `parse` reads it."""
        return self.text if self.name == self.text else f"{self.name}: {self.text}"

    def limits(self, run: Run) -> dict[str, Limits]:
        """By target of the run, the limits in the metric's unit, seconds and bytes. InputError for percentage
        points of a metric that is no fraction, and for a percentage of 0.
        """
        drop, metric = self.constraints.max_drop, run.facts.task.metric
        if drop is not None and drop.kind == "pp" and metric.unit != "fraction":
            raise InputError(
                f"The policy {self.name!r} counts percentage points, but the metric {metric.name!r} is no "
                f"fraction: write {drop.value:.12g}% (of the original's value) or 0.1abs (its own unit)."
            )
        original = run.baseline.measured
        return {name: self.constraints.limits(original[name].quality.validation) for name in run.target_names}

    def choose(self, run: Run) -> Choice | None:
        """The point that it takes by the rule of `choose`: nothing that may be slower than the original, and
        the original where nothing else is left. None where even that does not meet the limits.
        """
        return choose(run, self.limits(run), self.aim)


def default_policies(run: Run) -> tuple[Policy, ...]:
    """The fastest within 1 pp and the smallest within 0.5 pp; of a metric that is no fraction 1 % and 0.5 %
    of the original's value, and where that is 0, shares of the run's own scale.
    """
    return Policy.parse(f"fastest within {_drop(run, 1.0)}"), Policy.parse(
        f"smallest within {_drop(run, 0.5)}"
    )


def _drop(run: Run, points: float) -> str:
    if run.facts.task.metric.unit == "fraction":
        return f"{points:g}pp"
    values = [measured.quality.validation for measured in run.measured(run.baseline).values()]
    return f"{points:g}%" if all(values) else f"{points * run.drop_scale / 5:g}abs"


def _constraints(parts: list[str], text: str) -> Constraints:
    """The limits of the policy `text`."""
    kinds = [quantity_kind(part) for part in parts]
    if twice := next((kind for kind in kinds if kind and kinds.count(kind) > 1), None):
        raise InputError(f"The policy {text!r} has two limits of the {twice}: give one.")
    if None in kinds:
        wrong = parts[kinds.index(None)]
        raise InputError(
            f"The policy {text!r} has the limit {wrong!r}, which is no number with a unit "
            f"of a drop (1pp, 1%, 0.1abs), a latency (2ms), a size (200KB) or an energy (5mJ): "
            f"write it {_WRITTEN}."
        )
    given = dict(zip(kinds, parts, strict=True))
    return Constraints(
        max_drop=parse_drop(given["drop"]) if "drop" in given else None,
        max_latency_s=parse_duration(given["duration"]) if "duration" in given else None,
        max_size_bytes=parse_size(given["size"]) if "size" in given else None,
        max_energy_j=parse_energy(given["energy"]) if "energy" in given else None,
    )
