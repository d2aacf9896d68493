"""Whole searches of a tiny task on boards that are gone, at the start or in the middle: nothing is lost, and
nothing else stops.
"""

import shutil
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from autocompress.errors import StageError, TargetUnavailable
from autocompress.evaluation.availability import Availability, Patience
from autocompress.explore.preparation.open_search import make_compressor, open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.progress import QuietProgress
from autocompress.explore.study_file import FIRST_VALUES
from autocompress.profiles import TimingConfig
from autocompress.results.records.run import Run
from autocompress.results.report.page import render
from autocompress.results.run_directory import read_run
from autocompress.results.table import front_table, missing_note
from autocompress.targets.ssh.board import Board as RealBoard
from autocompress.targets.target import Target
from autocompress.tests import sshd
from autocompress.tests.explore.boards import Board, target_on
from autocompress.tests.test_cli import TASK
from optuna.trial import TrialState

QUICK = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.01, block_s=0.001, warmup_s=0.0, half_width=1.0)
CPU = "cpu@10.0.0.5"  # an address, so that it is waited for


class Heard(QuietProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []
        self.summaries: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def finished(self, line: str, status: Any) -> None:
        self.summaries.append(status.summary())


def desk_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, shared: Path) -> SimpleNamespace:
    """A desk with the boards `cpu` and `edge`, and searches on them. `shared` is what all searches share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    monkeypatch.setattr(
        "autocompress.explore.preparation.open_search.make_compressor",
        lambda checked, **_: make_compressor(checked, cache_dir=shared),
    )
    for module in ("preparation.open_search.SEARCH_TIMING", "finalists.FINALIST_TIMING"):
        monkeypatch.setattr(f"autocompress.explore.{module}", QUICK)
    monkeypatch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.evaluation.availability.PAUSES_S", (0.05,))
    monkeypatch.setattr("autocompress.evaluation.availability.PATIENCE_S", 60.0)
    boards = {"cpu": Board(), "edge": Board()}
    monkeypatch.setattr("autocompress.evaluation.targets.Target", target_on(boards))
    (folder / "task.py").write_text(textwrap.dedent(TASK))
    (folder / "edge.toml").write_text('inherits = "cpu"\nmemory_limit_bytes = 536870912\nstorage_bits = []\n')
    both = f"{CPU},{folder / 'edge.toml'}"

    def search(*, trials: int = 2, heard: Heard | None = None, targets: str = both) -> Run:
        heard = heard or Heard()
        request = SearchRequest(
            task=f"{folder / 'task.py'}:make",
            target=targets,
            trials=trials,
            sampler="random",
            recovery=False,
            out=folder / "run",
        )
        with open_search(prepare(request, heard), heard) as running:
            running.run()
        return read_run(folder / "run")

    return SimpleNamespace(**boards, boards=boards, search=search, run=folder / "run")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all searches of this file share: exported templates, level databases."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path) -> SimpleNamespace:
    """A desk of the test's own; finalists, which cost most, are not looked at (test_finalists.py does)."""
    for look in ("look_at", "look_again"):
        monkeypatch.setattr(f"autocompress.explore.finalists.Finalists.{look}", lambda *_, **__: False)
    return desk_in(tmp_path, monkeypatch, shared=shared)


@pytest.fixture(scope="module", params=["cpu", "edge"])
def gone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared: Path
) -> Iterator[SimpleNamespace]:
    """A search whose board `name` was gone from the start: its directory, its run, and what was `heard`."""
    folder, name = tmp_path_factory.mktemp("gone"), request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        desk = desk_in(folder, monkeypatch, shared=shared)
        desk.boards[name].plugged, heard = False, Heard()
        run = desk.search(heard=heard)
    (other,) = {"cpu", "edge"} - {name}
    yield SimpleNamespace(directory=desk.run, run=run, heard=heard, name=name, other=other)


def values(run_directory: Path) -> dict[int, list[float]]:
    """The objectives of the complete trials, as Optuna's own tools read them."""
    return {trial.number: trial.values for trial in complete(run_directory)}


def corrected(run_directory: Path) -> set[int]:
    """The trials whose values are not those that were told first."""
    return {trial.number for trial in complete(run_directory) if FIRST_VALUES in trial.user_attrs}


def complete(run_directory: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run_directory / 'study.db'}")
    return study.get_trials(states=[TrialState.COMPLETE])


def worst(run: Run) -> dict[int, Any]:
    """The same from front.json (finalists, measured again, are not looked at here)."""
    return {point.trial: pytest.approx(list(run.vector(point))) for point in run.points}


def counts(run: Run) -> tuple[int, int]:
    """How many candidates were measured, and how many failed."""
    return len(run.points), len(run.failures)


def test_a_board_that_is_gone_at_the_start_stops_nothing_and_its_limits_stay_open(
    gone: SimpleNamespace,
) -> None:
    run, notes = gone.run, gone.heard.notes
    assert (run.status, run.target_names, counts(run)) == ("finished", (gone.other,), (2, 0))
    assert run.front and all(run.feasible(point) for point in run.front)
    assert run.waiting == {gone.name: 2}
    assert "No route to host" in run.baseline.missing[gone.name].failure.message
    away = f"Target '{gone.name}' is away: its measurements are queued, its limits open."
    assert [note for note in notes if note.startswith(away)]
    assert f"2 queued for {gone.name}" in gone.heard.summaries[-1]


def test_a_run_with_a_board_that_was_gone_can_be_shown(gone: SimpleNamespace) -> None:
    assert missing_note(gone.run).startswith(
        f"{gone.name} was away, 2 measurements are queued for it and its limits are open"
    )
    assert front_table(gone.run).row_count >= 1
    assert "2 measurements are queued" in render(gone.run)


def test_when_the_board_returns_the_same_command_measures_everything_on_it(
    desk: SimpleNamespace, gone: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(gone.directory, desk.run)
    before, heard = gone.run, Heard()
    run = desk.search(heard=heard)
    assert not desk.run.with_name("run-2").exists(), "the run was continued"
    assert (run.target_names, run.waiting, counts(run)) == (("cpu", "edge"), {}, counts(before))
    assert [target.environment and target.environment.runtime for target in run.targets] == [
        "onnxruntime"
    ] * 2
    assert all(run.complete(point) for point in run.points)
    assert f"2 queued measurements caught up on '{gone.name}'." in heard.notes
    assert values(desk.run) == worst(run)
    assert corrected(desk.run) == {0, 1}
    file = desk.run / run.front[0].measured[gone.name].artifact.file
    file.unlink()
    assert counts(desk.search()) == counts(before), "and goes on being continued"
    assert file.is_file(), "what `verify` and `pick` read was built again"


def test_a_board_that_returns_while_the_search_goes_on_is_caught_up_at_once(desk: SimpleNamespace) -> None:
    desk.edge.plugged, heard = False, Heard()
    tell = heard.finished

    def finished(line: str, status: Any) -> None:
        desk.edge.plugged = len(heard.summaries) >= 1
        tell(line, status)

    heard.finished = finished  # type: ignore[method-assign]
    run = desk.search(trials=3, heard=heard)
    assert (run.target_names, run.waiting) == (("cpu", "edge"), {})
    assert values(desk.run) == worst(run)
    assert corrected(desk.run) and 2 not in corrected(desk.run)
    identity = (desk.run / "run.toml").read_text().partition("edge profile")[2]
    assert 'environment.runtime" = "onnxruntime"' in identity


@pytest.mark.parametrize("name", ["cpu", "edge"])
def test_a_board_that_drops_in_the_middle_is_asked_again_before_the_end(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(
        "autocompress.evaluation.availability.PAUSES_S", (1000.0,)
    )  # nobody asks while trials go on
    desk.boards[name].plan = {1: 1}  # of trial 1; when it is asked before the finalists it answers
    heard = Heard()
    run = desk.search(trials=3, heard=heard)
    assert (run.waiting, counts(run)) == ({}, (3, 0))
    assert [note for note in heard.notes if f"caught up on '{name}'" in note]


def test_a_board_that_came_back_as_another_one_is_not_mixed_in(desk: SimpleNamespace) -> None:
    desk.search(trials=1)
    desk.edge.plugged = False
    desk.search(trials=2)
    desk.edge.plugged, desk.edge.facts = True, {"power_mode": "15W"}
    heard = Heard()
    desk.search(trials=1, heard=heard)
    assert [note for note in heard.notes if "edge environment.power_mode changed" in note]
    assert desk.run.with_name("run-2").exists()


def test_a_power_mode_that_changes_within_a_session_is_queued_and_stops_nothing(
    desk: SimpleNamespace,
) -> None:
    heard = Heard()
    tell = heard.finished

    def finished(line: str, status: Any) -> None:
        desk.edge.facts.update(power_mode="15W")
        tell(line, status)

    heard.finished = finished  # type: ignore[method-assign]
    run = desk.search(heard=heard)
    assert (run.status, counts(run), run.waiting) == ("finished", (2, 0), {"edge": 1})
    assert "power_mode was None and is '15W'" in run.point(1).missing["edge"].failure.message
    assert run.baseline.measured["edge"]


def test_the_only_board_is_waited_for_and_no_candidate_is_lost(desk: SimpleNamespace) -> None:
    desk.cpu.plan, heard = {1: 2}, Heard()
    run = desk.search(heard=heard, targets=CPU)
    assert counts(run) == (2, 0) and run.waiting == {}
    assert [text for text in heard.stages if "target 'cpu' is away, waiting for it" in text]


def test_all_boards_that_drop_at_once_are_waited_for(desk: SimpleNamespace) -> None:
    desk.cpu.plan, desk.edge.plan, heard = {1: 2}, {1: 2}, Heard()
    run = desk.search(heard=heard)
    assert counts(run) == (2, 0)
    assert [text for text in heard.stages if "target 'cpu,edge' is away, waiting for it" in text]


@pytest.mark.parametrize("names", [("cpu",), ("cpu", "edge")], ids=["one", "two"])
def test_boards_that_all_stay_away_end_the_search_like_an_interruption(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr("autocompress.evaluation.availability.PATIENCE_S", 0.3)
    targets = {} if len(names) == 2 else {"targets": CPU}
    for name in names:
        desk.boards[name].plan = {2: 1000}
    with pytest.raises(TargetUnavailable, match=r"is away.*the same command goes on from here"):
        desk.search(trials=4, **targets)
    stopped = read_run(desk.run)
    assert (stopped.status, counts(stopped)) == ("interrupted", (2, 0))
    for name in names:
        desk.boards[name].plan = {}
    run = desk.search(trials=4, **targets)
    assert (run.status, counts(run), run.waiting) == ("finished", (4, 0), {})
    assert not desk.run.with_name("run-2").exists()


def test_when_all_boards_are_gone_at_the_start_the_first_is_named(desk: SimpleNamespace) -> None:
    desk.cpu.plugged = desk.edge.plugged = False
    with pytest.raises(TargetUnavailable, match=r"Target 'cpu': .*No route to host.*--allow-predicted"):
        desk.search()


# --- the parts


def test_patience_waits_longer_and_longer_and_ends() -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    def fails() -> None:
        raise TargetUnavailable("gone")

    with pytest.raises(TargetUnavailable, match="Target 'pi' is away: gone"):
        Patience(limit_s=100, clock=lambda: now[0], sleep=sleep).until_back(
            fails, name="pi", say=lambda text: None
        )
    assert pauses == [5, 10, 20, 40]


def test_patience_lets_a_candidates_own_failure_through() -> None:
    def fails() -> None:
        raise StageError("no kernel", stage="measure", kind="error")

    with pytest.raises(StageError, match="no kernel"):
        Patience().until_back(fails, name="pi", say=lambda text: None)


def test_a_target_that_is_away_is_due_after_growing_pauses() -> None:
    now = [0.0]
    availability = Availability(clock=lambda: now[0])
    assert availability.may_ask("pi") and not availability.due()
    for pause in (5, 10, 20):
        availability.gone("pi", "no route")
        assert not availability.may_ask("pi")
        now[0] += pause
        assert availability.may_ask("pi") and availability.due()
    availability.answered("pi")
    assert (availability.may_ask("pi"), availability.due(), availability.reason("pi")) == (True, False, None)


# --- a real board: an SSH server that is switched off and on


def test_a_board_behind_ssh_that_is_switched_on_later_is_caught_up(
    desk: SimpleNamespace, ssh_server: sshd.Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = partial(RealBoard, ssh_config=ssh_server.config)
    monkeypatch.setattr("autocompress.targets.target.Board", connect)
    monkeypatch.setattr("autocompress.evaluation.targets.Target", Target)
    profile = desk.run.with_name("edge.toml")
    profile.write_text(profile.read_text() + f'python = "{ssh_server.python}"\n')
    there = f"{profile}@127.0.0.1:{ssh_server.port}"
    ssh_server.stop()
    try:
        before = desk.search(targets=f"cpu,{there}")
        assert (before.status, before.target_names, before.waiting) == ("finished", ("cpu",), {"edge": 2})
    finally:
        ssh_server.start()
    run = desk.search(targets=f"cpu,{there}")
    assert (run.target_names, run.waiting, counts(run)) == (("cpu", "edge"), {}, counts(before))
    assert all(run.complete(point) for point in run.points)
