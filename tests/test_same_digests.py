"""`search --deterministic` in fresh processes: the same recipes and files, under other load, with other hashes."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from autocompress.benchmarks.same_digests import digests
from autocompress.results.run_directory import write_run
from autocompress.tests.restless import measuring
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.test_cli import TASK


def searched(folder: Path, name: str, *, hashes: str) -> Path:
    """A run in a process and a cache of its own."""
    run = folder / name
    options = ["--trials", "6", "--deterministic", "--out", str(run)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache-{name}"), "PYTHONHASHSEED": hashes}
    done = measuring("search", "task.py:make", *options, cwd=folder, env=environment, timeout_s=500)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.serial
@pytest.mark.slow
def test_two_processes_try_the_same_candidates_and_build_the_same_files_under_load(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    first = digests(searched(tmp_path, "first", hashes="1"))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            second = digests(searched(tmp_path, "second", hashes="2"))
        finally:
            busy.kill()
    assert len(first) == 6 and first == second


def test_digests_are_those_of_the_recipe_and_of_each_targets_file(tmp_path: Path) -> None:
    run = sample_run()
    write_run(tmp_path, run)
    seen = digests(tmp_path)
    assert seen.keys() == {point.trial for point in run.points}
    assert seen[0][0] == run.baseline.recipe.digest
    assert seen[0][1:] == tuple(outcome.artifact.digest for outcome in run.baseline.outcomes.values())
