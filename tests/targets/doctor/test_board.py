"""`targets doctor T@user@host` tells everything that a board lacks, with the command that mends it. A real
SSH server.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.profiles import load_profile
from autocompress.profiles.profile import Profile
from autocompress.targets.doctor import doctor
from autocompress.targets.on_device.runtimes.finding import Finding
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.pool.two_boards import OTHER_PYTHON, another_board, reached
from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def server(ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """The server, whose client configuration is the user's own."""
    ssh_server.put_on_path(tmp_path, monkeypatch)
    return ssh_server


def findings(server: Sshd, profile: Profile) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor(profile, server.address)}


def on(server: Sshd) -> Profile:
    return replace(load_profile("cpu"), python=str(server.python))


def test_a_board_that_is_well_is_measured_on(server: Sshd) -> None:
    seen = findings(server, on(server))
    assert "peak memory" not in seen and "lease" not in seen  # those are about this machine
    assert (
        list(seen)[:6] == ["connection", "architecture", "modules", "disk", "lock", "runtime"]
        and "A/A control" in seen
    )
    assert all(
        seen[name].ok
        for name in ("connection", "architecture", "modules", "disk", "lock", "runtime", "A/A control")
    )


def test_several_boards_are_examined_each_and_compared(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.pool.alike.TIMING", QUICK)
    with another_board(differs=OTHER_PYTHON) as other:
        target = reached(ssh_server, other, tmp_path, monkeypatch)
        alone = CliRunner().invoke(app, ["targets", "doctor", target])
        monkeypatch.setattr("autocompress.targets.pool.alike.TOLERANCE", 100.0)  # beside other tests
        other.python.write_text(ssh_server.python.read_text())
        alike = CliRunner().invoke(app, ["targets", "doctor", target])
    assert alone.exit_code == 3 and alike.exit_code == 0
    assert "MISSING boards: The boards of 'edge' are not of one kind: python_version" in alone.output
    for name in ("left", "right"):
        assert f"ok      {name}: connection" in alone.output
    assert "ok      boards: of one kind: a model takes " in alike.output


@pytest.mark.parametrize("good", [True, False], ids=["usable", "unusable"])
def test_the_exit_code_tells_whether_the_board_can_be_used(server: Sshd, tmp_path: Path, good: bool) -> None:
    (tmp_path / "edge.toml").write_text(
        f'inherits = "cpu"\npython = "{server.python if good else "/no-such-python"}"'
    )
    result = CliRunner().invoke(app, ["targets", "doctor", f"{tmp_path}/edge.toml@127.0.0.1:{server.port}"])
    assert result.exit_code == (0 if good else 3), result.output
    assert ("ok      connection" if good else "MISSING python") in result.output
    told = json.loads(
        CliRunner()
        .invoke(app, ["targets", "doctor", f"{tmp_path}/edge.toml@127.0.0.1:{server.port}", "--json"])
        .stdout
    )
    assert any(finding["needed"] and not finding["ok"] for finding in told) == (not good)


def test_what_is_missing_and_what_is_worth_a_look_are_marked_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [
        Finding(name="load", ok=False, detail="0.9", remedy="end it"),
        Finding(name="disk", ok=False, detail="full", needed=True),
    ]
    monkeypatch.setattr("autocompress.targets.doctor.doctor", lambda *_: seen)
    result = CliRunner().invoke(app, ["targets", "doctor"])
    assert result.exit_code == 3
    assert result.stdout.startswith("note    load: 0.9\n        end it\nMISSING disk: full\n")


def test_a_board_that_cannot_be_reached_is_the_only_finding(server: Sshd) -> None:
    (finding,) = doctor(on(server), replace(server.address, port=1))
    assert (finding.name, finding.ok, finding.needed) == (
        "refused",
        False,
        True,
    ) and "systemctl" in finding.remedy


def test_a_profile_of_another_architecture_is_told(server: Sshd) -> None:
    seen = findings(server, replace(on(server), name="raspberry-pi-9", architecture="sparc64"))[
        "architecture"
    ]
    assert not seen.ok and "the target raspberry-pi-9 is for sparc64" in seen.detail


def test_missing_modules_are_told_with_the_command_that_installs_them(server: Sshd) -> None:
    bare = server.folder / "bare"
    bare.write_text('#!/bin/sh\nexec /usr/bin/env python3 -S "$@"\n')
    bare.chmod(0o755)
    seen = findings(server, replace(on(server), python=str(bare)))["modules"]
    assert "lacks numpy, onnxruntime" in seen.detail and not seen.ok
    assert seen.remedy == f'ssh -p {server.port} 127.0.0.1 "{bare} -m pip install onnxruntime numpy"'


@pytest.mark.parametrize(
    ("name", "installs"),
    [
        ("jetson", '-t "sudo apt install python3-libnvinfer python3-numpy"'),
        ("gpu", '-m pip install --extra-index-url https://pypi.nvidia.com tensorrt numpy"'),
    ],
)
def test_what_installs_tensorrt_on_a_board_is_one_command(server: Sshd, name: str, installs: str) -> None:
    seen = findings(server, replace(load_profile(name), python=str(server.python)))["modules"]
    assert "lacks tensorrt" in seen.detail and seen.remedy.endswith(installs) and " or " not in seen.remedy


def test_a_python_that_is_too_old_is_told(server: Sshd) -> None:
    old = server.folder / "old"
    code = (
        "import sys; sys.version_info = (3, 6, 9); code = sys.argv[2]; "
        "sys.argv = ['-c', sys.argv[3]]; exec(code)"
    )
    old.write_text(f"#!/usr/bin/env python3\n{code}\n")
    old.chmod(0o755)
    (finding,) = doctor(replace(on(server), python=str(old)), server.address)
    assert (
        finding.name == "python"
        and "needs Python 3.8 or newer" in finding.detail
        and "`python`" in finding.remedy
    )


def test_a_disk_that_is_nearly_full_is_told(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.targets.doctor.board.ROOM_BYTES", 1 << 60)
    seen = findings(server, on(server))["disk"]
    assert not seen.ok and f"ssh -p {server.port} 127.0.0.1 df -h" in seen.remedy


def test_missing_rights_for_the_power_mode_are_told_with_the_line_that_gives_them(server: Sshd) -> None:
    seen = findings(server, replace(on(server), power_mode="MAXN"))["rights"]
    assert not seen.ok and "sudoers.d/autocompress" in seen.remedy and "nvpmodel" in seen.remedy


def test_a_lock_that_not_all_users_can_write_to_is_told_with_the_command_that_shows_it(server: Sshd) -> None:
    lock = server.folder / "locks" / "autocompress-device.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # not even root can write to it
    seen = findings(server, on(server))
    lock.rmdir()
    assert (
        not seen["lock"].ok
        and f"{lock}: Is a directory" in seen["lock"].detail
        and "ls -ld" in seen["lock"].remedy
    )
    assert seen["disk"].ok and "runtime" not in seen


def test_who_else_measures_on_the_board_is_told(server: Sshd) -> None:
    other = server.board(standby=False)
    with other.measuring():
        seen = findings(server, replace(on(server), architecture="sparc64"))["lock"]
    other.close()
    assert not seen.ok and "is measuring there" in seen.detail and "process" in seen.detail
