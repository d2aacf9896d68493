"""A board over SSH: a Target on it does what one here does, files go there once, and its lock keeps
coordinators apart.
"""

import fcntl
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from autocompress.errors import StageError, TargetUnavailable
from autocompress.files import digest_of_file
from autocompress.profiles import load_profile
from autocompress.profiles.address import TargetAddress
from autocompress.targets.on_device.agent.lock import GATE, LOCK
from autocompress.targets.ssh.board import Board
from autocompress.targets.ssh.connection import Connection
from autocompress.targets.ssh.transport import SshTransport
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target
from autocompress.tests.sshd import Sshd, kill
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from autocompress.tests.waiting import comes_true

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def board(ssh_server: Sshd) -> Iterator[Board]:
    found = ssh_server.board(standby=False)
    yield found
    found.close()
    ssh_server.wait_until_quiet()


def stored(server: Sshd, folder: str = "autocompress/device") -> set[str]:
    return {path.name for path in (server.folder / "cache" / folder / "files").glob("*")}


def test_a_model_is_run_and_measured_on_a_board_as_it_is_here(board: Board, tmp_path: Path) -> None:
    base, small = (
        models.chain(tmp_path / "base.onnx", layers=4),
        models.chain(tmp_path / "small.onnx", layers=1),
    )
    x = np.random.default_rng(0).standard_normal((3, 16, 16, 16)).astype(np.float32)
    inputs = models.samples(tmp_path / "x.npz", x)
    here, there = (
        Target(load_profile("cpu")),
        Target(load_profile("cpu"), MeasurementStore(tmp_path / "m.db"), board=board),
    )
    with here.session() as mine, there.session() as theirs:
        (expected,), (seen,) = mine.run(base, inputs, batch=2), theirs.run(base, inputs, batch=2)
        assert theirs.executed_precision(base, ["conv0"]) == mine.executed_precision(base, ["conv0"])
        measurement = theirs.measure(small, base, QUICK)
    np.testing.assert_array_equal(seen, expected)
    assert measurement.ratio < 0.7 and measurement.artifact_digest == digest_of_file(small)
    assert not measurement.environment.emulated


def test_inputs_may_lie_in_a_folder_of_arrays(board: Board, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "0.npy", np.ones((5, 8), dtype=np.float32))
    with Target(load_profile("cpu"), board=board).session() as session:
        (y,) = session.run(models.linear(tmp_path / "m.onnx", scale=2.0), tmp_path / "x", batch=2)
    np.testing.assert_array_equal(y, np.full((5, 8), 2, dtype=np.float32))


def test_a_file_goes_to_the_board_once_and_under_the_digest_of_its_bytes(
    ssh_server: Sshd, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[str] = []
    put = Board.put

    def recording(
        self: Board, connection: Connection, path: Path, name: str, *, beside: Sequence[str] = ()
    ) -> None:
        pushed.append(path.name)
        put(self, connection, path, name, beside=beside)

    monkeypatch.setattr(Board, "put", recording)
    model = models.linear(tmp_path / "unique.onnx", scale=1.2345)
    x = models.samples(tmp_path / "unique.npz", np.full((2, 8), 1.2345, dtype=np.float32))
    for _ in range(2):
        with Target(load_profile("cpu"), board=board).session() as session:
            session.run(model, x, batch=2)
    assert sorted(name for name in pushed if name.startswith("unique")) == ["unique.npz", "unique.onnx"]
    assert f"{digest_of_file(model)}.onnx" in stored(ssh_server)


def test_a_file_that_was_damaged_on_the_board_is_sent_again(ssh_server: Sshd, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx", scale=3.25)
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), dtype=np.float32))
    for _ in range(2):
        board = ssh_server.board(standby=False)
        with Target(load_profile("cpu"), board=board).session() as session:
            (y,) = session.run(model, x, batch=2)
        board.close()
        np.testing.assert_array_equal(y, np.full((2, 8), 3.25, dtype=np.float32))
        kept = ssh_server.folder / "cache/autocompress/device/files" / f"{digest_of_file(model)}.onnx"
        damaged = bytearray(kept.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        kept.write_bytes(damaged)


def test_the_files_used_longest_ago_make_room_for_new_ones(ssh_server: Sshd, tmp_path: Path) -> None:
    folder = ssh_server.folder / "cache" / "bounded"
    board = ssh_server.board(standby=False, folder=str(folder), limit_bytes=2_500_000)
    connection = board.connected()
    for index in range(4):
        path = tmp_path / f"{index}.bin"
        path.write_bytes(bytes([index]) * 1_000_000)
        board.put(connection, path, board.name_of(path))
        time.sleep(0.02)
    board.close()
    kept = {path.read_bytes()[0] for path in (folder / "files").iterdir()}
    assert kept == {2, 3}


def test_a_profile_says_how_much_is_kept_on_a_board(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_server.put_on_path(tmp_path, monkeypatch)
    (tmp_path / "pi.toml").write_text(
        f'inherits = "cpu"\npython = "{ssh_server.python}"\nstore_limit_bytes = 1_500_000'
    )
    target = Target(load_profile(str(tmp_path / "pi.toml")), address=ssh_server.address)
    assert target.board is not None
    for index in range(2):
        path = tmp_path / f"{index}.bin"
        path.write_bytes(bytes([7, index]) * 500_000)
        target.board.put(target.board.connected(), path, target.board.name_of(path))
    target.close()
    sent = {digest_of_file(tmp_path / f"{index}.bin") + ".bin" for index in range(2)}
    assert stored(ssh_server) & sent == {digest_of_file(tmp_path / "1.bin") + ".bin"}


def test_the_files_of_one_request_do_not_make_room_for_each_other(ssh_server: Sshd, tmp_path: Path) -> None:
    board = ssh_server.board(
        standby=False, folder=str(ssh_server.folder / "cache" / "tight"), limit_bytes=1_000_000
    )
    worker = tmp_path / "there.py"
    told = (
        "size = os.path.getsize(r['model']); "
        "print(json.dumps({'id': r['id'], 'ok': True, 'result': {'size': size}}), flush=True)"
    )
    worker.write_text(f"import json, os, sys\nfor line in sys.stdin:\n r = json.loads(line); {told}\n")
    models_ = [tmp_path / f"{index}.onnx" for index in range(2)]
    for index, path in enumerate(models_):
        path.write_bytes(bytes([index]) * 400_000)
    samples = tmp_path / "x.npz"
    samples.write_bytes(bytes(2_000_000))
    with SshTransport(board, {}, worker=worker) as transport:
        for path in models_:
            request = {"op": "x", "model": str(path), "inputs": str(samples)}
            assert transport.send(request, timeout_s=20) == {"size": 400_000}
    board.close()


def test_a_file_in_use_is_not_removed_for_another_coordinators(ssh_server: Sshd, tmp_path: Path) -> None:
    folder = ssh_server.folder / "cache" / "shared"
    first = ssh_server.board(standby=False, folder=str(folder), limit_bytes=1_500_000)
    second = ssh_server.board(standby=False, folder=str(folder), limit_bytes=1_500_000)
    worker, asked, put = (
        tmp_path / "slow.py",
        ssh_server.folder / "tmp" / "asked",
        ssh_server.folder / "tmp" / "put",
    )
    waits = f"open({str(asked)!r}, 'w').close()\n while not os.path.exists({str(put)!r}): time.sleep(0.01)"
    told = (
        "size = os.path.getsize(r['model']); "
        "print(json.dumps({'id': r['id'], 'ok': True, 'result': {'size': size}}), flush=True)"
    )
    worker.write_text(
        f"import json, os, sys, time\nfor line in sys.stdin:\n r = json.loads(line); {waits}\n {told}\n"
    )
    used, other = tmp_path / "used.bin", tmp_path / "other.bin"
    used.write_bytes(bytes(1_000_000))
    other.write_bytes(bytes([1]) * 1_000_000)
    with SshTransport(first, {}, worker=worker) as transport:
        answers: list[dict[str, object]] = []
        thread = threading.Thread(
            target=lambda: answers.append(transport.send({"op": "x", "model": str(used)}, timeout_s=100))
        )
        thread.start()
        assert comes_true(asked.exists)
        second.put(second.connected(), other, second.name_of(other))
        put.touch()
        thread.join()
    assert {first.name_of(used), second.name_of(other)} <= stored(ssh_server, "shared")
    for board in (first, second):
        board.close()
    assert answers == [{"size": 1_000_000}]


def test_a_second_coordinator_waits_until_the_first_has_measured(ssh_server: Sshd) -> None:
    first, second = ssh_server.board(standby=False), ssh_server.board(standby=False)
    order: list[str] = []

    def measure() -> None:
        with second.measuring():
            order.append("second")

    with first.measuring():
        thread = threading.Thread(target=measure)
        thread.start()
        time.sleep(1.0)
        order.append("first")
    thread.join(timeout=20)
    for board in (first, second):
        board.close()
    assert order == ["first", "second"]


def test_who_measures_is_told_to_a_coordinator_that_waited_too_long(
    ssh_server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.ssh.board.LOCK_WAIT_S", 0.3)
    first, second = ssh_server.board(standby=False), ssh_server.board(standby=False)
    with (
        first.measuring(),
        pytest.raises(TargetUnavailable, match=r"is busy: \S+@\S+ \(process \d+\)"),
        second.measuring(),
    ):
        pass
    for board in (first, second):
        board.close()


def test_a_coordinator_that_is_gone_holds_no_lock(ssh_server: Sshd) -> None:
    first, second = ssh_server.board(standby=False), ssh_server.board(standby=False)
    with first.measuring():
        first.close()
        with second.measuring():
            pass
    second.close()


# --- other work than measuring

SLEEPER = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    open(request.get("begun", os.devnull), "w").close()
    while not os.path.exists(request.get("until", "/")):
        time.sleep(0.01)
    time.sleep(request["sleep_s"])
    print(json.dumps({"id": request["id"], "ok": True, "result": {"at": time.monotonic()}}), flush=True)
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Path:
    """A worker that answers after `sleep_s` with the time; it makes the file `begun` and waits for the file
    `until`.
    """
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    return tmp_path / "sleeper.py"


@pytest.fixture
def two_boards(ssh_server: Sshd) -> Iterator[tuple[Board, Board]]:
    """The same board for two coordinators."""
    boards = ssh_server.board(standby=False), ssh_server.board(standby=False)
    yield boards
    for found in boards:
        found.close()
    ssh_server.wait_until_quiet()


@pytest.mark.parametrize("operation", ["run", "optimized"])
def test_work_that_would_disturb_a_measurement_waits_until_it_has_ended(
    two_boards: tuple[Board, Board], sleeper: Path, operation: str
) -> None:
    first, second = two_boards
    answers: list[dict[str, float]] = []
    with (
        SshTransport(first, {}, worker=sleeper) as measuring,
        SshTransport(second, {}, worker=sleeper) as other,
    ):
        with first.measuring():
            thread = threading.Thread(
                target=lambda: answers.append(other.send({"op": operation, "sleep_s": 0}, timeout_s=20))
            )
            thread.start()
            measured = measuring.send({"op": "measure", "sleep_s": 1.0}, timeout_s=20)
        thread.join(timeout=20)
    assert answers[0]["at"] > measured["at"]


@pytest.fixture
def marks(ssh_server: Sshd) -> Iterator[dict[str, str]]:
    """The files `begun` and `until` of the sleeper, where the board's user can make them; neither is
    there.
    """
    files = {name: ssh_server.folder / "tmp" / f"sleeper-{name}" for name in ("begun", "until")}
    yield {name: str(path) for name, path in files.items()}
    for path in files.values():
        path.unlink(missing_ok=True)


def test_a_measurement_waits_for_such_work_and_that_is_shared(
    two_boards: tuple[Board, Board], sleeper: Path, marks: dict[str, str]
) -> None:
    first, second = two_boards
    ended: list[float] = []
    with SshTransport(first, {}, worker=sleeper) as one, SshTransport(second, {}, worker=sleeper) as two:
        work = threading.Thread(
            target=lambda: ended.append(one.send({"op": "run", "sleep_s": 1, **marks}, timeout_s=100)["at"])
        )
        work.start()
        assert comes_true(Path(marks["begun"]).exists)
        beside = two.send({"op": "run", "sleep_s": 0}, timeout_s=100)["at"]
        Path(marks["until"]).touch()
        with second.measuring():
            began = time.monotonic()
        work.join()
    assert beside < ended[0] < began


def test_work_whose_worker_dies_while_it_waits_leaves_the_line(
    ssh_server: Sshd, two_boards: tuple[Board, Board], sleeper: Path
) -> None:
    first, second = two_boards
    failures: list[BaseException] = []

    def work() -> None:
        with pytest.raises(StageError, match="was killed") as failure:
            other.send({"op": "run", "sleep_s": 0}, timeout_s=20)
        failures.append(failure.value)

    with SshTransport(second, {}, worker=sleeper) as other:
        with first.measuring():
            thread = threading.Thread(target=work)
            thread.start()
            gate = ssh_server.folder / "locks" / GATE
            assert comes_true(lambda: gate.exists() and is_locked(gate))  # it stands in the line
            for pid in ssh_server.workers():
                kill(pid, signal.SIGKILL)
            thread.join()
        assert failures and not is_locked(gate)


def test_a_board_that_cannot_be_locked_names_the_command_that_shows_why(
    ssh_server: Sshd, board: Board, sleeper: Path
) -> None:
    lock = ssh_server.folder / "locks" / LOCK
    lock.unlink(missing_ok=True)
    lock.mkdir()  # not even root can write to it
    try:
        told = r"cannot be locked .*: all users .* see ssh -p \d+ 127.0.0.1 ls -ld /"
        with SshTransport(board, {}, worker=sleeper) as worker, pytest.raises(TargetUnavailable, match=told):
            worker.send({"op": "run", "sleep_s": 0}, timeout_s=20)
    finally:
        lock.rmdir()


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_whoever_measures_does_not_wait_for_itself(board: Board, sleeper: Path) -> None:
    with board.measuring(), SshTransport(board, {}, worker=sleeper) as worker:
        assert worker.send({"op": "run", "sleep_s": 0}, timeout_s=20)["at"] > 0


def test_work_that_waited_too_long_is_told_who_measures_and_leaves_the_line(
    two_boards: tuple[Board, Board], sleeper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.ssh.board.LOCK_WAIT_S", 0.3)
    first, second = two_boards
    with SshTransport(second, {}, worker=sleeper) as other:
        with (
            first.measuring(),
            pytest.raises(TargetUnavailable, match=r"is busy: \w+@\S+ \(process \d+\) is measuring there"),
        ):
            other.send({"op": "run", "sleep_s": 0}, timeout_s=20)
        with first.measuring():  # nobody stands before it
            pass
        assert other.send({"op": "run", "sleep_s": 0}, timeout_s=20)["at"] > 0


def test_a_connection_that_drops_in_the_middle_of_such_work_shares_the_board_again(
    ssh_server: Sshd, two_boards: tuple[Board, Board], sleeper: Path, marks: dict[str, str]
) -> None:
    first, second = two_boards
    answers: list[dict[str, float]] = []

    def shares() -> bool:
        """Whether the work has begun, and who wants to measure is told so."""
        begun = comes_true(Path(marks["begun"]).exists)
        told = second.try_lock(second.connected()) or ""
        second.close()
        return begun and "is running" in told

    with SshTransport(first, {}, worker=sleeper) as worker:
        request = {"op": "run", "sleep_s": 0, **marks}
        work = threading.Thread(target=lambda: answers.append(worker.send(request, timeout_s=100)))
        work.start()
        assert shares()
        Path(marks["begun"]).unlink()
        ssh_server.kill_connections()
        assert shares()
        Path(marks["until"]).touch()
        work.join()
    assert len(answers) == 1 and second.try_lock(second.connected()) is None


def test_the_next_session_finds_a_worker_that_is_ready(ssh_server: Sshd, tmp_path: Path) -> None:
    board = ssh_server.board()
    config = {
        "runtime": "onnxruntime",
        "cores": board.cores(1),
        "threads": 1,
        "timer": "thread-cpu",
        "runtime_options": {},
    }
    with SshTransport(board, config) as worker:
        worker.send({"op": "probe"}, timeout_s=60)
    assert comes_true(
        lambda: [loaded(pid, "onnxruntime") for pid in ssh_server.workers()] == [True]
    )  # nobody asked for it yet
    (standby,) = ssh_server.workers()
    with SshTransport(board, config) as worker:
        worker.send({"op": "probe"}, timeout_s=60)
        workers = ssh_server.workers()
    board.close()
    ssh_server.wait_until_quiet()
    assert workers == [standby]


def loaded(pid: int, library: str) -> bool:
    """Whether a process has loaded a file with `library` in its path, which takes most of a worker's
    start.
    """
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_too_few_cores_on_a_board_make_it_unavailable(board: Board) -> None:
    with pytest.raises(TargetUnavailable, match="needs 10000 cores"):
        board.cores(10_000)


def test_an_address_makes_a_target_on_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(
        load_profile("cpu"), address=TargetAddress(profile="cpu", user="me", host="board", port=2222)
    )
    assert target.board is not None and str(target.board.address) == "cpu@me@board:2222"


def test_a_result_that_arrives_damaged_is_an_error_and_not_a_result(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Connection._parts

    def damaging(self: Connection, stream: IO[bytes], size: int) -> Iterator[bytes]:
        """The bytes that arrive; an archive has one bit that is wrong."""
        for part in parts(self, stream, size):
            yield part[:-1] + bytes([part[-1] ^ 1]) if part.startswith(b"PK") else part

    monkeypatch.setattr(Connection, "_parts", damaging)
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), dtype=np.float32))
    with Target(load_profile("cpu"), board=board).session() as session, pytest.raises(StageError) as failure:
        session.run(models.linear(tmp_path / "m.onnx"), x, batch=2)
    assert (failure.value.kind, failure.value.retryable) == ("device", True)
