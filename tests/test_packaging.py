"""The wheel holds what a user needs, and starts fast; type checkers understand an editable install."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from autocompress.tests.waiting import start_up_ratio

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what Git would commit."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def environment(folder, *pip_arguments, borrow=False):
    """A new virtual environment after `pip install`; returns its `autocompress`.

    borrow: what is installed beside these tests can be imported in it, too.
    """
    venv.create(folder, with_pip=False)
    if borrow:
        dependencies = next(path for path in sys.path if path.endswith("site-packages"))
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "dependencies.pth").write_text(dependencies + os.linesep)
        pip_arguments = ("--no-deps", "--no-build-isolation", *pip_arguments)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    subprocess.run([*pip, "install", "--quiet", *pip_arguments], check=True, capture_output=True)
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
        "targets/on_device/runtimes/listed.json",
        "targets/on_device/runtimes/tensorrt_rtx_gpu/runtime.py",
        "targets/on_device/runtimes/tensorrt_rtx_gpu/facts.json",
        "py.typed",
    } <= names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]


def test_installed_wheel_starts_fast_and_finds_its_profiles(wheel, tmp_path):
    """The dependencies come from this environment; `test_wheel_installs_from_nothing` downloads them."""
    command = environment(tmp_path / "venv", str(wheel), borrow=True)
    assert run(command, "--version", cwd=tmp_path).stdout == f"autocompress {version('autocompress')}\n"
    assert "search" in run(command, "--help", cwd=tmp_path).stdout
    ratio = start_up_ratio([command, "--help"], python=command.with_name("python"), cwd=tmp_path)
    assert ratio < 5  # half a second
    listed = run(command, "targets", cwd=tmp_path)
    assert listed.returncode == 0 and "cpu-2t" in listed.stdout


USER_FILE = """
from autocompress.profiles import load_profile
from autocompress.written_later import ANSWER

reveal_type(load_profile("cpu"))
wrong: int = load_profile("cpu").name
right: int = ANSWER
"""
USER_CONFIG = """
[mypy]
[mypy-torch.*]
follow_imports = skip
"""  # to read torch takes 10 s


def test_type_checkers_resolve_an_editable_install_and_files_that_were_written_later(source, tmp_path):
    environment(tmp_path / "venv", "--editable", str(source), borrow=True)
    (source / "written_later.py").write_text("ANSWER = 42\n")
    (tmp_path / "user.py").write_text(USER_FILE)
    (tmp_path / "mypy.ini").write_text(USER_CONFIG)
    python = tmp_path / "venv" / "bin" / "python"
    checked = run(sys.executable, "-m", "mypy", "--python-executable", python, "user.py", cwd=tmp_path)
    (source / "written_later.py").unlink()
    assert 'Revealed type is "autocompress.profiles.profile.Profile"' in checked.stdout
    assert 'user.py:6: error: Incompatible types in assignment (expression has type "str"' in checked.stdout
    assert "Found 1 error in 1 file" in checked.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_wheel_installs_from_nothing(wheel, tmp_path):
    command = environment(tmp_path / "venv", f"torch=={version('torch')}", str(wheel))
    done = run(command, "search", "--trials", "2", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
