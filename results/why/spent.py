"""Where a search's time went, by activity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...profiles.units import format_duration
from ..activity import BESIDE
from ..view import RunOn

ACTIVITIES = (
    *("database and reconstruction", "sensitivity", "latency table", "rung r0", "build"),
    *("recovery", "validation", "timing loops", "finalists", "rest"),
)
PRODUCTIVE = ("recovery", "validation", "timing loops")
ALSO = ("rung r0", "sensitivity", "finalists")  # which validate and time as well
# What the stages of an evaluation and other writers call them.
_ALIASES = {
    **dict.fromkeys(
        ("database", "prune", "reconstruct", "reconstruction", "database & reconstruct"), ACTIVITIES[0]
    ),
    **dict.fromkeys(("calibrate", "check", "inspect", "stitch"), "build"),
    **dict.fromkeys(("recover",), "recovery"),
    **dict.fromkeys(("validate",), "validation"),
    **dict.fromkeys(("timing loop", "timing"), "timing loops"),
    **dict.fromkeys(("r0",), "rung r0"),
    **dict.fromkeys(
        ("measure", "other"), "rest"
    ),  # of a measurement: starting its sessions and warming them up
}


def time_spent(points: Iterable[Mapping[str, float]], extra: Mapping[str, float]) -> dict[str, float]:
    """Seconds by activity, in the order of ACTIVITIES, from the evaluations' seconds by stage and what was
    spent beside them.

    Activities without time are left out; names that are not known stay as they are, before the rest.
    """
    sums: dict[str, float] = {}
    for seconds in [*points, extra]:
        for stage, value in seconds.items():
            name = "timing loops" if stage.startswith("on ") else _ALIASES.get(stage, stage)
            sums[name] = sums.get(name, 0.0) + value
    others = [name for name in sums if name not in ACTIVITIES]
    order = [*ACTIVITIES[:-1], *others, ACTIVITIES[-1]]
    return {name: sums[name] for name in order if sums.get(name, 0.0) > 0}


def time_words(spent: Mapping[str, float], *, count: int = 3) -> str:
    """The `count` activities with the most time, for one line of a progress display: `recovery 52 %,
    validation 16 %`.

    Recovery in a second process comes last, as a time; the others are shares of the run's time.
    """
    here = {name: seconds for name, seconds in spent.items() if name != BESIDE}
    total = sum(here.values())
    largest = sorted(here, key=lambda name: -here[name])[:count]
    words = [f"{name} {100 * here[name] / total:.0f} %" for name in largest if total > 0]
    beside = [f"{BESIDE} {format_duration(spent[BESIDE])}"] if spent.get(BESIDE) else []
    return ", ".join([*words, *beside])


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpent:
    """Seconds by activity, the share of recovery, validation and timing loops, and a sentence.

    `wider_share` has r0, sensitivity and finalists as well. `beside_s` is what a second process trained
    meanwhile: it is in no sum.
    """

    seconds: dict[str, float]
    total_s: float
    share: float
    wider_share: float
    beside_s: float
    text: str


def time_of(run: RunOn) -> TimeSpent | None:
    """Where the run's time went: as the search counted it, or else by the points' stages. What is missing to
    the run's time is the rest (trials that failed are in it). None when nothing was timed.
    """
    counted, points = run.run.search.time, run.run.points
    trials = [point.seconds for point in points if point.trial >= 0 and point.seconds]
    spent = time_spent([], counted) if counted else time_spent(trials, {})
    if not spent:
        return None
    beside = spent.pop(BESIDE, 0.0)
    rest = run.run.elapsed_s - sum(spent.values())
    if rest > 0:
        spent = time_spent([spent], {"rest": rest})
    total = sum(spent.values())
    share = sum(spent.get(name, 0.0) for name in PRODUCTIVE) / total
    wider = sum(spent.get(name, 0.0) for name in (*PRODUCTIVE, *ALSO)) / total
    return TimeSpent(
        seconds=spent,
        total_s=total,
        share=share,
        wider_share=wider,
        beside_s=beside,
        text=_sentence(total, share, wider, beside),
    )


def _sentence(total: float, share: float, wider: float, beside: float) -> str:
    text = f"{100 * share:.0f} % of {format_duration(total)} went into recovery, validation and timing loops"
    if wider > share:
        text += f", {100 * wider:.0f} % with r0, sensitivity and finalists, which validate and time as well"
    if beside:
        text += f"; {format_duration(beside)} of building and training went on beside the search"
    return f"{text}."
