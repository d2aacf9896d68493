"""What a person sees while a search runs, and how Ctrl-C reaches it."""

import io
import os
import signal
from dataclasses import replace

import pytest
from autocompress.cli.console.log import make_progress
from autocompress.compress.recipe import Recipe
from autocompress.explore.session.interrupt import Interrupts
from autocompress.explore.session.live import LiveProgress, _thinned
from autocompress.explore.session.progress import FrontRow, PlainProgress, Status
from autocompress.explore.session.status import outcome_line, status_of
from autocompress.explore.session.waits import WaitsShown
from autocompress.results.limits import Constraints
from autocompress.results.records.point import Failure, Missing, Outcome
from autocompress.results.records.run import Run
from autocompress.tests.results.records import measured, point, run_facts
from rich.console import Console

FAST = point(1, drop=0.01, ratio=0.5, size=30_000)
RUN = Run(facts=run_facts(), points=(point(0), FAST))
STATUS = Status(
    finished=3,
    failed=1,
    screened=0,
    hypervolume=0.2,
    elapsed_s=10.0,
    share=0.5,
    left_s=90.0,
    front=[FrontRow(trial=1, quality="91.00 %", drop="0.50 pp", latency="0.500", size="0.250")],
)


def test_plain_progress_prints_a_line_for_each_trial():
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.stage("building")
    progress.finished("trial 1: fine", STATUS)
    assert (
        stream.getvalue()
        == "trial 1: fine  [3 measured, 1 failed, 1 on the front, hypervolume 0.200, 1 min 30 s left]\n"
    )


def test_live_progress_shows_stage_time_left_and_front():
    progress = LiveProgress()
    progress.stage("trial 4: recover 10/250")
    with progress:
        progress.finished("trial 1: fine", STATUS)
    stream = io.StringIO()
    Console(width=100, file=stream).print(progress._render())
    shown = stream.getvalue()
    assert all(
        text in shown for text in ("trial 4: recover 10/250", "1 min 30 s left", "91.00 %", "0.500", "0.250")
    )


def drawn(progress: LiveProgress) -> str:
    """What a terminal without colour shows."""
    stream = io.StringIO()
    Console(width=100, file=stream).print(progress._render())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("passed_s", "done", "share", "left"),
    [
        (0.0, 30, " 50 %", "1 min 30 s left"),
        (45.2, 45, " 75 %", "45 s left"),
        (200.0, 60, "100 %", "finishing"),
    ],
)
def test_the_bar_and_the_time_left_move_between_trials(passed_s, done, share, left):
    progress = LiveProgress()
    progress.began(STATUS, lambda: STATUS.elapsed_s + passed_s)
    shown = drawn(progress)
    assert f"{'█' * done}{'░' * (60 - done)} {share}" in shown and f"0.200, {left}" in shown


def test_a_search_shows_its_time_left_before_the_first_trial_ends():
    progress = LiveProgress()
    nothing = status_of(None, elapsed_s=0.0, budget_s=60.0, trials=None, time={})
    progress.began(nothing, lambda: 15.0)
    assert "█" * 15 + "░" * 45 + "  25 %" in drawn(progress) and "45 s left" in drawn(progress)
    assert "front so far" not in drawn(progress)


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_honoured(no_color, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1" if no_color else "")
    progress, stream = LiveProgress(), io.StringIO()
    progress.began(STATUS, lambda: STATUS.elapsed_s)
    Console(width=100, file=stream, force_terminal=True).print(progress._render())
    assert ("\x1b[32m█" in stream.getvalue()) != no_color and "\x1b[2m░" in stream.getvalue()


ATTACK = "acc[/x] \x1b]0;owned\x07:smile:\u202e"
SHOWN = "acc[/x] \\x1b]0;owned\\x07:smile:\\u202e"


def test_plain_progress_shows_a_name_as_text():
    stream = io.StringIO()
    PlainProgress(stream).note(f"{ATTACK}\nError: none")
    PlainProgress(stream).finished(ATTACK, replace(STATUS, queued={ATTACK: 2}))
    note, line = stream.getvalue().splitlines()
    assert note == rf"{SHOWN}\nError: none" and line.startswith(SHOWN) and f"2 queued for {SHOWN}" in line


def test_live_progress_shows_a_name_as_text(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    row = replace(STATUS.front[0], quality=ATTACK)
    with LiveProgress() as progress:
        progress.stage(ATTACK)
        progress.note(f"noted {ATTACK}")
        progress.finished("trial 1: fine", replace(STATUS, queued={ATTACK: 2}, front=[row]))
        stream = io.StringIO()
        Console(width=200, file=stream).print(progress._render())
    assert stream.getvalue().count(SHOWN) == 3
    assert f"noted {SHOWN}" in capsys.readouterr().err


def test_progress_is_plain_where_stderr_is_no_terminal():
    assert isinstance(make_progress(), PlainProgress)


def test_a_long_front_is_thinned_evenly_and_keeps_its_ends():
    rows = [replace(STATUS.front[0], trial=trial) for trial in range(30)]
    assert [row.trial for row in _thinned(rows)] == [0, 4, 8, 12, 17, 21, 25, 29]


def test_a_trials_line_tells_its_numbers_or_why_it_failed():
    line = outcome_line(FAST, RUN)
    assert line == "trial 1: accuracy 89.00 % (drop 1.00 pp), latency 0.500×, size 0.300×, took 100.0 ms"
    failure = Failure(trial=3, stage="run", kind="crash", message="gone", retryable=True)
    assert "failed in run (crash): gone" in outcome_line(failure, RUN)
    assert outcome_line(RUN.baseline, RUN).startswith("trial 0 (original)")


def test_a_trials_line_tells_limits_that_it_exceeds():
    limited = replace(RUN, facts=run_facts({"fake": Constraints(max_latency_s=0.4e-3)}))
    assert ", exceeds latency, took" in outcome_line(FAST, limited)


def of_two_targets():
    """A run on two targets, `edge` being the slower one, where trial 2 is missing."""
    away = Failure(trial=2, stage="measure", kind="device", message="gone", retryable=True)
    points = []
    for trial, ratio in ((0, 1.0), (1, 0.5), (2, 0.4)):
        here = measured(Recipe(), ratio=ratio, drop=0.01 * trial, size=100_000 - 20_000 * trial)
        there = measured(
            Recipe(), ratio=min(1.0, 1.5 * ratio), drop=0.02 * trial, size=100_000 - 20_000 * trial
        )
        outcomes: dict[str, Outcome] = {"cpu": here, "edge": there}
        if trial == 2:
            outcomes["edge"] = Missing(artifact=here.artifact, failure=away)
        points.append(point(trial, outcomes=outcomes))
    facts = run_facts({"cpu": Constraints(), "edge": Constraints()})
    return Run(facts=facts, points=tuple(points))


def test_of_several_targets_a_line_has_the_worst_numbers_and_names_where_a_candidate_is_missing():
    run = of_two_targets()
    assert "(drop 2.00 pp), latency 0.750×" in outcome_line(run.points[1], run)
    assert ", not measured on edge, took" in outcome_line(run.points[2], run)


def test_each_of_several_targets_has_its_hypervolume_and_its_queue():
    run = of_two_targets()
    status = status_of(run, elapsed_s=20.0, budget_s=None, trials=None, time={})
    assert status.hypervolumes == {name: run.only(name).hypervolume for name in ("cpu", "edge")}
    each = ", ".join(f"{name} {value:.3f}" for name, value in status.hypervolumes.items())
    assert f"hypervolume {run.hypervolume:.3f} ({each}), 1 queued for edge" in status.summary()


@pytest.mark.parametrize(
    ("budget_s", "trials", "left_s"), [(60.0, None, 40.0), (None, 4, 20.0), (None, None, None)]
)
def test_the_time_left_follows_from_the_budget_or_the_trials(budget_s, trials, left_s):
    status = status_of(RUN, elapsed_s=20.0, budget_s=budget_s, trials=trials, time={})
    assert status.left_s == left_s


def test_a_signal_ends_an_interruptible_block_at_once():
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.allowed():
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")


def test_a_signal_during_bookkeeping_waits_for_the_next_block():
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        done = True
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            raise AssertionError("not reached")
    assert done


def test_a_signal_at_the_very_beginning_of_a_block_ends_it():
    class Late(Interrupts):
        """The signal comes when the block has just looked whether there was one."""

        sent = False

        @property
        def requested(self):
            seen = self._came
            if not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)
            return seen

        @requested.setter
        def requested(self, value):
            self._came = value

    with Late() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.allowed():
        raise AssertionError("not reached")


def test_a_second_signal_ends_even_bookkeeping():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def test_the_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_live_progress_shows_where_the_time_went():
    progress = LiveProgress()
    progress.finished(
        "trial 1: fine", replace(STATUS, time={"validation": 20.0, "recovery": 79.5, "build": 0.5})
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(progress._render())
    assert "time: recovery 80 %, validation 20 %" in console.export_text()


def test_a_wait_is_noted_once_for_each_process_and_shown_in_place_of_the_stage():
    stream = io.StringIO()
    tell = WaitsShown(PlainProgress(stream), remark=" It does not count.")
    for holder in ("process 7 (search /runs/b)", "", "process 7 (search /runs/b)", "", "process 8", ""):
        tell(holder)
    assert stream.getvalue().splitlines() == [
        "Waiting for process 7 (search /runs/b), which measures or trains. It does not count.",
        "Waiting for process 8, which measures or trains. It does not count.",
    ]
    live = LiveProgress()
    live.stage("trial 3: measuring")
    live.waiting("waiting for process 7")
    assert "waiting for process 7" in drawn(live) and "trial 3" not in drawn(live)
    live.waiting("")
    assert "trial 3: measuring" in drawn(live)
