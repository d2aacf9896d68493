"""The commands `nightly`, `rollback` and `gc` as a shell sees them."""

import json

import pytest
from autocompress.cli.commands import app
from autocompress.tests.nightly.stand_in import StandIn, configured, verification
from typer.testing import CliRunner


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stand-ins for all commands of a night, which a configuration in the current folder names."""
    configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    stand_in = StandIn(tmp_path)
    monkeypatch.setattr("autocompress.nightly.commands.Commands", lambda place: stand_in)
    return stand_in


def called(*words: str):
    return CliRunner().invoke(app, list(words))


def test_a_quiet_night_ends_with_0_and_says_so_first(commands):
    ended = called("nightly")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines()[0] == "Nothing got worse."
    assert "was deployed" in ended.stdout


def test_a_regression_ends_with_4_and_stands_in_the_first_line(commands):
    called("nightly")
    commands.verified = [verification(quality=0.9)]
    ended = called("nightly", "nightly.toml")
    assert ended.exit_code == 4
    assert "lost 8.00 pp" in ended.stdout.splitlines()[0]


def test_a_target_that_is_away_ends_with_3(commands):
    commands.ends["search"] = [3, 3]
    assert called("nightly").exit_code == 3


def test_json_is_the_record_with_the_reason(commands):
    ended = json.loads(called("nightly", "--json").stdout)
    assert (ended["exit_code"], ended["reason"], ended["status"]) == (0, "Nothing got worse.", "finished")
    assert ended["models"][0]["deployment"]["action"] == "deployed"


def test_a_dry_run_shows_the_command_and_writes_nothing(commands, tmp_path):
    ended = called("nightly", "--dry-run")
    assert "autocompress search digits --target cpu --out" in ended.stdout
    assert not (tmp_path / "nightly").exists()
    called("nightly")
    plan = json.loads(called("nightly", "--dry-run", "--json").stdout)
    assert plan["models"][0]["deployed"] is not None
    assert "--from" in plan["models"][0]["command"]


def test_only_takes_a_model_of_the_file(commands):
    assert called("nightly", "--only", "digits").exit_code == 0
    ended = called("nightly", "--only", "digit")
    assert (ended.exit_code, "choose digits" in ended.stderr) == (2, True)


def test_rollback_needs_something_to_go_back_to(commands):
    called("nightly")
    ended = called("rollback", "digits")
    assert (ended.exit_code, "there is no earlier version" in ended.stderr) == (2, True)


def test_gc_says_what_went(commands):
    assert (called("gc").exit_code, called("nightly").exit_code) == (2, 0)
    assert called("gc", "--dry-run").stdout.startswith("0 B would go: 0 nights")
    assert json.loads(called("gc", "--json").stdout)["nights"] == []
