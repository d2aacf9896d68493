"""An A/A control vouches for a while; a failing one is repeated and then refuses the candidate."""

import pytest
from autocompress.errors import FailureKind, StageError
from autocompress.targets.control import PATIENCE_S, Control, patiently
from autocompress.tests.profiles.records import measurement


class Time:
    """A clock that only moves by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def control() -> tuple[Control, Time]:
    time = Time()
    return Control(clock=lambda: time.now, sleep=time.sleep), time


def test_nothing_is_covered_before_the_first_control() -> None:
    assert not control()[0].covers("baseline")


def test_a_control_covers_ten_measurements_of_its_subject() -> None:
    checked, _ = control()
    checked.passed("baseline")
    assert [checked.covers("baseline") for _ in range(11)] == [True] * 10 + [False]
    assert not checked.covers("another baseline")


def test_a_control_covers_five_minutes() -> None:
    checked, time = control()
    checked.passed("baseline")
    time.now = 299
    assert checked.covers("baseline")
    time.now = 301
    assert not checked.covers("baseline")


def test_a_failing_control_is_repeated_after_a_pause() -> None:
    checked, time = control()
    tries = iter([measurement(1.05, 1.06), measurement(1.0, 1.01)])
    assert checked.run("baseline", lambda: next(tries)).ratio == pytest.approx(1.005)
    assert time.slept == [1.0] and checked.covers("baseline")


def test_three_failing_controls_refuse_the_candidate_and_say_what_was_seen() -> None:
    checked, _ = control()
    tries = iter([measurement(1.05, 1.05), measurement(0.97, 0.97), measurement(1.02, 1.02)])
    with pytest.raises(StageError, match=r"1\.050, 0\.970, 1\.020") as failure:
        checked.run("baseline", lambda: next(tries))
    assert (failure.value.kind, failure.value.retryable) == ("noisy", True)
    assert not checked.covers("baseline")


def restless() -> StageError:
    return StageError("It is restless.", stage="measure", kind="noisy")


def test_a_restless_machine_is_waited_for_and_that_is_said_once() -> None:
    answers, notes, time = [restless(), restless(), "measured"], list[str](), Time()

    def measure() -> object:
        answer = answers.pop(0)
        if isinstance(answer, StageError):
            raise answer
        return answer

    assert patiently(measure, notes.append, clock=lambda: time.now, sleep=time.sleep) == "measured"
    assert time.slept == [5.0, 5.0] and len(notes) == 1 and "waiting up to 2 min" in notes[0]


@pytest.mark.parametrize(("kind", "waits"), [("noisy", True), ("crash", False)])
def test_patience_ends_and_is_for_nothing_else(kind: FailureKind, waits: bool) -> None:
    time = Time()

    def measure() -> None:
        raise StageError("It is.", stage="measure", kind=kind)

    with pytest.raises(StageError, match="It is"):
        patiently(measure, lambda text: None, clock=lambda: sum(time.slept), sleep=time.sleep)
    assert sum(time.slept) == (PATIENCE_S if waits else 0.0)
