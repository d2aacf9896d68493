"""Several boards of one kind as one target: two SSH servers, each measurement on whichever is free."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from autocompress.errors import InputError, TargetUnavailable, is_away
from autocompress.profiles import Measurement, load_profile
from autocompress.targets.pool.boards import Boards
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.pool.two_boards import OTHER_MACHINE, OTHER_PYTHON, SLOWER, another_board

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture(scope="module")
def second(ssh_server: Sshd) -> Iterator[Sshd]:
    with another_board(differs=OTHER_MACHINE) as server:
        yield server


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any ratio of two boards will do: other tests run meanwhile."""
    monkeypatch.setattr("autocompress.targets.pool.alike.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.targets.pool.alike.TIMING", QUICK)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and a smaller one."""
    return (
        models.chain(tmp_path / "base.onnx", layers=4),
        models.chain(tmp_path / "small.onnx", layers=1),
    )


def boards_on(*servers: Sshd, store: MeasurementStore | None = None) -> Boards:
    return Boards(load_profile("cpu"), [server.board(standby=False) for server in servers], store)


def board_of(measurement: Measurement) -> int:
    return int(measurement.conditions["board"])


@pytest.mark.usefixtures("restless")
def test_sessions_at_once_are_on_different_boards_and_share_one_reference(
    ssh_server: Sshd, second: Sshd, files: tuple[Path, Path]
) -> None:
    base, small = files
    boards = boards_on(ssh_server, second)
    with boards.session() as first, boards.session() as other:
        seen = [session.measure(small, base, QUICK) for session in (first, other)]
    boards.close()
    assert [board_of(one) for one in seen] == [1, 2]
    assert len({one.baseline_reference_s for one in seen}) == 1
    assert seen[0].environment.fingerprint == seen[1].environment.fingerprint == boards.probe().fingerprint
    assert all(one.ratio < 0.7 for one in seen)


def test_boards_are_told_apart_by_nothing_but_their_machines(ssh_server: Sshd, second: Sshd) -> None:
    one, other = (
        Target(load_profile("cpu"), board=server.board(standby=False)) for server in (ssh_server, second)
    )
    assert [*one.probe().differences(other.probe())] == ["machine"]
    boards = boards_on(ssh_server, second)
    assert boards.probe().machine is None
    for target in (one, other, boards):
        target.close()


@pytest.mark.usefixtures("restless")
def test_what_one_board_measured_is_not_measured_again_on_another(
    ssh_server: Sshd, second: Sshd, files: tuple[Path, Path], tmp_path: Path
) -> None:
    base, small = files
    boards = boards_on(ssh_server, second, store=MeasurementStore(tmp_path / "m.db"))
    with boards.session() as first, boards.session() as other:
        assert first.measure(small, base, QUICK) == other.measure(small, base, QUICK)
    boards.close()


@pytest.mark.usefixtures("restless")
def test_a_board_on_which_somebody_measures_is_left_to_them(
    ssh_server: Sshd, second: Sshd, files: tuple[Path, Path]
) -> None:
    base, small = files
    boards, other_search = boards_on(ssh_server, second), ssh_server.board(standby=False)
    boards.compared(base)
    with other_search.measuring(), boards.session() as session:
        assert board_of(session.measure(small, base, QUICK)) == 2
    with boards.session() as session:
        assert board_of(session.measure(small, base, QUICK)) == 1
    boards.close()
    other_search.close()


@pytest.mark.usefixtures("restless")
def test_what_a_board_lost_is_measured_on_another_until_it_is_back(
    ssh_server: Sshd,
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base, small = files
    with another_board() as server:
        boards = boards_on(server, ssh_server)
        boards.compared(base)
        with pytest.raises(TargetUnavailable) as lost, boards.session() as session:
            server.stop()
            session.measure(small, base, QUICK)
        assert is_away(lost.value) and boards.others_left
        with boards.session() as session:
            assert board_of(session.measure(small, base, QUICK)) == 2
        server.start()
        monkeypatch.setattr("autocompress.targets.pool.boards.AGAIN_S", 0.0)
        with boards.session(), boards.session() as session:
            assert board_of(session.measure(small, base, QUICK)) == 1
        boards.close()
    notes = [record.getMessage() for record in caplog.records]
    assert [f"127.0.0.1:{server.port}" in note for note in notes] == [True, True], notes
    assert "left out" in notes[0] and "is back" in notes[1]


@pytest.mark.usefixtures("restless")
def test_boards_that_are_all_gone_are_unavailable_and_asked_again(files: tuple[Path, Path]) -> None:
    with another_board() as server:
        boards = boards_on(server, server)
        boards.probe()
        server.stop()
        with pytest.raises(TargetUnavailable, match=f"port {server.port}"), boards.session():
            pass
        server.start()
        with boards.session() as session:
            assert board_of(session.measure(files[1], files[0], QUICK)) == 1
        boards.close()


@pytest.mark.usefixtures("restless")
def test_boards_that_were_all_away_at_first_are_one_target_once_they_are_there(
    files: tuple[Path, Path],
) -> None:
    with another_board() as left, another_board() as right:
        boards = boards_on(left, right)
        left.stop()
        right.stop()
        with pytest.raises(TargetUnavailable, match="no SSH server"):
            boards.probe()
        left.start()
        right.start()
        with boards.session() as first, boards.session() as other:
            measured = [session.measure(files[1], files[0], QUICK) for session in (first, other)]
        assert [board_of(one) for one in measured] == [1, 2]
        boards.close()


def test_boards_whose_environments_differ_are_refused_with_what_differs(ssh_server: Sshd) -> None:
    with another_board(differs=OTHER_PYTHON) as server:
        boards = boards_on(ssh_server, server)
        told = rf"python_version is .* on 127.0.0.1:{ssh_server.port} and '3.8.99' on 127.0.0.1:{server.port}"
        with pytest.raises(InputError, match=f"'cpu' are not of one kind: {told}: bring them to the same"):
            boards.probe()
        boards.close()


def test_a_board_that_is_slower_is_refused_before_anything_is_measured(
    ssh_server: Sshd, files: tuple[Path, Path]
) -> None:
    base, small = files
    with another_board(differs=SLOWER) as server:
        boards = boards_on(ssh_server, server)
        told = rf"takes 1\.[23]\d* times as long on 127.0.0.1:{server.port} as on 127.0.0.1:{ssh_server.port}"
        with pytest.raises(InputError, match=told), boards.session() as session:
            session.measure(small, base, QUICK)
        boards.close()


def test_a_slower_board_that_comes_later_is_left_out_and_ends_nothing(
    ssh_server: Sshd,
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base, small = files
    with another_board(differs=SLOWER) as server:
        server.stop()
        boards = boards_on(server, ssh_server)
        with boards.session() as session:
            assert board_of(session.measure(small, base, QUICK)) == 2
        server.start()
        monkeypatch.setattr("autocompress.targets.pool.boards.AGAIN_S", 0.0)
        with boards.session(), boards.session() as session, pytest.raises(TargetUnavailable, match="as long"):
            session.measure(small, base, QUICK)
        with boards.session() as session:
            assert board_of(session.measure(small, base, QUICK)) == 2
        boards.close()


@pytest.mark.serial
def test_two_boards_of_a_kind_take_equally_long(
    ssh_server: Sshd, second: Sshd, files: tuple[Path, Path]
) -> None:
    boards = boards_on(ssh_server, second)
    (ratio,) = boards.compared(files[0]).values()
    boards.close()
    assert ratio == pytest.approx(1, abs=0.05)
