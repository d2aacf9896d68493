"""The wheel holds what a user needs, and starts fast."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from autocompress.tests.waiting import computed

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def environment(folder, *pip_arguments):
    """A new virtual environment with the wheel; returns its `autocompress`."""
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", *pip_arguments], check=True, capture_output=True
    )
    return folder / "bin" / "autocompress"


def run(*command, cwd):
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_wheel_holds_data_files_and_no_tests(wheel):
    names = {name.removeprefix("autocompress/") for name in zipfile.ZipFile(wheel).namelist()}
    assert {
        "profiles/devices/cpu.toml",
        "results/report/template.html",
        "results/why/limits.py",
        "py.typed",
    } <= names
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]


def test_installed_wheel_starts_within_a_second_and_finds_its_profiles(wheel, tmp_path):
    """The dependencies come from this environment; `test_wheel_installs_from_nothing` downloads them."""
    command = environment(tmp_path / "venv", "--no-deps", str(wheel))
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(dependencies + os.linesep)
    shown = [computed([command, "--help"], cwd=tmp_path) for _ in range(3)]
    assert "search" in shown[0][0] and min(seconds for _, seconds in shown) < 1.0
    listed = run(command, "targets", cwd=tmp_path)
    assert listed.returncode == 0 and "cpu-2t" in listed.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_wheel_installs_from_nothing(wheel, tmp_path):
    command = environment(tmp_path / "venv", "torch>=2.9,<2.14", str(wheel))
    done = run(command, "search", "--trials", "2", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
