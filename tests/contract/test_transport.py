"""What every Transport promises: results, and one named error for each way in which a worker can fail.

A new implementation joins the parameters of `open_transport`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.errors import FailureKind, StageError, TargetUnavailable
from autocompress.profiles import parse_target
from autocompress.targets.replies import VanishedError
from autocompress.targets.ssh.board import Board, BoardSettings
from autocompress.targets.ssh.transport import SshTransport
from autocompress.targets.transport import WORKER, LastingWorker, LocalTransport, Transport
from autocompress.tests.ray_nodes import cluster_in
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets.workers import changed_worker
from autocompress.tests.waiting import comes_true, ended

CONFIG = {"runtime": "onnxruntime", "cores": [0], "threads": 1, "timer": "thread-cpu", "runtime_options": {}}
PROBE = {"op": "probe"}
LOOK_S = 0.05  # between two looks at a worker that is being waited for
Open = Callable[[Path], Transport]


@pytest.fixture(scope="module")
def board(ssh_server: Sshd) -> Iterator[Board]:
    found = ssh_server.board(look_s=LOOK_S)
    yield found
    found.close()
    ssh_server.wait_until_quiet()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """The node of a Ray cluster that has a target's resource."""
    with cluster_in(tmp_path_factory.mktemp("nodes")) as cluster:
        cluster.add_node(num_cpus=0, resources={"target:cpu": 1})
        address = replace(parse_target("cpu@ray"), cluster=cluster.address)
        found = Board(address, settings=BoardSettings(look_s=LOOK_S))
        yield found
        found.close()


@pytest.fixture(params=["local", "ssh", pytest.param("ray", marks=pytest.mark.slow)])
def open_transport(request: pytest.FixtureRequest) -> Open:
    """How to start a transport with a worker script."""
    if request.param == "local":
        config = {**CONFIG, "cores": sorted(os.sched_getaffinity(0))[:1]}
        return lambda worker: LocalTransport(config, worker=worker)
    found: Board = request.getfixturevalue("board" if request.param == "ssh" else "node")
    return lambda worker: SshTransport(found, {**CONFIG, "cores": found.cores(1)}, worker=worker)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at a worker here as often as at one on the board."""
    monkeypatch.setattr("autocompress.targets.transport.LOOK_S", LOOK_S)


def script(folder: Path, body: str) -> Path:
    """A fake worker that reads one request into `request` and then does `body`."""
    path = folder / "fake.py"
    path.write_text(f"import json, os, sys, time\nrequest = json.loads(sys.stdin.readline())\n{body}\n")
    return path


@contextmanager
def failing(kind: FailureKind, *, stage: str = "run", retryable: bool = False) -> Iterator[None]:
    """The block must raise a StageError of this kind."""
    with pytest.raises(StageError) as failure:
        yield
    seen = (failure.value.kind, failure.value.stage, failure.value.retryable)
    assert seen == (kind, stage, retryable), str(failure.value)


def test_a_request_is_answered(open_transport: Open) -> None:
    with open_transport(WORKER) as worker:
        assert worker.send(PROBE, timeout_s=60)["runtime"] == "onnxruntime"


def test_requests_are_answered_in_order(open_transport: Open, tmp_path: Path) -> None:
    reply = "{'id': request['id'], 'ok': True, 'result': {'echo': request['x']}}"
    body = (
        f"while True:\n print(json.dumps({reply}), flush=True)\n request = json.loads(sys.stdin.readline())"
    )
    echo = script(tmp_path, body)
    with open_transport(echo) as worker:
        answers = [worker.send({"op": "echo", "x": value}, timeout_s=20)["echo"] for value in range(3)]
    assert answers == [0, 1, 2]


def test_a_crash_is_told_with_its_signal_and_may_be_retried(open_transport: Open, tmp_path: Path) -> None:
    crash = script(tmp_path, "os.kill(os.getpid(), 11)")
    with open_transport(crash) as worker, failing("crash", retryable=True):
        worker.send(PROBE, timeout_s=20)


def test_an_uncaught_exception_is_a_crash_with_its_message(open_transport: Open, tmp_path: Path) -> None:
    broken = script(tmp_path, "raise KeyError('lost key')")
    with open_transport(broken) as worker, pytest.raises(StageError, match="lost key"):
        worker.send(PROBE, timeout_s=20)


def test_a_killed_worker_stays_dead(open_transport: Open, tmp_path: Path) -> None:
    with open_transport(script(tmp_path, "os.kill(os.getpid(), 9)")) as worker:
        for _ in range(2):
            with failing("crash", retryable=True):
                worker.send(PROBE, timeout_s=20)


def in_turn(open_transport: Open, folder: Path, *bodies: str) -> Iterator[Transport]:
    """Workers that do these things, one after the other."""
    for number, body in enumerate(bodies):
        (folder / str(number)).mkdir()
        yield open_transport(script(folder / str(number), body))


ANSWER = "print(json.dumps({'id': request['id'], 'ok': True, 'result': {}}), flush=True)"


def test_a_worker_that_somebody_kills_is_replaced_and_asked_again(
    open_transport: Open, tmp_path: Path
) -> None:
    killed = "os.kill(os.getpid(), 9)"
    workers = in_turn(open_transport, tmp_path, killed, killed, ANSWER)
    with LastingWorker(lambda: next(workers)) as worker:
        assert worker.send(PROBE, timeout_s=20) == {}


def test_a_request_that_loses_every_worker_is_taken_for_the_cause(
    open_transport: Open, tmp_path: Path
) -> None:
    workers = in_turn(open_transport, tmp_path, *["os.kill(os.getpid(), 15)"] * 3, ANSWER)
    with LastingWorker(lambda: next(workers)) as worker:
        with failing("crash"):
            worker.send(PROBE, timeout_s=20)
        assert worker.send(PROBE, timeout_s=20) == {}, "the next request gets a fresh one"


def test_a_crash_of_its_own_is_not_repeated_with_another_worker(open_transport: Open, tmp_path: Path) -> None:
    workers = in_turn(open_transport, tmp_path, "os.kill(os.getpid(), 11)", ANSWER)
    with LastingWorker(lambda: next(workers)) as worker, failing("crash", retryable=True):
        worker.send(PROBE, timeout_s=20)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("still", ["os.kill(os.getpid(), 19)", "time.sleep(600)"], ids=["stopped", "hangs"])
def test_a_worker_that_stands_still_is_given_up_long_before_its_time_is_over(
    open_transport: Open, tmp_path: Path, still: str
) -> None:
    with open_transport(script(tmp_path, still)) as worker, pytest.raises(VanishedError) as failure:
        worker.send(PROBE, timeout_s=600)
    assert failure.value.kind == "crash" and failure.value.retryable


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "work", ["while time.monotonic() < end: pass", "while time.monotonic() < end: time.sleep(0.01)"]
)
def test_a_worker_that_works_or_wakes_now_and_then_is_waited_for(
    open_transport: Open, tmp_path: Path, work: str
) -> None:
    busy = script(tmp_path, f"end = time.monotonic() + {20 * LOOK_S}\n{work}\n{ANSWER}")
    with open_transport(busy) as worker:
        assert worker.send(PROBE, timeout_s=60) == {}


def test_a_frozen_machine_does_not_count_against_the_worker(tmp_path: Path) -> None:
    worker = script(tmp_path, f"open({str(tmp_path / 'ready')!r}, 'w')\ntime.sleep(0.5)\n{ANSWER}")
    code = (
        f"from pathlib import Path; from autocompress.targets import transport; transport.LOOK_S = {LOOK_S}\n"
        f"with transport.LocalTransport({CONFIG!r}, worker=Path({str(worker)!r})) as worker:\n"
        " print(worker._process.pid, flush=True); print(worker.send({'op': 'probe'}, timeout_s=2.0))"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    everything = coordinator.pid, int(coordinator.stdout.readline())
    assert comes_true((tmp_path / "ready").exists)
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    over = time.monotonic() + 2.5
    assert comes_true(lambda: time.monotonic() > over), "more than the coordinator waits"
    for pid in everything:
        os.kill(pid, signal.SIGCONT)
    assert coordinator.communicate()[0].strip() == "{}"


def test_a_hanging_worker_times_out_and_is_killed(open_transport: Open, tmp_path: Path) -> None:
    reply = "{'id': request['id'], 'ok': True, 'result': {'pid': os.getpid()}}"
    hang = script(tmp_path, f"print(json.dumps({reply}), flush=True)\nwhile True: time.sleep(0.01)")
    with open_transport(hang) as worker:
        pid = int(worker.send(PROBE, timeout_s=60)["pid"])
        with failing("timeout", stage="measure", retryable=True):
            worker.send({"op": "measure"}, timeout_s=1.0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    "rubbish",
    [
        "print('hello')",
        "print(json.dumps([1, 2]))",
        "print(json.dumps({'id': 99, 'ok': True, 'result': {}}))",
        "print(json.dumps({'id': 1, 'ok': True}))",
        "print(json.dumps({'id': 1, 'ok': False, 'kind': 'strange', 'message': ''}))",
        "sys.stdout.buffer.write(bytes([255, 254, 10])); sys.stdout.flush()",
    ],
)
def test_rubbish_is_a_wrong_output(open_transport: Open, tmp_path: Path, rubbish: str) -> None:
    fake = script(tmp_path, f"{rubbish}\nsys.stdout.flush()\ntime.sleep(600)")
    with open_transport(fake) as worker, failing("wrong-output"):
        worker.send(PROBE, timeout_s=20)


def test_an_endless_line_is_a_wrong_output_and_not_a_full_memory(
    open_transport: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.replies.LONGEST_REPLY", 1 << 20)
    endless = script(tmp_path, "while True: sys.stdout.write('x' * 65536)")
    with open_transport(endless) as worker, failing("wrong-output"):
        worker.send(PROBE, timeout_s=20)


def test_want_of_memory_is_told_apart_from_a_crash(open_transport: Open, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))"
    hungry = script(tmp_path, f"{limit}; bytes(1 << 30)")
    with open_transport(hungry) as worker, failing("memory"):
        worker.send(PROBE, timeout_s=20)


def test_a_missing_runtime_makes_the_target_unavailable(open_transport: Open, tmp_path: Path) -> None:
    changed = changed_worker(
        tmp_path,
        "runtimes/onnxruntime_cpu/runtime.py",
        "import onnxruntime as ort",
        "import onnxruntime_not as ort",
    )
    with open_transport(changed) as worker, pytest.raises(TargetUnavailable, match="pip install"):
        worker.send(PROBE, timeout_s=60)


def test_a_missing_python_makes_the_target_unavailable() -> None:
    with pytest.raises(TargetUnavailable, match="no-such-python"):
        LocalTransport(CONFIG, python="/no-such-python")


def test_prints_of_a_library_do_not_disturb_the_conversation(open_transport: Open, tmp_path: Path) -> None:
    talk = '(os.system("echo noise"), print("noise"), request)[2]'
    with open_transport(
        changed_worker(tmp_path, "worker.py", '"op"]](runtime, request)', f'"op"]](runtime, {talk})')
    ) as worker:
        assert worker.send(PROBE, timeout_s=60)["threads"] == 1


def test_a_worker_ends_when_its_coordinator_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from autocompress.targets.transport import LocalTransport\n"
        f"worker = LocalTransport({CONFIG!r} | {{'cores': [{min(os.sched_getaffinity(0))}]}})\n"
        "worker.send({'op': 'probe'}, timeout_s=60); print(worker._process.pid, flush=True); time.sleep(600)"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    pid = int(coordinator.stdout.readline())
    os.kill(coordinator.pid, signal.SIGKILL)
    coordinator.communicate()
    assert comes_true(lambda: ended(pid)), "the worker outlived its coordinator"
