"""Fronts are drawn in a process of their own; a page gets what is there, and never waits."""

import os
import signal

import pytest
from autocompress.results.run_directory import write_run
from autocompress.service.web.drawing.drawn import Drawings
from autocompress.service.web.front_state import FrontState
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.waiting import comes_true


@pytest.fixture
def drawings(tmp_path):
    made = Drawings(tmp_path / "drawn")
    yield made
    made.close()


def state_with(folder, **options):
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").touch()
    write_run(folder, sample_run(**options))
    return FrontState.of(folder)


def test_a_page_gets_the_older_front_until_the_newer_one_is_drawn(drawings, tmp_path):
    first = state_with(tmp_path / "run")
    assert drawings.of("s", first) is None and drawings.charts("s") == b"{}"
    assert comes_true(lambda: drawings.of("s", first) is not None, timeout_s=60)
    assert drawings.of("s", first).newest and b'"latency"' in drawings.charts("s")
    second = state_with(tmp_path / "run", candidates=12)
    assert not drawings.of("s", second).newest
    assert comes_true(lambda: drawings.of("s", second).newest, timeout_s=60)


def test_a_damaged_front_is_said_once_and_not_drawn_again_and_again(drawings, tmp_path):
    state_with(tmp_path / "run")
    (tmp_path / "run" / "front.json").write_text('{"schema_version": 3')
    state = FrontState.of(tmp_path / "run")
    assert comes_true(lambda: (drawn := drawings.of("s", state)) is not None and drawn.newest, timeout_s=60)
    assert "front.json" in drawings.of("s", state).wrong


def test_a_process_that_was_killed_is_started_again(drawings, tmp_path):
    state = state_with(tmp_path / "run")
    drawings.ask("s", state)
    assert comes_true(lambda: drawings._process is not None)
    os.kill(drawings._process.pid, signal.SIGKILL)
    assert comes_true(lambda: (drawn := drawings.of("s", state)) is not None and drawn.newest, timeout_s=60)
