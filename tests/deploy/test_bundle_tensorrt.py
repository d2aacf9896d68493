"""The bundle for a GPU: it holds no engine, but what builds one where it runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autocompress.deploy.bundle import write_bundle
from autocompress.files import digest_of_file
from autocompress.results.view import RunOn
from autocompress.tests.deploy.small_run import small_run, target
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import fake_driver, kept_engines, use_fake_gpu


@pytest.fixture
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The bundle of y = 3 x; packed if the test's parameter says so."""
    artifact = models.linear(tmp_path / "artifact.onnx", width=4, scale=3.0)
    point = RunOn.of(small_run(tmp_path / "run", target("gpu", runtime="tensorrt")), "gpu").points[1]
    size = artifact.stat().st_size
    facts = replace(point.artifact, digest=digest_of_file(artifact), size_bytes=size)
    point = replace(point, measured=replace(point.measured, artifact=facts))
    out = tmp_path / "bundle"
    write_bundle(point, artifact, out, packed=getattr(request, "param", False))
    return out


def run_py(bundle: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "run.py"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("bundle", [False, True], ids=["plain", "packed"], indirect=True)
def test_run_py_builds_the_engine_once_and_runs_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_gpu(monkeypatch, driver=fake_driver(tmp_path), cache=tmp_path / "cache")
    np.save(tmp_path / "x.npy", np.full((2, 4), 2.0))
    for _ in range(2):
        seen = run_py(bundle, tmp_path / "x.npy")
        assert "(2, 4)" in seen.stdout and "[6. 6. 6. 6.]" in seen.stdout, seen.stderr
    assert len(kept_engines(tmp_path / "cache")) == 1


def test_run_py_says_what_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    seen = run_py(bundle)
    assert seen.returncode == 2 and "NVIDIA's driver" in seen.stderr and "Traceback" not in seen.stderr


def test_run_py_says_what_the_library_says(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_gpu(monkeypatch, driver=fake_driver(tmp_path), cache=tmp_path / "cache")
    monkeypatch.setenv("FAKE_TENSORRT_START", "fail")
    seen = run_py(bundle)
    assert seen.returncode == 2
    assert seen.stderr.strip() == "TensorRT does not start: CUDA initialization failure with error: 35."


def test_the_bundle_can_be_checked_whole(bundle: Path) -> None:
    assert not list(bundle.rglob("*.engine"))
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=True)
    files = [path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert checked.stdout.count(": OK") == len(files) > 10
