"""An aarch64 target, imitated by qemu behind a real SSH server: models run there, and no latency of it
counts.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autocompress.errors import TargetUnavailable
from autocompress.profiles import load_profile
from autocompress.targets.doctor import doctor
from autocompress.targets.target import Target, TargetSession
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK

PYTHON = Path("/var/tmp/autocompress-aarch64/python")

pytestmark = [
    pytest.mark.usefixtures("quiet_machine"),
    pytest.mark.skipif(
        not PYTHON.is_file(),
        reason=f"needs {PYTHON.parent}: apt-get install qemu-user-static && .ci/aarch64-root",
    ),
]


@pytest.fixture(scope="module")
def target(ssh_server: Sshd) -> Iterator[Target]:
    """A Raspberry Pi's profile on a board whose Python is aarch64's."""
    board = ssh_server.board(python=PYTHON, standby=False)
    yield Target(replace(load_profile("raspberry-pi-5"), threads=1), board=board)
    board.close()
    ssh_server.wait_until_quiet()


@pytest.fixture(scope="module")
def session(target: Target) -> Iterator[TargetSession]:
    """One worker for all tests: an imitated one takes seconds to start."""
    with target.session() as opened:
        yield opened


def test_the_environment_says_that_it_is_emulated(target: Target, session: TargetSession) -> None:
    environment = target.probe()
    assert environment.emulated
    assert "aarch64" in environment.os and "asimddp" in environment.flags
    assert target.board is not None and target.board.hello.machine == "aarch64"


def test_an_aarch64_target_answers_what_this_machine_answers(session: TargetSession, tmp_path: Path) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="qq")
    x = models.samples(
        tmp_path / "x.npz", np.random.default_rng(0).standard_normal((2, 16, 16, 16)).astype(np.float32)
    )
    with Target(load_profile("cpu")).session() as here:
        (expected,) = here.run(model, x, batch=2)
    (seen,) = session.run(model, x, batch=2)
    np.testing.assert_allclose(seen, expected, atol=0.06)  # one step of the quantizer
    executed = session.executed_precision(model, ["block.0.conv", "block.1.conv"])
    assert executed == {"block.0.conv": "int8", "block.1.conv": "int8"}


def test_an_emulated_latency_is_tagged_and_refused(
    target: Target, session: TargetSession, tmp_path: Path
) -> None:
    model = models.linear(tmp_path / "m.onnx")
    with pytest.raises(TargetUnavailable, match="runs under qemu"):
        session.measure(model, model, QUICK)
    taken = target.measure_once(session._worker, model, model, timing=QUICK, digests=("a", "a"))
    assert taken.environment.emulated


@pytest.mark.slow
def test_the_doctor_tells_that_a_board_is_emulated(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_server.put_on_path(tmp_path, monkeypatch)
    profile = replace(load_profile("raspberry-pi-5"), threads=1, python=str(PYTHON))
    findings = {finding.name: finding for finding in doctor(profile, ssh_server.address)}
    assert findings["architecture"].ok and findings["modules"].ok
    assert not findings["processor"].ok and "qemu" in findings["processor"].detail
    assert "A/A control" not in findings
