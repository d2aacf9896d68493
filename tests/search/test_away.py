"""Whole searches of a tiny task on boards that are gone, at the start or in the middle: nothing is lost, and
nothing else stops.
"""

import shutil
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from autocompress.errors import StageError, TargetUnavailable
from autocompress.profiles import TimingConfig, load_profile, parse_target
from autocompress.results.formats import ratio_of
from autocompress.results.joint_table import joint_table, missing_note
from autocompress.results.pick import drop_scale_of
from autocompress.results.pick_joint import worst_cost
from autocompress.results.report.page import render
from autocompress.results.run_directory import read_run
from autocompress.results.views import point_on
from autocompress.search import strategy
from autocompress.search.evaluation.availability import Availability, Patience
from autocompress.search.evaluation.several import FoundTarget
from autocompress.search.prepare import make_compressor, open_search, prepare
from autocompress.search.request import SearchRequest
from autocompress.search.session.progress import QuietProgress
from autocompress.targets.ssh.board import Board as RealBoard
from autocompress.targets.target import Target
from autocompress.tests import sshd
from autocompress.tests.search.boards import Board, target_on
from autocompress.tests.test_cli import TASK
from optuna.trial import TrialState

QUICK = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.01, block_s=0.001, warmup_s=0.0, half_width=1.0)


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


def desk_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, kept: Path) -> SimpleNamespace:
    """A desk with the boards `cpu` (the primary target) and `edge`, and searches on them. `kept` is what all
    searches share.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept / "cache"))
    monkeypatch.setattr(
        "autocompress.search.prepare.make_compressor",
        lambda problem, **_: make_compressor(problem, cache_dir=kept),
    )
    for module in ("prepare.SEARCH_TIMING", "finalists.FINALIST_TIMING"):
        monkeypatch.setattr(f"autocompress.search.{module}", QUICK)
    monkeypatch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.search.evaluation.availability.PAUSES_S", (0.05,))
    monkeypatch.setattr("autocompress.search.evaluation.availability.PATIENCE_S", 60.0)
    boards = {"cpu": Board(), "edge": Board()}
    monkeypatch.setattr("autocompress.search.evaluation.several.Target", target_on(boards))
    (folder / "task.py").write_text(textwrap.dedent(TASK))
    (folder / "edge.toml").write_text('inherits = "cpu"\nmemory_limit_bytes = 536870912\nstorage_bits = []\n')

    edge = str(folder / "edge.toml")

    def search(
        *, trials: int = 2, heard: Heard | None = None, primary: str = "cpu@10.0.0.5", further: str = edge
    ) -> dict[str, Any]:
        heard = heard or Heard()
        request = SearchRequest(
            task=f"{folder / 'task.py'}:make",
            target=f"{primary},{further}",
            trials=trials,
            sampler="random",
            recovery=False,
            out=folder / "run",
        )
        with open_search(prepare(request, heard), heard) as running:
            running.run()
        return read_run(folder / "run")

    return SimpleNamespace(cpu=boards["cpu"], edge=boards["edge"], search=search, run=folder / "run")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all searches of this file share: exported templates, level databases."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Path) -> SimpleNamespace:
    """A desk of the test's own; finalists, which cost most, are not looked at (test_further.py has that)."""
    monkeypatch.setattr("autocompress.search.finalists.Finalists.look_at", lambda *_, **__: False)
    return desk_in(tmp_path, monkeypatch, kept=kept)


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[SimpleNamespace]:
    """A search whose board `edge` was gone from the start: its directory, front.json, and what was `heard`."""
    folder = tmp_path_factory.mktemp("gone")
    with pytest.MonkeyPatch.context() as monkeypatch:
        desk = desk_in(folder, monkeypatch, kept=kept)
        desk.edge.plugged, heard = False, Heard()
        run = desk.search(heard=heard)
    yield SimpleNamespace(directory=desk.run, run=run, heard=heard)


def told(run_directory: Path) -> dict[int, list[float]]:
    """The objectives of the complete trials, as Optuna's own tools read them."""
    return {trial.number: trial.values for trial in complete(run_directory)}


def corrected(run_directory: Path) -> set[int]:
    """The trials whose values are not those that were told first."""
    return {trial.number for trial in complete(run_directory) if "values_told_first" in trial.user_attrs}


def complete(run_directory: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run_directory / 'study.db'}")
    return study.get_trials(states=[TrialState.COMPLETE])


def worst(run: dict[str, Any]) -> dict[int, list[float]]:
    """The same from front.json: each point's worst numbers of all targets (finalists, measured again, are not
    looked at here).
    """
    points, scale = [run["baseline"], *run["front"], *run["dominated"]], drop_scale_of(run)
    return {
        point["trial"]: [
            worst_cost(point, run, "drop") / scale,
            worst_cost(point, run, "size"),
            max(ratio_of(point_on(point, name)) for name in names(run)),
        ]
        for point in points
    }


def names(run: dict[str, Any]) -> list[str]:
    return [target["name"] for target in run["targets"]]


def test_a_board_that_is_gone_at_the_start_stops_nothing_and_its_limits_stay_open(
    gone: SimpleNamespace,
) -> None:
    run, notes = gone.run, gone.heard.notes
    assert (run["status"], names(run), run["trials"]["finished"]) == ("finished", ["cpu"], 2)
    assert run["front"] and all(point["feasible"] for point in run["front"])
    assert run["queued"]["edge"]["count"] == 2 and "No route to host" in run["queued"]["edge"]["reason"]
    assert [
        note
        for note in notes
        if note.startswith("Target 'edge' is away: its measurements are queued, its limits open.")
    ]
    assert "2 queued for edge" in gone.heard.summaries[-1]


def test_a_run_with_a_board_that_was_gone_can_be_shown(gone: SimpleNamespace) -> None:
    assert missing_note(gone.run).startswith(
        "edge was away, 2 measurements are queued for it and its limits are open"
    )
    assert joint_table(gone.run).row_count >= 1
    assert "2 measurements are queued" in render(gone.run)


def test_when_the_board_returns_the_same_command_measures_everything_on_it(
    desk: SimpleNamespace, gone: SimpleNamespace
) -> None:
    shutil.copytree(gone.directory, desk.run)
    before, heard = gone.run, Heard()
    run = desk.search(heard=heard)
    assert not desk.run.with_name("run-2").exists(), "the run was continued"
    assert (names(run), run["queued"], run["trials"]) == (["cpu", "edge"], {}, before["trials"])
    assert run["targets"][1]["environment"]["runtime"] == "onnxruntime"
    assert all(point["targets"]["edge"]["latency"] for point in [*run["front"], *run["dominated"]])
    assert "2 queued measurements caught up on 'edge'." in heard.notes
    assert told(desk.run) == {trial: pytest.approx(values) for trial, values in worst(run).items()}
    assert corrected(desk.run) == {0, 1}
    file = desk.run / run["front"][0]["artifact"]["file"]
    file.unlink()
    assert desk.search()["trials"] == before["trials"], "and goes on being continued"
    assert file.is_file(), "what `verify` and `pick` read was built again"


def test_a_board_that_returns_while_the_search_goes_on_is_caught_up_at_once(desk: SimpleNamespace) -> None:
    desk.edge.plugged, heard = False, Heard()
    plug = heard.finished
    heard.finished = lambda line, status: (
        setattr(desk.edge, "plugged", len(heard.summaries) >= 1),
        plug(line, status),
    )  # type: ignore[method-assign]
    run = desk.search(trials=3, heard=heard)
    assert (names(run), run["queued"]) == (["cpu", "edge"], {})
    assert told(desk.run) == {trial: pytest.approx(values) for trial, values in worst(run).items()}
    assert corrected(desk.run) and 2 not in corrected(desk.run)
    assert (
        'environment.runtime" = "onnxruntime"'
        in (desk.run / "run.toml").read_text().partition("edge profile")[2]
    )


def test_a_board_that_drops_in_the_middle_is_asked_again_before_the_end(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "autocompress.search.evaluation.availability.PAUSES_S", (1000.0,)
    )  # nobody asks while trials go on
    desk.edge.plan = {1: 1}  # of trial 1; when it is asked before the finalists it answers
    heard = Heard()
    run = desk.search(trials=3, heard=heard)
    assert (run["queued"], run["trials"]) == (
        {},
        {"finished": 3, "failed": 0, "screened": run["trials"]["screened"]},
    )
    assert [note for note in heard.notes if "caught up on 'edge'" in note]


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
    told = heard.finished
    heard.finished = lambda line, status: (desk.edge.facts.update(power_mode="15W"), told(line, status))  # type: ignore[method-assign]
    run = desk.search(heard=heard)
    assert (run["status"], run["trials"]["finished"], run["queued"]["edge"]["count"]) == ("finished", 2, 1)
    assert "power_mode was None and is '15W'" in run["queued"]["edge"]["reason"]
    assert run["baseline"]["targets"]["edge"]["latency"]


def test_the_primary_board_is_waited_for_and_no_candidate_is_lost(desk: SimpleNamespace) -> None:
    desk.cpu.plan, heard = {1: 2}, Heard()
    run = desk.search(heard=heard)
    assert run["trials"]["failed"] == 0
    assert [text for text in heard.stages if "target 'cpu' is away, waiting for it" in text]


def test_a_primary_board_that_stays_away_ends_the_search_like_an_interruption(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.search.evaluation.availability.PATIENCE_S", 0.3)
    desk.cpu.plan = {2: 1000}
    with pytest.raises(TargetUnavailable, match=r"'cpu' is away.*the same command goes on from here"):
        desk.search(trials=4)
    kept = read_run(desk.run)
    assert (kept["status"], kept["trials"]["finished"], kept["trials"]["failed"]) == ("interrupted", 2, 0)
    desk.cpu.plan = {}
    run = desk.search(trials=4)
    assert (run["status"], run["trials"]["finished"], run["trials"]["failed"]) == ("finished", 4, 0)
    assert not desk.run.with_name("run-2").exists()


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


def test_only_a_board_with_an_address_is_waited_for() -> None:
    pauses: list[float] = []

    def fails() -> None:
        raise TargetUnavailable("no runtime")

    def found(address: str) -> FoundTarget:
        return FoundTarget(profile=load_profile("cpu"), address=parse_target(address), environment=None)

    for address, tries in (("cpu", 0), ("cpu@10.0.0.5", 1)):
        patience = found(address).patience
        patience._sleep, patience._clock = pauses.append, lambda: 1e9 * len(pauses)
        with pytest.raises(TargetUnavailable, match="no runtime"):
            patience.until_back(fails, name="cpu", say=lambda text: None)
        assert len(pauses) == tries


def test_a_board_that_drops_while_its_latency_table_is_made_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def calibrated(*_: Any, **__: Any) -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise TargetUnavailable("gone")

    monkeypatch.setattr(strategy, "ShapeRuns", lambda *_, **__: nullcontext())
    monkeypatch.setattr(strategy, "calibrate", calibrated)
    evaluator = SimpleNamespace(timing=QUICK, patience=Patience(sleep=lambda seconds: None))
    compressor: Any = SimpleNamespace(task=None, network=None, cache_dir=None)
    search: Any = SimpleNamespace(evaluator=evaluator, progress=Heard())
    target: Any = SimpleNamespace(profile=load_profile("cpu"))
    strategy._calibrate(SimpleNamespace(), compressor, target, left_s=lambda: 1.0, search=search)  # type: ignore[arg-type]
    assert tries == [0, 1]


def test_patience_lets_a_candidates_own_failure_through() -> None:
    def fails() -> None:
        raise StageError("no kernel", stage="measure", kind="error")

    with pytest.raises(StageError, match="no kernel"):
        Patience().until_back(fails, name="pi", say=lambda text: None)


def test_a_target_that_is_away_is_due_after_growing_pauses() -> None:
    now = [0.0]
    found = Availability(clock=lambda: now[0])
    assert found.may_ask("pi") and not found.due()
    for pause in (5, 10, 20):
        found.gone("pi", "no route")
        assert not found.may_ask("pi")
        now[0] += pause
        assert found.may_ask("pi") and found.due()
    found.answered("pi")
    assert (found.may_ask("pi"), found.due(), found.reason("pi")) == (True, False, None)


# --- a real board: an SSH server that is switched off and on


def test_a_board_behind_ssh_that_is_switched_on_later_is_caught_up(
    desk: SimpleNamespace, ssh_server: sshd.Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = partial(RealBoard, ssh_config=ssh_server.config)
    monkeypatch.setattr("autocompress.targets.target.Board", connect)
    monkeypatch.setattr("autocompress.search.evaluation.several.Target", Target)
    profile = desk.run.with_name("edge.toml")
    profile.write_text(profile.read_text() + f'python = "{ssh_server.python}"\n')
    there = f"{profile}@127.0.0.1:{ssh_server.port}"
    ssh_server.stop()
    try:
        before = desk.search(primary="cpu", further=there)
        assert (before["status"], names(before), before["queued"]["edge"]["count"]) == (
            "finished",
            ["cpu"],
            2,
        )
    finally:
        ssh_server.start()
    run = desk.search(primary="cpu", further=there)
    assert (names(run), run["queued"], run["trials"]) == (["cpu", "edge"], {}, before["trials"])
    assert all(point["targets"]["edge"]["latency"] for point in [*run["front"], *run["dominated"]])
