"""examples/nightly/: each file is one that its own tool takes, and every command in them exists."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from autocompress.cli.commands import app
from autocompress.nightly.config_file import read_config, require_tasks

FOLDER = Path(__file__).parents[1] / "examples" / "nightly"
UNITS = ("autocompress-nightly.service", "autocompress-nightly.timer")
COMMAND = re.compile(r"(?<![\w./-])(?:[\w./]*/)?autocompress (?P<arguments>n[\w./ -]*)")
CRON = re.compile(r"[\d*/,-]+( +[\d*/,-]+){4} +\S.*")


def lines_of(name: str) -> list[str]:
    """The lines of a file without comments and empty ones."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def commands() -> list[str]:
    """The arguments of every call of autocompress in the files."""
    found = [
        match["arguments"].strip()
        for path in sorted(FOLDER.iterdir())
        if path.is_file() and path.suffix != ".toml"
        for line in lines_of(path.name)
        if not re.match(r"\s*(name|key|Description)", line)
        for match in COMMAND.finditer(line)
    ]
    assert len(found) >= 4
    return found


def test_the_file_has_two_models_whose_tasks_exist():
    config = read_config(FOLDER / "nightly.toml")
    require_tasks(config)
    assert [model.name for model in config.models] == ["digits", "mine"]
    assert config.notify is not None and config.notify.addresses == "NIGHTLY_ADDRESSES"


@pytest.mark.parametrize("arguments", commands())
def test_every_command_of_the_files_is_one(arguments: str):
    words = shlex.split(arguments)
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:])
    assert context.params["file"] == Path("nightly.toml")


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd: apt-get install systemd un-skips this"
)
def test_systemd_takes_the_service_and_the_timer(tmp_path: Path):
    for name in UNITS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        here = text.replace("/srv/models/.venv/bin/autocompress", sys.executable)
        (tmp_path / name).write_text(here.replace("/srv/models", str(tmp_path)), encoding="utf-8")
    paths = [str(tmp_path / name) for name in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if "autocompress-nightly" in line]
    assert (done.returncode, about) == (0, []), done.stderr


@pytest.mark.parametrize(
    ("name", "schema"),
    [("github-nightly.yml", "vendor.github-workflows"), ("gitlab-ci.yml", "vendor.gitlab-ci")],
)
def test_workflows_follow_their_schemas(name: str, schema: str):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lines_of_the_crontab_are_some():
    settings, *jobs = lines_of("crontab")
    assert settings.startswith("MAILTO=") and jobs
    assert [line for line in jobs if not CRON.fullmatch(line)] == []
