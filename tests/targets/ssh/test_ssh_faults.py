"""What goes wrong on a real connection: no candidate is lost, no process is left on the board, no wrong
number is kept.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocompress.errors import StageError, TargetUnavailable
from autocompress.profiles import TimingConfig, load_profile
from autocompress.profiles.address import TargetAddress
from autocompress.targets.ssh.board import Board
from autocompress.targets.ssh.connection import Connection, ConnectionLost
from autocompress.targets.ssh.errors import trouble_of
from autocompress.targets.ssh.transport import SshTransport
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target
from autocompress.tests.sshd import Sshd, kill
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.slow_link import SlowLink
from autocompress.tests.waiting import comes_true, cpu_s
from onnx import helper

pytestmark = pytest.mark.usefixtures("quiet_machine")

LONG = TimingConfig(pairs_min=4, pairs_max=4, pair_s=0.3, block_s=0.005, warmup_s=0.0, half_width=1e-9)


@pytest.fixture
def board(ssh_server: Sshd) -> Iterator[Board]:
    """A board that is left without a process, whatever was done to it."""
    found = ssh_server.board()
    yield found
    found.close()
    ssh_server.wait_until_quiet()


@contextmanager
def soon(work: Any, *, after_s: float) -> Iterator[None]:
    """Does `work` beside the block, a moment after it began."""
    timer = threading.Timer(after_s, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def in_the_middle(server: Sshd, work: Any) -> Iterator[None]:
    """Does `work` once the server's only worker, which is ready and idle, has computed for a while in the
    block.

    LONG takes more than a second of its time, however fast it or the machine is.
    """
    (worker,) = server.workers()
    before, over = cpu_s(worker), threading.Event()

    def watch() -> None:
        if comes_true(lambda: over.is_set() or cpu_s(worker) - before > 0.2):
            work()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def script(folder: Path, body: str) -> Path:
    """A fake worker: `request` is what it was asked, `reply(value)` answers."""
    path = folder / "fake.py"
    path.write_text(
        "import json, os, signal, sys, time\n"
        "def reply(value): print(json.dumps({'id': request['id'], 'ok': True, 'result': {'value': value}}), "
        f"flush=True)\nfor line in sys.stdin:\n request = json.loads(line)\n {body}\n"
    )
    return path


def two_models(folder: Path) -> tuple[Path, Path]:
    return models.chain(folder / "base.onnx", layers=2), models.chain(folder / "small.onnx", layers=1)


# --- the connection


def test_a_measurement_whose_connection_is_killed_is_taken_again_and_kept_once(
    ssh_server: Sshd, board: Board, tmp_path: Path
) -> None:
    base, small = two_models(tmp_path)
    store = MeasurementStore(tmp_path / "m.db")
    target = Target(load_profile("cpu"), store, board=board)
    target.control(base)
    with target.session() as session:
        first = board.connected()
        session.executed_precision(base, ["conv0"])  # its worker is ready now
        with in_the_middle(ssh_server, ssh_server.kill_connections):
            seen = session.measure(small, base, LONG)
    assert first.lost is not None and board.connected() is not first
    assert len(seen.pairs) == 4 and seen.ratio < 0.9
    with target.session() as session:
        assert session.measure(small, base, LONG) == seen


def test_a_request_is_repeated_once_and_not_for_ever(ssh_server: Sshd, board: Board, tmp_path: Path) -> None:
    counter = ssh_server.folder / "tmp" / "asked"
    deadly = script(
        tmp_path, f"open({str(counter)!r}, 'a').write('x'); os.kill(os.getppid(), 9); time.sleep(60)"
    )
    with (
        SshTransport(board, {}, worker=deadly) as worker,
        pytest.raises(StageError, match="twice") as failure,
    ):
        worker.send({"op": "measure"}, timeout_s=30)
    assert (failure.value.stage, failure.value.kind, failure.value.retryable) == ("measure", "device", True)
    assert counter.read_text() == "xx"
    counter.unlink()


def test_a_board_that_is_gone_makes_the_target_unavailable_and_one_that_is_back_goes_on(
    ssh_server: Sshd, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.ssh.board.PAUSES_S", (0.1, 0.1))
    base, small = two_models(tmp_path)
    target = Target(load_profile("cpu"), board=board)
    with target.session() as session:
        ssh_server.stop()
        with pytest.raises(TargetUnavailable) as error:
            session.measure(small, base, QUICK)
        ssh_server.wait_until_quiet()
        ssh_server.start()
    assert f"127.0.0.1 (port {ssh_server.port})" in str(error.value)
    assert f"autocompress targets doctor cpu@127.0.0.1:{ssh_server.port}" in str(error.value)
    with target.session() as session:
        assert session.measure(small, base, QUICK).ratio < 1.2


def test_a_board_that_restarts_is_waited_for(ssh_server: Sshd, board: Board, tmp_path: Path) -> None:
    echo = script(tmp_path, "reply(request['x'])")
    with SshTransport(board, {}, worker=echo) as worker:
        assert worker.send({"op": "x", "x": 1}, timeout_s=20) == {"value": 1}
        ssh_server.stop()
        with soon(ssh_server.start, after_s=1.0):
            assert worker.send({"op": "x", "x": 2}, timeout_s=20) == {"value": 2}


def test_the_lock_is_held_again_after_a_drop(
    ssh_server: Sshd, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ssh_server.board()
    with board.measuring():
        dropped = board.connected(), other.connected()
        for pid in ssh_server.processes(having="timeout")[:1]:
            kill(pid, signal.SIGKILL)
        ssh_server.kill_connections()
        assert comes_true(lambda: all(connection.lost for connection in dropped))
        board.connected()
        monkeypatch.setattr("autocompress.targets.ssh.board.LOCK_WAIT_S", 0.3)
        with pytest.raises(TargetUnavailable, match="is busy"), other.measuring():
            pass
    other.close()


def test_a_drop_that_shows_when_the_lock_is_asked_for_ends_nothing(ssh_server: Sshd, board: Board) -> None:
    first = board.connected()
    ssh_server.kill_connections()
    with board.measuring():
        assert first.lost is not None and board.try_lock(board.connected()) is None


def test_a_connection_that_goes_silent_is_given_up(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.ssh.connection.PING_S", 0.2)
    monkeypatch.setattr("autocompress.targets.ssh.board.PAUSES_S", ())
    forget = script(tmp_path, "time.sleep(600)")
    with SlowLink(ssh_server.port, bytes_per_s=1e8) as link:
        board = reached_by(link, ssh_server, silence_s=3.0)
        with (
            SshTransport(board, {}, worker=forget) as worker,
            pytest.raises(TargetUnavailable, match="autocompress targets doctor"),
        ):
            monkeypatch.setattr("autocompress.targets.ssh.connection.SILENCE_S", 1.5)
            monkeypatch.setattr(
                "autocompress.targets.ssh.connection.START_S", 5.0
            )  # of the try to connect again
            threading.Timer(0.5, link.silent.set).start()
            worker.send({"op": "measure"}, timeout_s=60)
        ssh_server.wait_until_quiet()  # the agent heard nothing, and ended by itself
        board.close()


def test_a_slow_link_makes_a_measurement_late_and_not_wrong(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.ssh.connection.PING_S", 0.2)
    monkeypatch.setattr("autocompress.targets.ssh.connection.SILENCE_S", 3.0)
    weight = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = models.save(tmp_path / "m.onnx", [node], inputs={"x": ["batch", 512]}, weights={"w": weight})
    x = models.samples(tmp_path / "x.npz", np.ones((3, 512), dtype=np.float32))
    with SlowLink(ssh_server.port, bytes_per_s=250_000, delay_s=0.002) as link:
        board = reached_by(link, ssh_server, silence_s=3.0)
        with Target(load_profile("cpu"), board=board).session() as session:
            start = time.monotonic()
            (y,) = session.run(model, x, batch=3)
            took = time.monotonic() - start
        board.close()
    np.testing.assert_allclose(y, np.ones((3, 512)) @ weight, rtol=1e-3, atol=1e-3)
    assert took > 3.5  # a megabyte at that speed, longer than any silence that is borne
    ssh_server.wait_until_quiet()


def reached_by(link: SlowLink, server: Sshd, **settings: Any) -> Board:
    """The server's board at the other end of a link."""
    with server.known_hosts.open("a") as file:
        file.write(f"[127.0.0.1]:{link.port} {(server.folder / 'host_key.pub').read_text()}")
    board = server.board(**settings)
    board.address = replace(board.address, port=link.port)
    return board


FAKE = """
import json, sys, time
print("autocompress-agent {}", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    BODY
"""


def spoken_with(body: str) -> Connection:
    """A connection with an agent that answers with `body`, and no link between."""
    return Connection([sys.executable, "-c", FAKE.replace("BODY", body)], b"")


@pytest.mark.parametrize("line", ["7", "[1]", "null", '{"x": 1}', "{", '{"id": []}'])
def test_a_line_that_is_no_reply_ends_the_connection_at_once(line: str) -> None:
    connection = spoken_with(f"print({line!r}, flush=True)")
    start = time.monotonic()
    with pytest.raises(ConnectionLost, match="odd"):
        connection.call("x", wait_s=100)
    assert time.monotonic() - start < 50
    connection.close()


def test_files_that_arrive_slowly_are_waited_for(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"x" * 20).hexdigest()
    files = [{"key": "output", "size": 20, "digest": digest}]
    body = f"""reply = {{"id": request["id"], "ok": True, "line": 2, "files": {files}, "payload": 22}}
    print(json.dumps(reply), flush=True)
    for part in ["{{}}"] + ["x"] * 20:
        print(part, end="", flush=True); time.sleep(0.15)"""
    connection = spoken_with(body)
    reply = connection.call("x", wait_s=2.0, sinks={"output": tmp_path / "out"})
    assert reply.line == b"{}" and not reply.damaged and (tmp_path / "out").read_bytes() == b"x" * 20
    connection.close()


# --- the worker


def test_a_killed_worker_costs_nothing_and_another_one_measures(
    ssh_server: Sshd, board: Board, tmp_path: Path
) -> None:
    base, small = two_models(tmp_path)
    target = Target(load_profile("cpu"), board=board)
    target.control(base)

    def kill_workers() -> None:
        for pid in ssh_server.workers():
            kill(pid, signal.SIGKILL)

    with target.session() as session:
        session.executed_precision(base, ["conv0"])  # its worker is ready now
        with in_the_middle(ssh_server, kill_workers):
            assert len(session.measure(small, base, LONG).pairs) == 4


def test_a_frozen_worker_is_a_timeout_and_does_not_stay(
    ssh_server: Sshd, board: Board, tmp_path: Path
) -> None:
    frozen = script(tmp_path, "os.kill(os.getpid(), signal.SIGSTOP); reply(0)")
    with SshTransport(board, {}, worker=frozen) as worker:
        with pytest.raises(StageError) as failure:
            worker.send({"op": "measure"}, timeout_s=1.0)
        assert not ssh_server.workers()
    assert (failure.value.kind, failure.value.retryable) == ("timeout", True)


def test_a_frozen_worker_does_not_outlive_a_killed_agent(
    ssh_server: Sshd, board: Board, tmp_path: Path
) -> None:
    worker = SshTransport(board, {}, worker=script(tmp_path, "reply(0)"))
    worker.send({"op": "x"}, timeout_s=20)
    for pid in ssh_server.workers():
        kill(pid, signal.SIGSTOP)
    kill(int(board.hello.pid), signal.SIGKILL)
    ssh_server.wait_until_quiet()
    worker.close()


# --- the coordinator

COORDINATOR = """
import signal, sys, time
from pathlib import Path
from autocompress.profiles.address import TargetAddress
from autocompress.targets.ssh.transport import SshTransport
from autocompress.targets.ssh.board import Board, BoardSettings
# tests that were started in the background ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)
port, config, python, worker = sys.argv[1:]
address = TargetAddress(profile="cpu", host="127.0.0.1", port=int(port))
board = Board(address, python=python, ssh_config=Path(config), settings=BoardSettings(silence_s=5.0))
with board.measuring(), SshTransport(board, {}, worker=Path(worker)) as transport:
    print("measuring", flush=True)
    transport.send({"op": "measure"}, timeout_s=600)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGINT], ids=["killed", "frozen", "interrupted"]
)
def test_nothing_outlives_a_coordinator(ssh_server: Sshd, tmp_path: Path, number: int) -> None:
    busy = script(tmp_path, "[None for _ in iter(int, 1)]")
    command = [
        sys.executable,
        "-c",
        COORDINATOR,
        str(ssh_server.port),
        str(ssh_server.config),
        str(ssh_server.python),
        str(busy),
    ]
    coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert coordinator.stdout is not None and coordinator.stdout.readline() == b"measuring\n"
    assert ssh_server.workers()
    coordinator.send_signal(number)
    ssh_server.wait_until_quiet()
    coordinator.kill()
    coordinator.communicate()
    second = ssh_server.board()
    with second.measuring():
        pass
    second.close()


# --- the disk


@pytest.fixture
def small_disk(ssh_server: Sshd) -> Iterator[Path]:
    """A file system of 3 MB that the board keeps its files on."""
    folder = ssh_server.folder / "cache" / "small"
    folder.mkdir()
    mounted = os.getuid() == 0 and shutil.which("mount") is not None
    options = ["-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs"]
    if (
        not mounted
        or subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode != 0
    ):
        folder.rmdir()
        pytest.skip("needs root, and the right to mount a tmpfs")
    yield folder
    ssh_server.wait_until_quiet()  # nobody has a file there any more
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_makes_the_target_unavailable_and_keeps_no_half_of_a_file(
    ssh_server: Sshd, small_disk: Path, tmp_path: Path
) -> None:
    board = ssh_server.board(folder=str(small_disk / "store"), reserve_bytes=0)
    big, small = tmp_path / "big.onnx", models.linear(tmp_path / "small.onnx", scale=2.0)
    big.write_bytes(os.urandom(4_000_000))
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), dtype=np.float32))
    target = Target(load_profile("cpu"), board=board)
    with target.session() as session:
        with pytest.raises(
            TargetUnavailable, match=r"4\.0 MB do not fit.* df -h.*4\.3 GB \(store_limit_bytes"
        ):
            session.run(big, x, batch=2)
        assert not list((small_disk / "store" / "files").glob("*.part"))
        (y,) = session.run(small, x, batch=2)  # what fits still runs
    board.close()
    ssh_server.wait_until_quiet()
    np.testing.assert_array_equal(y, np.full((2, 8), 2, dtype=np.float32))


def test_a_disk_that_fills_up_in_the_middle_of_a_file_is_told(
    ssh_server: Sshd, small_disk: Path, tmp_path: Path
) -> None:
    board = ssh_server.board(
        folder=str(small_disk / "store"), reserve_bytes=-10_000_000
    )  # it believes that there is room
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(4_000_000))
    with pytest.raises(TargetUnavailable, match="No space left on device"):
        board.put(board.connected(), path, board.name_of(path))
    assert not list((small_disk / "store" / "files").iterdir())
    assert board.connected().call("ping", wait_s=10).ok  # the conversation goes on behind it
    board.close()


def test_a_board_leaves_a_reserve_of_its_disk_free(ssh_server: Sshd, tmp_path: Path) -> None:
    board = ssh_server.board(folder=str(ssh_server.folder / "cache" / "reserved"), reserve_bytes=1 << 60)
    path = tmp_path / "x.bin"
    path.write_bytes(b"x")
    with pytest.raises(TargetUnavailable, match="beyond the reserve"):
        board.put(board.connected(), path, board.name_of(path))
    board.close()


# --- uploads


def damaged(monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[str]:
    """The next `times` files that are sent have a bit that is wrong; returns the names of all that were."""
    seen: list[str] = []
    write = Connection._write_file

    def damaging(self: Connection, path: Path, size: int) -> None:
        seen.append(path.name)
        if len(seen) > times:
            return write(self, path, size)
        wrong = path.with_name("damaged")
        wrong.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        return write(self, wrong, size)

    monkeypatch.setattr(Connection, "_write_file", damaging)
    return seen


def test_a_damaged_upload_is_sent_again(
    ssh_server: Sshd, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(os.urandom(100_000))
    seen = damaged(monkeypatch, times=1)
    board.put(board.connected(), path, board.name_of(path))
    assert seen == ["x.bin", "x.bin"]
    kept = ssh_server.folder / "cache/autocompress/device/files" / board.name_of(path)
    assert kept.read_bytes() == path.read_bytes()


def test_an_upload_that_is_damaged_twice_is_not_kept(
    ssh_server: Sshd, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(os.urandom(100_000))
    damaged(monkeypatch, times=2)
    with pytest.raises(TargetUnavailable, match="not those that were announced"):
        board.put(board.connected(), path, board.name_of(path))
    assert not [
        item
        for item in (ssh_server.folder / "cache/autocompress/device/files").iterdir()
        if board.name_of(path) in item.name
    ]


def test_an_upload_that_is_interrupted_is_followed_by_nothing(
    ssh_server: Sshd, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Connection._write

    def interrupted(self: Connection, data: bytes) -> None:
        write(self, data)
        if data.startswith(b"x" * 100):
            raise KeyboardInterrupt

    path = tmp_path / "x.bin"
    path.write_bytes(b"x" * 1_000_000)
    echo = script(tmp_path, "reply(request['x'])")
    with SshTransport(board, {}, worker=echo) as worker:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Connection, "_write", interrupted)
            worker.send({"op": "x", "model": str(path)}, timeout_s=20)
        start = time.monotonic()
        worker.close()  # not answered, if it is taken for a part of the file
    assert time.monotonic() - start < 30
    with SshTransport(board, {}, worker=echo) as worker:
        assert worker.send({"op": "x", "x": 1}, timeout_s=20) == {"value": 1}


# --- the login


def test_an_unknown_host_key_is_refused_with_the_command_that_adds_it(ssh_server: Sshd) -> None:
    known = ssh_server.known_hosts.read_text()
    ssh_server.known_hosts.write_text("")
    try:
        with pytest.raises(TargetUnavailable) as error:
            ssh_server.board().connected()
    finally:
        ssh_server.known_hosts.write_text(known)
    assert f"ssh-keyscan -p {ssh_server.port} 127.0.0.1 >> ~/.ssh/known_hosts" in str(error.value)
    assert "fingerprint" in str(error.value)


def test_a_changed_host_key_is_refused_with_a_warning(ssh_server: Sshd) -> None:
    known = ssh_server.known_hosts.read_text()
    other = (ssh_server.folder / "key.pub").read_text()
    ssh_server.known_hosts.write_text(f"[127.0.0.1]:{ssh_server.port} {other}")
    try:
        with pytest.raises(TargetUnavailable) as error:
            ssh_server.board().connected()
    finally:
        ssh_server.known_hosts.write_text(known)
    assert "another host key" in str(error.value) and f"ssh-keygen -R '[127.0.0.1]:{ssh_server.port}'" in str(
        error.value
    )


def test_a_password_is_never_asked_for(ssh_server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(ssh_server.config.read_text().replace(f"{ssh_server.folder}/key", f"{tmp_path}/no-key"))
    start = time.monotonic()
    with pytest.raises(TargetUnavailable, match=rf"ssh-copy-id -p {ssh_server.port} 127\.0\.0\.1"):
        Board(ssh_server.address, ssh_config=config).connected()
    assert time.monotonic() - start < 50  # of the minute for which it would be waited


def test_a_refused_connection_a_wrong_name_and_a_missing_python_say_what_to_do(ssh_server: Sshd) -> None:
    refused = Board(replace(ssh_server.address, port=1), ssh_config=ssh_server.config)
    nameless = Board(replace(ssh_server.address, host="no-such-host.invalid"), ssh_config=ssh_server.config)
    without = Board(ssh_server.address, ssh_config=ssh_server.config, python="python-that-is-not-there")
    for board, told in (
        (refused, "systemctl enable --now ssh"),
        (nameless, r"~/\.ssh/config"),
        (without, "sudo apt install python3"),
    ):
        with pytest.raises(TargetUnavailable, match=told):
            board.connected()


def test_a_python_that_may_not_be_run_is_not_taken_for_a_refused_login(ssh_server: Sshd) -> None:
    python = ssh_server.folder / "not-executable"
    python.write_text("")
    with pytest.raises(
        TargetUnavailable, match=r"has no \S*not-executable .*set `python` in the target's TOML file"
    ):
        ssh_server.board(python=python).connected()


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("sh: 1: timeout: not found", 127),
        ("bash: line 1: timeout: command not found", 127),
        ("zsh:1: command not found: timeout", 127),
        ("fish: Unknown command: timeout", 127),
        ("timeout: Command not found.", 1),
    ],
    ids=["sh", "bash", "zsh", "fish", "csh"],
)
def test_a_missing_timeout_is_told_whatever_the_login_shell(told: str, code: int) -> None:
    address = TargetAddress(profile="cpu", host="board")
    trouble = trouble_of(told, code=code, address=address, python="python3")
    assert (
        "has no timeout" in trouble.message
        and "sudo apt install coreutils" in trouble.remedy
        and not trouble.passing
    )


def test_what_a_server_says_is_not_part_of_a_command_to_type() -> None:
    address = TargetAddress(profile="cpu", host="board")
    told = "host key for $(touch${IFS}x) and host key for ;reboot\nHost key verification failed."
    trouble = trouble_of(told, code=255, address=address, python="python3")
    assert "run ssh-keyscan board >>" in trouble.remedy


def test_a_login_shell_may_talk_before_the_agent_does(ssh_server: Sshd, tmp_path: Path) -> None:
    noisy = ssh_server.folder / "noisy"
    noisy.write_text(f'#!/bin/sh\necho Welcome to the board\nexec {ssh_server.python} "$@"\n')
    noisy.chmod(0o755)
    board = Board(ssh_server.address, ssh_config=ssh_server.config, python=str(noisy))
    assert board.hello.cores
    board.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for a socket, whose path ssh refuses beyond 100 bytes: TMPDIR may be longer."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_what_the_users_configuration_adds_to_an_interactive_login_does_no_harm(
    ssh_server: Sshd, tmp_path: Path, short_folder: Path
) -> None:
    config, socket = tmp_path / "config", short_folder / "control"
    own = (
        "RequestTTY yes",
        "RemoteCommand exec cat",
        "ControlMaster auto",
        f"ControlPath {socket}",
        "ControlPersist 60",
    )
    config.write_text(ssh_server.config.read_text() + "".join(f"    {line}\n" for line in own))
    board = Board(ssh_server.address, python=str(ssh_server.python), ssh_config=config)
    assert board.hello.cores
    assert not socket.exists()  # a shared connection, which would outlive the command
    board.close()
    ssh_server.wait_until_quiet()


def test_files_where_one_is_logged_in_to_are_not_taken_for_modules(ssh_server: Sshd) -> None:
    folder = ssh_server.folder / "login"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('the wrong json')")
    (folder / "numpyish").mkdir()
    python = ssh_server.folder / "python-elsewhere"
    python.write_text(f'#!/bin/sh\ncd {folder}\nexec {ssh_server.python} "$@"\n')
    python.chmod(0o755)
    board = ssh_server.board(python=python)
    assert board.look(modules=["numpyish", "json"], tools=[]).missing == ("numpyish",)
    board.close()
