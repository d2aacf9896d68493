"""Whether two boards are of one kind: the same environment, and the same model takes equally long on both."""

from contextlib import ExitStack
from pathlib import Path

from ...errors import InputError, StageError
from ...profiles.environment import Environment
from ..target import Target
from ..turns import TIMING, Turn, middle_and_interval, ratios_in_turns

TOLERANCE = 0.05  # of the ratio of two boards' latencies; hours of one board differ by as much
_HALF_WIDTH = 0.02  # of the ratio's interval, that is narrow enough
_ROUNDS_MIN = 3
REMEDY = (
    "bring them to the same state (power mode, clocks, cooling, system, runtime), or make them two targets, "
    "{separate}"
)


def require_same_environment(first: Target, other: Target) -> None:
    """InputError names the fields in which two boards that answered differ."""
    mine, theirs = first.probe(), other.probe()
    if mine.fingerprint != theirs.fingerprint:
        raise InputError(differences(first, other, mine, theirs))


def differences(first: Target, other: Target, mine: Environment, theirs: Environment) -> str:
    """In which fields two boards differ, and what to do."""
    fields = mine.differences(theirs).items()
    where = place(first), place(other)
    told = [f"{name} is {a!r} on {where[0]} and {b!r} on {where[1]}" for name, (a, b) in fields]
    return f"{_boards_of(first)} are not of one kind: {'; '.join(told)}: {remedy(first, other)}."


def require_same_speed(first: Target, other: Target, model: Path, *, batch: int) -> float:
    """How many times as long a model takes on the other board, within TOLERANCE of 1; both are locked
    meanwhile.

    InputError if it surely takes another time; StageError of the kind noisy (retryable) if that is not known.
    """
    pair = (first, other)
    turns = [Turn(model=model, workload=one.workload, open_worker=one.open_worker) for one in pair]
    with ExitStack() as locks:
        for one in sorted(pair, key=place):  # in the same order as every other search
            locks.enter_context(one.measuring())
        _, ratios = ratios_in_turns(
            turns,
            timing=TIMING.with_batch(batch),
            half_width=_HALF_WIDTH,
            estimate=middle_and_interval,
            rounds_min=_ROUNDS_MIN,
        )
    ratio, (low, high) = middle_and_interval(ratios)
    told = f"the original takes {ratio:.3f} times as long on {place(other)} as on {place(first)}"
    if low > 1 + TOLERANCE or high < 1 - TOLERANCE:
        raise InputError(
            f"{_boards_of(first)} are not of one kind: {told} (1 ± {TOLERANCE} is needed): "
            f"{remedy(first, other)}."
        )
    if abs(ratio - 1) > TOLERANCE:
        raise StageError(
            f"{_boards_of(first)} are too restless to compare: {told}, between {low:.3f} and {high:.3f} "
            f"(1 ± {TOLERANCE} is needed). End other work on them, and try again.",
            stage="measure",
            kind="noisy",
            retryable=True,
        )
    return ratio


def place(target: Target) -> str:
    """Where a board is, as the user wrote it."""
    assert target.board is not None
    return target.board.address.place


def _boards_of(target: Target) -> str:
    return f"The boards of '{target.profile.name}'"


def remedy(first: Target, other: Target) -> str:
    """What to do with two boards that differ."""
    assert first.board is not None and other.board is not None
    return REMEDY.format(separate=f"{first.board.address},{other.board.address}")
