"""`autocompress serve` as a process: the first start, searches of its own worker, kills and ends."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from autocompress.errors import InputError
from autocompress.service.client import Client
from autocompress.tests.waiting import SEARCH_PATIENCE_S, comes_true

SHORT = {"trials": 3, "recovery": False}


class Process:
    """A running `autocompress serve`."""

    def __init__(self, data: Path, *options: str, token: str = ""):
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "autocompress",
            "serve",
            "--data",
            str(data),
            "--port",
            "0",
            *options,
        ]
        self.err = data.parent / "err"
        with self.err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)
        assert comes_true(lambda: "serves at" in self.err.read_text() or self.process.poll() is not None)
        found = re.search(r"serves at (\S+),", self.err.read_text())
        assert found, self.err.read_text()
        self.url = found[1]
        self.token = token or self._line().rpartition(" ")[2].strip()
        self.client = Client(self.url, token=self.token)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def worker(self) -> int | None:
        """The process of the worker beside it."""
        return next((pid for pid in children(self.process.pid) if b"worker" in command_of(pid)), None)

    def end(self) -> str:
        """Ends it as a system does; what else it printed."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=120)
        return out


def command_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(one)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for one in (task / "children").read_text().split()
        ]
    return []


@contextmanager
def serving(data: Path, *options: str, token: str = ""):
    process = Process(data, *options, token=token)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end()
        if process.process.stdout:
            process.process.stdout.close()


def submitted(process: Process, **options):
    from autocompress.service.order import Order

    return process.client.submit_order(Order(**{**SHORT, **options}))


def state_of(search) -> str:
    return search.refresh()["state"]


def measured(search) -> int:
    return int(search.refresh()["progress"].get("measured", 0))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_first_start_needs_nothing_and_a_search_goes_on_over_kills_and_starts(tmp_path):
    data = tmp_path / "data"
    with serving(data, "--lease", "5s") as first:
        token = first.token
        assert token.startswith("acp_")
        search = submitted(first, trials=4)
        assert comes_true(lambda: measured(search) >= 1, timeout_s=SEARCH_PATIENCE_S)
        os.kill(first.worker(), signal.SIGKILL)
        assert comes_true(lambda: search.refresh()["attempt"] >= 2, timeout_s=60)
        before = measured(search)
        assert first.end() == ""  # no second token, nothing else on stdout
    assert before >= 1
    assert comes_true(lambda: not [pid for pid in Path("/proc").glob("[0-9]*") if _is_of(pid, data)])
    with serving(data, token=token) as second:
        again = second.client.search(search.id)
        assert comes_true(lambda: state_of(again) == "finished", timeout_s=SEARCH_PATIENCE_S), again.refresh()
        points = [point["trial"] for point in again.points()]
    assert len(points) == len(set(points)) >= 4
    secret = token.encode()
    files = [path for path in data.rglob("*") if path.is_file()]
    assert [path for path in files if secret in path.read_bytes()] == []


def _is_of(pid: Path, data: Path) -> bool:
    with suppress(OSError):
        return str(data).encode() in (pid / "cmdline").read_bytes()
    return False


@pytest.mark.timeout(900)
def test_pause_stops_a_running_search_safely_and_another_start_of_the_port_is_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "serve.toml").write_text('[search]\nmemory = "3GB"\n')
    with serving(data) as process:
        search = submitted(process, trials=9)
        written = data / "runs" / search.id / "run.toml"
        assert comes_true(lambda: written.is_file() and "--memory 3GB" in written.read_text())
        assert comes_true(lambda: state_of(search) == "running")
        search.pause()
        assert comes_true(lambda: state_of(search) == "paused", timeout_s=SEARCH_PATIENCE_S), search.refresh()
        search.cancel()
        assert state_of(search) == "cancelled"
        command = [sys.executable, "-m", "autocompress", "serve", "--data", str(data), "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "is in use by autocompress serve" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "there is no token yet"),
        (["--port", "0", "--config", "nothing.toml"], "There is no file nothing.toml"),
        (["--port", "0", "--key", "x"], "belong together"),
        (["--port", "0", "--database", "mysql://x/y"], "no address of PostgreSQL"),
        (["--host", "203.0.113.9", "--port", "0"], "cannot be listened on"),
        (["--token-for", "ana", "--scope", "root"], "There is no scope 'root'"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(tmp_path, options, words):
    command = [sys.executable, "-m", "autocompress", "serve", "--data", str(tmp_path / "data"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and words in done.stderr and done.stdout == ""


def test_the_client_says_what_is_wrong(tmp_path):
    from autocompress.errors import TargetUnavailable

    with pytest.raises(InputError, match="no address of a service"):
        Client("ftp://x", token="t")
    with pytest.raises(TargetUnavailable, match="cannot be reached"):
        list(Client("http://127.0.0.1:1", token="t").searches())
