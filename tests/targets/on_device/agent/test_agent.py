"""The agent by itself, without SSH: what its disk, its input and two events at once may do to it."""

import fcntl
import hashlib
import json
import os
import resource
import select
import selectors
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocompress.errors import TargetUnavailable
from autocompress.profiles.address import TargetAddress
from autocompress.targets.on_device.agent.lock import DeviceLock, Refusal
from autocompress.targets.on_device.agent.sessions import Sessions
from autocompress.targets.on_device.agent.store import Store, Upload
from autocompress.targets.on_device.locks import VARIABLE
from autocompress.targets.ssh import board as ssh_board
from autocompress.targets.ssh.board import Board, BoardSettings, package_name, package_of
from autocompress.targets.ssh.command import ssh_command as real_ssh_command
from autocompress.targets.ssh.connection import Connection
from autocompress.targets.ssh.transport import SshTransport
from autocompress.tests.sshd import Sshd

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "ok": True, "result": {}}), flush=True)
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A board whose agent is a child of this process."""
    monkeypatch.setattr(ssh_board, "ssh_command", lambda address, remote, config: remote)
    settings = BoardSettings(folder=str(tmp_path / "device"), standby=False)
    found = Board(TargetAddress(profile="cpu", host="board"), python=sys.executable, settings=settings)
    yield found
    found.close()


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    path = tmp_path / "echo.py"
    path.write_text(ECHO)
    return path


def test_a_worker_that_ends_while_it_is_closed_takes_no_agent_with_it(worker: Path, tmp_path: Path) -> None:
    store, selector = Store(tmp_path / "device", 1 << 30, 0), selectors.DefaultSelector()
    package, entry = package_of(worker)
    name = package_name(package)
    upload = Upload(store, name, len(package))
    upload.write(package)
    upload.finish()
    sessions = Sessions(
        store, DeviceLock(), selector, {"python": sys.executable, "standby": False}, lambda *_: None
    )
    sessions.open({"session": 1, "package": name, "entry": entry, "config": {}})
    (news,) = [key.data for key in selector.get_map().values()]
    sessions.close({"session": 1})
    news()  # the selector told of both at once
    assert not selector.get_map()
    selector.close()
    store.close()


def test_an_error_of_the_disk_is_told_and_ends_no_connection(
    board: Board, worker: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "0.npy", np.ones(3))
    connection = board.connected()
    with SshTransport(board, {}, worker=worker) as transport:
        for folder in (tmp_path / "device" / "agents").glob("*/*"):
            if folder.is_dir() and not folder.name.startswith("worker-"):
                shutil.rmtree(folder)
        with pytest.raises(TargetUnavailable, match="No such file or directory"):
            transport.send({"op": "x", "inputs": str(tmp_path / "x")}, timeout_s=20)
        assert transport.send({"op": "x"}, timeout_s=20) == {}
    assert connection.lost is None


def test_an_agent_whose_connection_is_reset_leaves_nothing_behind(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[list[str], bytes]] = []

    def recording(command: list[str], agent: bytes) -> Connection:
        sent.append((command, agent))
        raise FileNotFoundError

    monkeypatch.setattr(ssh_board, "Connection", recording)
    with pytest.raises(TargetUnavailable):
        board.connected()
    ((command, source),) = sent
    mine, its = socket.socketpair()  # what sshd gives it
    agent = subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno())
    its.close()
    mine.sendall(source)
    assert b"autocompress-agent" in mine.recv(1 << 16)
    assert list((tmp_path / "device" / "agents").iterdir())
    mine.sendall(json.dumps({"id": 1, "op": "ping"}).encode() + b"\n")
    assert select.select([mine], [], [], 20)[0]
    mine.close()  # with a reply that nobody read
    assert agent.wait(timeout=20) == 0
    assert not list((tmp_path / "device" / "agents").iterdir())


def test_an_agent_that_starts_is_not_swept_away_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    stores: list[Store] = []

    def racing(descriptor: Any, mode: int) -> None:
        """Another agent starts before the first one holds its lock."""
        monkeypatch.setattr(fcntl, "flock", flock)
        stores.append(Store(tmp_path / "device", 1 << 20, 0))
        flock(descriptor, mode)

    monkeypatch.setattr(fcntl, "flock", racing)
    stores += [Store(tmp_path / "device", 1 << 20, 0), Store(tmp_path / "device", 1 << 20, 0)]
    assert len(stores) == 3 and all(store.own.is_dir() for store in stores)
    for store in stores:
        store.close()


def test_a_large_file_is_written_and_verified_with_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(20 << 20)
    name = hashlib.sha256(data).hexdigest()
    synced: list[int] = []
    signs: list[int] = []
    fsync = os.fsync

    def counting(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counting)
    store = Store(tmp_path / "device", 1 << 30, 0)
    upload = Upload(store, name, len(data))
    for start in range(0, len(data), 1 << 18):
        upload.write(data[start : start + (1 << 18)])
    before_the_end = len(synced)
    upload.finish()
    later = Store(tmp_path / "device", 1 << 30, 0, working=lambda: signs.append(1))
    pin = later.pin(name)
    assert pin is not None
    assert before_the_end >= 2 and len(signs) >= 20
    os.close(pin)
    store.close()
    later.close()


# --- the lock of the device


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[DeviceLock]]:
    """Those of three agents on one device."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = [DeviceLock() for _ in range(3)]
    yield found
    for lock in found:
        lock.free()


def refused(work: Callable[[str], object]) -> str:
    """Who is in the way."""
    with pytest.raises(Refusal) as refusal:
        work("somebody")
    assert refusal.value.reply["kind"] == "busy"
    return str(refusal.value)


def test_work_that_is_shared_keeps_no_measurement_out_for_ever(locks: list[DeviceLock]) -> None:
    works, measures, late = locks
    share = works.share("ann runs")
    assert refused(measures.take) == refused(late.share) == refused(works.share) == "ann runs"
    os.close(share)
    measures.take("bob measures")
    assert refused(late.share) == refused(works.take) == "bob measures"


def test_measurements_keep_no_other_work_out_for_ever(locks: list[DeviceLock]) -> None:
    measures, works, _ = locks
    measures.take("bob measures")
    assert refused(works.share) == "bob measures"
    measures.free()
    refused(measures.take)  # the other one stands before it
    os.close(works.share("ann runs"))
    measures.take("bob measures")


def test_whoever_leaves_the_line_is_not_waited_for(locks: list[DeviceLock]) -> None:
    works, measures, late = locks
    share = works.share("ann runs")
    refused(measures.take)
    measures.leave()
    os.close(late.share("eve runs"))
    os.close(share)


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(Refusal, match=r"missing/\S*: No such file or directory") as refusal:
        DeviceLock().take("me")
    assert refusal.value.reply["kind"] == "lock"


def test_a_full_disk_keeps_no_lock_from_anybody(locks: list[DeviceLock]) -> None:
    first, second, _ = locks
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # nothing can be written
    try:
        first.take("ann measures")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "did not say who" in refused(second.take)
    first.free()
    second.take("bob measures")


def test_the_lock_is_that_of_all_users_of_the_device(
    ssh_server: Sshd, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root the server's agent runs as another user than the one here."""
    monkeypatch.setenv(VARIABLE, str(ssh_server.folder / "locks"))
    monkeypatch.setenv("TMPDIR", str(ssh_server.folder / "cache"))
    theirs = ssh_server.board(standby=False)
    with monkeypatch.context() as patch:
        patch.setattr(ssh_board, "ssh_command", real_ssh_command)
        theirs.connected()
    with theirs.measuring():
        holder = board.try_lock(board.connected())
        board.unlock()
    theirs.close()
    assert holder is not None and holder.endswith("is measuring")
    assert board.try_lock(board.connected()) is None
    board.unlock()
