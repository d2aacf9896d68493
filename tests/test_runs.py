"""The command `runs`: run directories below a folder, read as data."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from autocompress.cli.commands import app
from autocompress.results.choosing.recommended import named_points
from autocompress.results.run_directory import write_run
from autocompress.results.run_lock import holder, locked
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from typer.testing import CliRunner, Result

RUN = sample_run()


def run_in(folder: Path, *, status: Literal["finished", "running"]) -> None:
    folder.mkdir(parents=True)
    write_run(folder, replace(RUN, status=status))


def listed(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run, one that was killed, one of two targets, and a damaged one."""
    run_in(tmp_path / "a", status="finished")
    run_in(tmp_path / "deeper" / "b", status="running")
    (tmp_path / "c").mkdir()
    write_run(tmp_path / "c", sample_run_of_two())
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "front.json").write_text("{")
    return tmp_path


def test_runs_below_a_folder_are_listed_with_their_state(folder: Path) -> None:
    entries = {entry["path"]: entry for entry in json.loads(listed(folder, "--json").stdout)}
    states = {path.removeprefix(f"{folder}/"): entry["state"] for path, entry in entries.items()}
    assert states == {"a": "finished", "c": "finished", "d": "damaged", "deeper/b": "interrupted"}
    first = entries[str(folder / "a")]
    assert first["task"] == RUN.facts.task.name and first["targets"] == ["cpu"]
    assert first["trials"]["measured"] == len(RUN.points) and first["trials"]["failed"] == len(RUN.failures)
    assert first["size_bytes"] == (folder / "a" / "front.json").stat().st_size
    named = {name: each.point.trial for each in named_points(RUN) for name in each.names}
    assert {name: best["trial"] for name, best in first["best"].items()} == named and "fastest" in named
    assert "front.json" in entries[str(folder / "d")]["problem"]


def test_the_table_has_a_line_for_each_run(folder: Path) -> None:
    shown = listed(folder)
    assert shown.exit_code == 0 and "interrupted" in shown.stdout
    assert " latency, drop " in shown.stdout and " pp" in shown.stdout


def test_a_run_that_somebody_works_on_is_running_and_says_who(folder: Path) -> None:
    with locked(folder / "a", by="search", remedy="wait"):
        assert holder(folder / "a") == f"search (process {os.getpid()})"
        entry = json.loads(listed(folder / "a", "--json").stdout)[0]
        assert (entry["state"], entry["holder"]) == ("running", f"search (process {os.getpid()})")
    assert holder(folder / "a") == "" and holder(folder / "c") == ""


def test_the_lock_of_a_process_that_is_gone_is_nobodys(folder: Path) -> None:
    (folder / "a" / "run.lock").write_text("999999999 search")
    assert holder(folder / "a") == ""


def test_a_folder_without_runs_and_one_that_is_not_there(tmp_path: Path) -> None:
    assert "No runs below" in listed(tmp_path).stdout
    missing = listed(tmp_path / "nowhere")
    assert missing.exit_code == 2 and "There is no folder" in missing.stderr
