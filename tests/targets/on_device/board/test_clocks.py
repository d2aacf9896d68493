"""Setting the clocks of a Jetson and putting them back, with stand-ins for NVIDIA's tools that change a
recorded tree.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from autocompress.errors import TargetUnavailable
from autocompress.targets.on_device.board import clocks
from autocompress.targets.on_device.board import state as care
from autocompress.targets.on_device.board.clocks import CannotSetError, Clocks
from autocompress.targets.target import default_cores
from autocompress.targets.transport import LocalTransport
from autocompress.tests.targets.boards import Jetson
from autocompress.tests.waiting import comes_true, ended


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    found = Jetson(tmp_path)
    monkeypatch.setenv("PATH", found.path)
    return found


def clocks_of(jetson: Jetson) -> Clocks:
    return Clocks(jetson.bin.parent / "state", root=str(jetson.tree))


def test_the_mode_is_set_the_clocks_are_fixed_and_both_come_back(jetson: Jetson) -> None:
    before = care.read_state(str(jetson.tree))
    ours = clocks_of(jetson)
    assert ours.set("MAXN_SUPER") == {"before": "25W", "power_mode": "MAXN_SUPER"}
    meanwhile = care.read_state(str(jetson.tree))
    assert (meanwhile.power_mode, meanwhile.clocks_fixed) == ("MAXN_SUPER", True)
    assert ours.restore()
    assert care.read_state(str(jetson.tree)) == before
    assert not ours.restore(), "there is nothing left to restore"


def test_without_a_mode_the_present_one_stays(jetson: Jetson) -> None:
    ours = clocks_of(jetson)
    assert ours.set(None) == {"before": "25W", "power_mode": "25W"}
    assert not any(line.startswith("nvpmodel") for line in jetson.called)
    ours.restore()
    assert care.clocks_fixed(str(jetson.tree)) is False


def test_a_mode_that_needs_a_reboot_is_refused_and_nothing_stays_changed(jetson: Jetson) -> None:
    before = care.read_state(str(jetson.tree))
    with pytest.raises(CannotSetError, match=r"7W needs a reboot.*sudo nvpmodel -m 3"):
        clocks_of(jetson).set("7W")
    assert care.read_state(str(jetson.tree)) == before
    assert jetson.called != ["rebooted"]


@pytest.mark.parametrize("mode", ["MAXN", "50W"])
def test_a_mode_that_the_board_lacks_is_refused_with_those_it_has(jetson: Jetson, mode: str) -> None:
    with pytest.raises(CannotSetError, match=rf"no power mode '{mode}', but 15W, 25W, MAXN_SUPER, 7W"):
        clocks_of(jetson).set(mode)
    assert jetson.called == []


def test_what_fails_half_way_is_put_back(jetson: Jetson) -> None:
    before = care.read_state(str(jetson.tree))
    jetson.break_jetson_clocks()
    with pytest.raises(CannotSetError, match="unsupported SOC"):
        clocks_of(jetson).set("15W")
    assert care.read_state(str(jetson.tree)) == before


def test_without_rights_nothing_is_called_and_the_sudoers_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetson = Jetson(tmp_path, rights=False)
    monkeypatch.setenv("PATH", jetson.path)
    with pytest.raises(
        CannotSetError,
        match=r"NOPASSWD: /usr/sbin/nvpmodel, /usr/bin/jetson_clocks' \| sudo tee /etc/sudoers.d/",
    ):
        clocks_of(jetson).set("15W")
    assert (jetson.called, clocks.may_set()) == ([], False)


def test_rights_are_seen_without_using_them(jetson: Jetson) -> None:
    assert (clocks.may_set(), jetson.called) == (True, [])


def test_a_second_search_is_refused_while_the_first_holds_the_clocks(
    jetson: Jetson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "LOCK_WAIT_S", 0.5)
    ours = clocks_of(jetson)
    ours.set("15W")
    with pytest.raises(CannotSetError, match="Another search"):
        clocks_of(jetson).set("MAXN_SUPER")
    assert not clocks_of(jetson).restore_left_behind(), "its owner still lives"
    assert care.power_mode(str(jetson.tree)) == "15W"
    ours.restore()
    assert care.power_mode(str(jetson.tree)) == "25W"


def test_what_a_killed_process_left_is_put_back_by_the_next_one(jetson: Jetson) -> None:
    before = care.read_state(str(jetson.tree))
    _set_and_be_killed(jetson, "15W")
    assert care.power_mode(str(jetson.tree)) == "15W"
    assert clocks_of(jetson).restore_left_behind()
    assert care.read_state(str(jetson.tree)) == before


def test_setting_after_a_killed_process_keeps_what_was_there_first(jetson: Jetson) -> None:
    before = care.read_state(str(jetson.tree))
    _set_and_be_killed(jetson, "15W")
    ours = clocks_of(jetson)
    assert ours.set("MAXN_SUPER")["before"] == "25W"
    ours.restore()
    assert care.read_state(str(jetson.tree)) == before


def test_a_pc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotSetError, match="no nvpmodel power modes"):
        Clocks(tmp_path / "state", root=str(tmp_path)).set("15W")


# --- through the worker


@pytest.fixture
def worker(jetson: Jetson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTransport]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with open_worker(jetson) as opened:
        yield opened


def config_of(jetson: Jetson) -> dict[str, Any]:
    return {
        "runtime": "onnxruntime",
        "cores": default_cores(1),
        "threads": 1,
        "timer": "thread-cpu",
        "root": str(jetson.tree),
    }


def open_worker(jetson: Jetson) -> LocalTransport:
    return LocalTransport(config_of(jetson))


def mode_becomes(jetson: Jetson, mode: str) -> bool:
    """Whether the board comes into this mode, with free clocks."""
    return comes_true(
        lambda: (care.power_mode(str(jetson.tree)), care.clocks_fixed(str(jetson.tree))) == (mode, False)
    )


def test_a_worker_sets_the_clocks_and_puts_them_back(jetson: Jetson, worker: LocalTransport) -> None:
    assert worker.send({"op": "set_clocks", "power_mode": "15W"}, timeout_s=60) == {
        "before": "25W",
        "power_mode": "15W",
    }
    seen = worker.send({"op": "probe"}, timeout_s=60)
    assert (seen["power_mode"], seen["governor"]) == ("15W", "fixed")
    worker.send({"op": "restore_clocks"}, timeout_s=60)
    seen = worker.send({"op": "probe"}, timeout_s=60)
    assert seen["power_mode"] == "25W" and seen["governor"] != "fixed"


def test_a_refusal_makes_the_target_unavailable(jetson: Jetson, worker: LocalTransport) -> None:
    with pytest.raises(TargetUnavailable, match="7W needs a reboot"):
        worker.send({"op": "set_clocks", "power_mode": "7W"}, timeout_s=60)
    assert worker.send({"op": "probe"}, timeout_s=60)["power_mode"] == "25W"


def test_clocks_come_back_when_the_worker_is_killed(jetson: Jetson, worker: LocalTransport) -> None:
    worker.send({"op": "set_clocks", "power_mode": "15W"}, timeout_s=60)
    worker.close()  # SIGKILL to the worker and everything in its session
    assert mode_becomes(jetson, "25W")


def test_clocks_come_back_when_the_coordinator_is_killed(jetson: Jetson, tmp_path: Path) -> None:
    script = (
        "import os, signal; from pathlib import Path; from autocompress.targets.transport import "
        f"LocalTransport; worker = LocalTransport({config_of(jetson)}); "
        "worker.send({'op': 'set_clocks', 'power_mode': '15W'}, timeout_s=60); os.kill(os.getpid(), "
        "signal.SIGKILL)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    assert mode_becomes(jetson, "25W")


def test_the_next_worker_puts_back_what_a_killed_guard_left(
    jetson: Jetson, worker: LocalTransport, tmp_path: Path
) -> None:
    worker.send({"op": "set_clocks", "power_mode": "15W"}, timeout_s=60)
    guards = subprocess.run(
        ["pgrep", "-f", f"clocks import guard.*{jetson.tree}"], capture_output=True, text=True, check=True
    )
    for pid in map(int, guards.stdout.split()):
        os.kill(pid, signal.SIGKILL)
        assert comes_true(partial(ended, pid))
    worker.close()
    assert care.power_mode(str(jetson.tree)) == "15W"
    with open_worker(jetson) as following:
        assert following.send({"op": "probe"}, timeout_s=60)["power_mode"] == "25W"


def _set_and_be_killed(jetson: Jetson, mode: str) -> None:
    state = jetson.bin.parent / "state"
    script = (
        "import os, signal; from pathlib import Path; from on_device.board.clocks import Clocks; "
        f"Clocks(Path({str(state)!r}), root={str(jetson.tree)!r}).set({mode!r}); os.kill(os.getpid(), "
        "signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(clocks.__file__).parents[2], capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()
