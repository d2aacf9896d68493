"""Shell completion: tasks, targets and runs, without importing torch and without running code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.cli.console.completion import complete_run, complete_target, complete_task
from autocompress.results.run_directory import write_run
from autocompress.tests.results.sample_run import sample_run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task file, a target's file and a run."""
    (tmp_path / "mine.py").write_text(
        "raise SystemExit\ndef make(): ...\ndef many(): ...\ndef _part(): ...\n"
    )
    (tmp_path / "edge.toml").write_text("")
    (tmp_path / "runs" / "digits-cpu").mkdir(parents=True)
    write_run(tmp_path / "runs" / "digits-cpu", sample_run())
    (tmp_path / "runs" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("incomplete", "completed"),
    [
        ("di", ["digits"]),
        ("ti", ["timm:"]),
        ("ul", ["ultralytics:"]),
        ("m", ["mine.py"]),
        ("mine.py:m", ["mine.py:make", "mine.py:many"]),
        ("ru", ["runs/"]),
        ("nowhere/x", []),
        ("nowhere.py:", []),
    ],
)
def test_tasks_are_built_in_ones_files_and_their_functions(incomplete, completed):
    assert complete_task(incomplete) == completed


def test_targets_complete_behind_a_comma():
    assert "cpu-2t" in complete_target("cpu") and "edge.toml" in complete_target("e")
    assert complete_target("cpu,ed") == ["cpu,edge.toml"]
    assert "cpu,jetson" in complete_target("cpu,jet")


def test_runs_come_before_folders():
    assert complete_run("runs/")[0] == "runs/digits-cpu" and "runs/notes/" in complete_run("runs/")
    assert complete_run("")[0] == "runs/digits-cpu" and complete_run("runs/x") == []


COMPLETE = """
import sys
from autocompress.cli.app import main
sys.argv = ["autocompress"]
try:
    main()
finally:
    print([name for name in ("torch", "onnx", "numpy") if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [("autocompress search di", "digits"), ("autocompress front ", "runs/digits-cpu"),
     ("autocompress search --target cpu-2", "cpu-2t")],
)  # fmt: skip
def test_bash_gets_completions_without_a_heavy_import(words, completed):
    count = str(len(words.split(" ")) - 1)
    asked = {"_AUTOCOMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
        check=False,
    )
    assert completed in done.stdout.splitlines() and done.stderr.strip().endswith("[]"), done.stderr
