"""`search --runtimes` with real runtimes: killed, continued, and a bundle for the runtime of the picked point."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from autocompress.results.run_directory import read_run
from autocompress.tests.test_cli import TASK
from autocompress.tests.waiting import comes_true

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install ai-edge-litert")

COMMAND = [sys.executable, "-m", "autocompress"]
SEARCH = (
    "search task.py:make --runtimes onnxruntime,litert --no-recovery --sampler random --trials 3 --out run"
)


def done(folder: Path, command: list[str]) -> str:
    """The stdout of a command that ended well."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def killed_after_the_original(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, *SEARCH.split()], cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True
    ) as search:
        assert comes_true((folder / "run" / "in_turns.json").is_file, timeout_s=240)
        os.killpg(search.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_front_over_two_runtimes_survives_a_kill_and_gives_a_bundle(tmp_path, monkeypatch):
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    killed_after_the_original(tmp_path)
    before = json.loads((tmp_path / "run" / "in_turns.json").read_text())["ratios"]["cpu-litert"]
    value = json.loads(done(tmp_path, [*COMMAND, *SEARCH.split(), "--json"]).splitlines()[-1])
    after = json.loads((tmp_path / "run" / "in_turns.json").read_text())["ratios"]["cpu-litert"]
    assert after[: len(before)] == before  # what was timed stays
    run = read_run(tmp_path / "run")
    assert run.device is not None and len(run.points) == 3
    assert value["originals"].keys() == {"cpu", "cpu-litert"} == run.in_turns.keys()
    done(tmp_path, [*COMMAND, *"pick run --allow-slower --minimize size --out bundle".split()])
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    ending = {"onnxruntime": "onnx", "litert": "tflite"}[manifest["target"]["runtime"]]
    assert (tmp_path / "bundle" / f"model.{ending}").is_file()
    assert "float32" in done(tmp_path, [sys.executable, "bundle/run.py"])
