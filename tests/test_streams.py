"""What is printed goes to any terminal, and to readers that go away."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.results.run_directory import write_run
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "autocompress", *map(str, arguments)]


def ascii_only(*arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C"}
    return subprocess.run(command(*arguments), capture_output=True, env=environment, check=False)


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "runs" / "sample"
    directory.mkdir(parents=True)
    write_run(directory, sample_run_of_two())
    return directory


@pytest.mark.parametrize(
    "arguments", [["front"], ["front", "--csv"], ["front", "--json"], ["report"], ["pick"]], ids=" ".join
)
def test_a_terminal_without_utf_8_gets_plain_characters(run, arguments):
    shown = ascii_only(arguments[0], run, *arguments[1:])
    assert shown.returncode == (1 if arguments == ["pick"] else 0) or b"file" in shown.stderr, shown.stderr
    assert b"Traceback" not in shown.stderr and (shown.stdout + shown.stderr).isascii()


def test_plain_characters_are_like_those_that_they_stand_for(run):
    assert b" +/- " in ascii_only("front", run).stdout


def test_json_for_scripts_says_the_same_to_any_terminal(run):
    shown = [
        ascii_only("front", run, "--json").stdout,
        subprocess.check_output(command("front", run, "--json")),
    ]
    assert json.loads(shown[0]) == json.loads(shown[1])


@pytest.mark.parametrize("arguments", [["front"], ["front", "--json"], ["report"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(run, arguments):
    read, write = os.pipe()
    os.close(read)
    shown = subprocess.run(
        command(arguments[0], run, *arguments[1:]), stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert shown.returncode == 0 and shown.stderr == b""


@pytest.mark.parametrize(
    "arguments", [["--version"], ["front", "RUN"], ["front", "RUN", "--json"]], ids=" ".join
)
def test_an_output_that_is_full_is_one_sentence(run, arguments):
    arguments = [str(run) if argument == "RUN" else argument for argument in arguments]
    with Path("/dev/full").open("wb") as full:
        shown = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, check=False)
    assert shown.returncode == 2
    assert shown.stderr.decode().startswith(
        "Error: Standard output cannot be written (No space left on device)"
    )
    assert shown.stderr.count(b"\n") == 1


def test_a_command_without_standard_output_works(run):
    write_run(run, sample_run())
    shown = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command("front", run)], capture_output=True, check=False
    )
    assert shown.returncode == 0 and shown.stderr == b""
