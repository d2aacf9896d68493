"""What a person sees while a search runs, and how Ctrl-C reaches it."""

import io
import os
import signal
from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.results.evaluation import Failure
from autocompress.search.session.interrupt import Interrupts
from autocompress.search.session.progress import (
    FrontRow,
    LiveProgress,
    PlainProgress,
    Status,
    _thinned,
    make_progress,
)
from autocompress.search.session.status import outcome_line, status_of
from autocompress.tests.search.fakes import evaluation
from autocompress.tests.search.test_result import FAST, result
from rich.console import Console

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
    console = Console(width=100, file=io.StringIO())
    console.print(progress._render())
    shown = console.file.getvalue()
    assert all(
        text in shown for text in ("trial 4: recover 10/250", "1 min 30 s left", "91.00 %", "0.500", "0.250")
    )


def test_progress_is_plain_where_stderr_is_no_terminal():
    assert isinstance(make_progress(quiet=False), PlainProgress)


def test_a_long_front_is_thinned_evenly_and_keeps_its_ends():
    assert _thinned(range(30)) == [0, 4, 8, 12, 17, 21, 25, 29]


def test_a_trials_line_tells_limits_that_it_exceeds():
    line = outcome_line(FAST, result(FAST))
    assert line == "trial 1: accuracy 89.00 % (drop 1.00 pp), latency 0.500×, size 0.300×, took 100.0 ms"
    assert "failed in run (crash): gone" in outcome_line(
        Failure(trial=3, stage="run", kind="crash", message="gone", retryable=True), result(FAST)
    )
    assert outcome_line(evaluation(0, Recipe()), result(FAST)).startswith("trial 0 (original)")


@pytest.mark.parametrize(
    ("budget_s", "trials", "left_s"), [(60.0, None, 40.0), (None, 4, 20.0), (None, None, None)]
)
def test_the_time_left_follows_from_the_budget_or_the_trials(budget_s, trials, left_s):
    status = status_of(
        result(FAST),
        failed=0,
        screened=0,
        elapsed_s=20.0,
        budget_s=budget_s,
        trials=trials,
        front=[FAST],
        time={},
    )
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
