"""A search as JSON lines: what a program sees while it runs."""

import io
import json
from dataclasses import replace

from autocompress.explore.session.events import EventProgress
from autocompress.explore.session.status import status_of
from autocompress.results.records.run import Run
from autocompress.tests.results.records import point, run_facts

RUN = Run(facts=run_facts(), points=(point(0), point(1, drop=0.01, ratio=0.5, size=30_000)))


def status(trial):
    return status_of(RUN, elapsed_s=10.0, budget_s=100.0, trials=None, time={}, trial=trial)


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_stages_notes_and_trials_are_one_object_a_line_with_the_time_left():
    stream = io.StringIO()
    progress = EventProgress(stream)
    progress.began(status_of(None, elapsed_s=0.0, budget_s=100.0, trials=None, time={}), lambda: 25.0)
    progress.stage("trial 0: measuring\x1b[2J")
    progress.waiting("waiting for process 7")
    progress.note("noted")
    progress.finished("trial 1: fine", status(1))
    began, stage, waiting, note, trial, front = events(stream)
    assert began["event"] == "began" and began["measured"] == 0 and began["left_s"] == 100.0
    assert stage == {
        "event": "stage", "text": "trial 0: measuring\\x1b[2J",
        "elapsed_s": 25.0, "left_s": 75.0, "share": 0.25,
    }  # fmt: skip
    assert waiting == {**stage, "event": "waiting", "text": "waiting for process 7"}
    assert note == {"event": "note", "text": "noted"}
    assert (trial["trial"], trial["measured"], trial["left_s"]) == (1, 2, 90.0)
    assert [entry["trial"] for entry in front["points"]] == [point.trial for point in RUN.front]
    assert front["points"][-1].keys() == {"trial", "quality", "drop", "latency_ratio", "size_ratio"}


def test_the_front_is_told_only_when_it_changes():
    stream = io.StringIO()
    progress = EventProgress(stream)
    for number in (1, 2):
        progress.finished(f"trial {number}", status(number))
    progress.finished("trial 3", replace(status(3), front=status(3).front[:1]))
    assert [event["event"] for event in events(stream)] == ["trial", "front", "trial", "trial", "front"]


def test_of_stages_that_change_at_once_the_first_is_told():
    stream = io.StringIO()
    progress = EventProgress(stream)
    for step in range(100):
        progress.stage(f"recover {step}/100")
    assert [event["text"] for event in events(stream)] == ["recover 0/100"]
