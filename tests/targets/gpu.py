"""A GPU for tests that have none: libcuda.so.1 compiled from fake_gpu/cuda.c, and a fake TensorRT that runs
on it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_gpu")


def fake_driver(folder: Path) -> Path:
    """The folder with the compiled driver. Skips the test without a C compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("the fake CUDA driver is compiled: install gcc")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(FAKE / "cuda.c")], check=True)
    return folder


def use_fake_gpu(
    monkeypatch: pytest.MonkeyPatch, *, driver: Path, cache: Path, version: str = "10.3.0"
) -> None:
    """Lets workers that start from here find the fake driver and the fake TensorRT (and TensorRT for RTX)."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_TENSORRT", version)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def kept_engines(cache: Path) -> list[Path]:
    """The engine files in the cache of `use_fake_gpu`, sorted by name."""
    return sorted((cache / "autocompress" / "tensorrt").glob("*.engine"))
