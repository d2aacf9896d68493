"""A search as a function: refused as on the command line, interrupted, continued."""

import os
import signal
import textwrap
from pathlib import Path

import autocompress as ac
import pytest
from autocompress.api.following import BarProgress, Following, progress_of
from autocompress.errors import InputError
from autocompress.explore.session.progress import QuietProgress, Status
from autocompress.tests.test_cli import TASK


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "2"}, "has no unit"),
        ({"max_drop": "1"}, "has no unit"),
        ({"task": "digit"}, "did you mean 'digits'"),
        ({"target": "cpuu"}, "did you mean 'cpu'"),
        ({"sampler": "cma"}, "choose front, tpe"),
        ({"trials": 0}, "give 1 or more"),
    ],
    ids=str,
)
def test_what_the_command_refuses_the_function_refuses_too(
    options: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        ac.search(**options, progress=False)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_search_of_a_task_object_goes_on_with_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    script: dict[str, object] = {}
    exec(textwrap.dedent(TASK), script)
    make, events = script["make"], list[ac.Event]()
    assert callable(make)

    def stop_after_the_first_trial(event: ac.Event) -> None:
        events.append(event)
        if event.kind == "trial":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="the same call continues it"):
        ac.search(make(), trials=3, out=tmp_path / "run", progress=stop_after_the_first_trial)
    assert any("cannot load a Task" in event.text for event in events if event.kind == "note")
    assert ac.Run.open(tmp_path / "run").status == "interrupted"
    run = ac.search(make(), trials=3, out=tmp_path / "run", progress=False)
    assert (run.status, len(run.points)) == ("finished", 3)
    assert len(list(run.measurements())) >= 3


STATUS = Status(
    finished=1, failed=0, screened=0, hypervolume=0.5, elapsed_s=1.0, share=0.25, left_s=3.0, front=()
)


def test_events_say_what_happened_and_how_much_is_done() -> None:
    events = list[ac.Event]()
    progress = progress_of(events.append)
    assert isinstance(progress, Following)
    progress.stage("reading")
    progress.note("careful")
    progress.finished("trial 0", STATUS)
    assert [(event.kind, event.text) for event in events] == [
        ("stage", "reading"),
        ("note", "careful"),
        ("trial", "trial 0"),
    ]
    assert (events[-1].share, events[-1].left_s, events[-1].hypervolume) == (0.25, 3.0, 0.5)
    assert isinstance(progress_of(False), QuietProgress)


def test_a_bar_moves_with_the_share_that_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with BarProgress() as bar:
        bar.stage("measuring")
        bar.note("careful")
        bar.finished("trial 0", STATUS)
    shown = capsys.readouterr()
    assert " 25%" in shown.err and "0.500" in shown.err and "careful" in shown.out + shown.err
