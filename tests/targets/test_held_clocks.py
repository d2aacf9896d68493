"""`--set-clocks` from the coordinator's side: a Target in the profile's power mode, here and over a real SSH
connection.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocompress.errors import InputError, TargetUnavailable
from autocompress.evaluation.targets import FoundTarget
from autocompress.profiles import Profile, load_profile, parse_target
from autocompress.targets import target
from autocompress.targets.doctor import doctor
from autocompress.targets.doctor.condition import condition_findings, power_mode_note
from autocompress.targets.held_clocks import ClocksOfTargets, HeldClocks
from autocompress.targets.on_device.board import state as care
from autocompress.targets.ssh import transport
from autocompress.targets.target import Target
from autocompress.targets.transport import LastingWorker, LocalTransport
from autocompress.tests import sshd
from autocompress.tests.targets import models
from autocompress.tests.targets.boards import Jetson
from autocompress.tests.targets.models import QUICK
from autocompress.tests.waiting import comes_true

pytestmark = pytest.mark.usefixtures("quiet_machine")


def on_board(mode: str | None) -> Profile:
    return replace(load_profile("cpu"), name="board", power_mode=mode)


def test_clocks_of_several_boards_are_refused_with_the_remedy() -> None:
    with (
        ClocksOfTargets(wanted=True, say=print) as clocks,
        pytest.raises(InputError, match="set the clocks on"),
    ):
        clocks.of(on_board("MAXN"), parse_target("jetson@left+right"))


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    """This machine's workers find themselves on a Jetson."""
    found = Jetson(tmp_path)
    monkeypatch.setenv("PATH", found.path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def open_worker(config: dict[str, Any], **options: Any) -> LocalTransport:
        return LocalTransport({**config, "root": str(found.tree)}, **options)

    monkeypatch.setattr(target, "LocalTransport", open_worker)
    return found


def mode(jetson: Jetson) -> tuple[str | None, bool | None]:
    return care.power_mode(str(jetson.tree)), care.clocks_fixed(str(jetson.tree))


def test_a_measurement_is_taken_in_the_profiles_mode_and_the_board_is_as_before(
    jetson: Jetson, tmp_path: Path
) -> None:
    model, profile = models.linear(tmp_path / "m.onnx", batch=1), on_board("15W")
    with ClocksOfTargets(wanted=True, say=print) as clocks:
        subject = Target(profile, clocks=clocks.of(profile))
        assert mode(jetson) == ("25W", False), "nothing happens before it is used"
        with subject.session() as session:
            measurement = session.measure(model, model, QUICK)
        assert mode(jetson) == ("15W", True)
    assert (measurement.environment.power_mode, measurement.environment.governor) == ("15W", "fixed")
    assert measurement.conditions["clocks_fixed"] is True
    assert mode(jetson) == ("25W", False)


def test_without_the_option_nothing_is_changed(jetson: Jetson) -> None:
    profile = on_board("15W")
    with ClocksOfTargets(wanted=False, say=print) as clocks:
        assert Target(profile, clocks=clocks.of(profile)).probe().power_mode == "25W"
    assert jetson.called == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_board_is_as_before_after_an_error_or_ctrl_c(jetson: Jetson, error: type[BaseException]) -> None:
    profile = on_board("MAXN_SUPER")
    with pytest.raises(error), ClocksOfTargets(wanted=True, say=print) as clocks:
        assert Target(profile, clocks=clocks.of(profile)).probe().power_mode == "MAXN_SUPER"
        raise error
    assert mode(jetson) == ("25W", False)


def test_a_mode_that_needs_a_reboot_makes_the_target_unavailable(jetson: Jetson) -> None:
    profile = on_board("7W")
    with (
        ClocksOfTargets(wanted=True, say=print) as clocks,
        pytest.raises(TargetUnavailable, match="needs a reboot"),
    ):
        Target(profile, clocks=clocks.of(profile)).probe()
    assert mode(jetson) == ("25W", False)


def test_clocks_whose_worker_died_are_set_again_before_the_next_worker(jetson: Jetson) -> None:
    profile = on_board("15W")
    held = HeldClocks(Target(profile).open_worker, power_mode="15W")
    subject = Target(profile, clocks=held)
    assert subject.probe().power_mode == "15W"
    assert isinstance(held._worker, LastingWorker)
    assert isinstance(held._worker._worker, LocalTransport)
    held._worker._worker._process.kill()
    assert comes_true(lambda: mode(jetson) == ("25W", False)), "the guard put them back"
    with subject.open_worker() as worker:
        assert worker.send({"op": "probe"}, timeout_s=60)["power_mode"] == "15W"
    held.release()
    assert mode(jetson) == ("25W", False)


def test_clocks_that_cannot_be_put_back_are_told(jetson: Jetson) -> None:
    profile, said = on_board("15W"), list[str]()
    with ClocksOfTargets(wanted=True, say=said.append) as clocks:
        Target(profile, clocks=clocks.of(profile)).probe()
        shutil.rmtree(jetson.bin)
    assert len(said) == 1 and said[0].startswith(
        "Target 'board': `sudo -n nvpmodel -m 1` cannot be run on the device"
    )


def test_a_further_board_is_not_waited_for_to_set_its_clocks() -> None:
    profile, address = on_board("15W"), parse_target("board@10.0.0.5")
    with ClocksOfTargets(wanted=True, say=print) as clocks:
        held = clocks.of(profile, address)
        assert held is not None and held.board is not None and held.board.patient
        found = FoundTarget(profile=profile, address=address, environment=None, clocks=held)
        found.open(recognize=lambda environment: None, patient=False)
        assert not held.board.patient


# --- over SSH


@pytest.fixture
def remote() -> Iterator[tuple[sshd.Sshd, Jetson]]:
    """A Jetson behind a real SSH server, whose user may run the stand-ins."""
    if sshd.SSHD is None:
        pytest.skip(sshd.MISSING)
    folder = Path(tempfile.mkdtemp(prefix="autocompress-sshd-"))
    (folder / "board").mkdir()
    server = sshd.Sshd(folder, PATH=f"{folder}/board/bin:/usr/bin:/bin")
    jetson = Jetson(folder / "board", python=str(server.python))
    for path in (folder / "board", *(folder / "board").rglob("*")):
        path.chmod(0o777)
    yield server, jetson
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_over_ssh_the_clocks_come_back_when_the_connection_drops(
    remote: tuple[sshd.Sshd, Jetson], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, jetson = remote
    real = transport.SshTransport
    monkeypatch.setattr(
        target, "SshTransport", lambda board, config: real(board, {**config, "root": str(jetson.tree)})
    )
    board = server.board(standby=False)
    held = HeldClocks(Target(on_board("15W"), board=board).open_worker, power_mode="15W")
    subject = Target(on_board("15W"), board=board, clocks=held)
    assert subject.probe().power_mode == "15W"
    server.kill_connections()
    assert comes_true(lambda: mode(jetson) == ("25W", False)), "the guard on the board put them back"
    with subject.open_worker() as worker:
        assert worker.send({"op": "probe"}, timeout_s=60)["power_mode"] == "15W", "and they are set again"
    held.release()
    assert mode(jetson) == ("25W", False)
    board.close()
    server.wait_until_quiet()


# --- what doctor and a search say


def test_doctor_tells_power_mode_clocks_temperature_and_throttling(jetson: Jetson) -> None:
    findings = {finding.name: finding for finding in doctor(on_board("MAXN_SUPER"))}
    assert findings["power mode"].detail == "25W; the profile is for MAXN_SUPER"
    assert findings["power mode"].remedy.startswith('sudo nvpmodel -m 2, or say power_mode = "25W"')
    assert findings["clocks"].ok and "--set-clocks" in findings["clocks"].detail
    assert findings["temperature"].detail == "gpu-thermal at 52 °C"
    assert findings["throttling"].detail.startswith("none now; since the start: average over-current (oc2)")


def test_doctor_tells_the_sudoers_line_where_rights_are_missing(tmp_path: Path) -> None:
    condition = care.Condition(
        state=care.read_state(str(Jetson(tmp_path).tree))._replace(active=["cpu-throttle-alert"]),
        power_modes={"1": "25W"},
        may_set=False,
        remedy="To allow it: echo …",
    )
    findings = {finding.name: finding for finding in condition_findings(on_board("25W"), condition)}
    assert findings["power mode"].ok
    assert not findings["clocks"].ok and findings["clocks"].remedy == "To allow it: echo …"
    assert not findings["throttling"].ok and findings["throttling"].detail.startswith(
        "now: cpu-throttle-alert"
    )


def test_a_machine_without_power_modes_has_no_such_findings(tmp_path: Path) -> None:
    condition = care.Condition(care.read_state(str(tmp_path)), power_modes={}, may_set=False, remedy="")
    assert list(condition_findings(on_board("MAXN"), condition)) == []


def test_another_power_mode_than_the_profiles_is_noted(jetson: Jetson) -> None:
    environment = Target(on_board(None)).probe()
    assert "is in power mode 25W, its profile is for MAXN_SUPER" in power_mode_note(
        on_board("MAXN_SUPER"), environment
    )
    assert power_mode_note(on_board("25W"), environment) == power_mode_note(on_board(None), environment) == ""
