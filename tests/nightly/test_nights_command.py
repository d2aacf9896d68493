"""The command `nights`, and what `nightly` tells when a night has ended."""

from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.cli.nights import tell_of
from autocompress.nightly.config_file import read_config
from autocompress.nightly.places import Places
from autocompress.tests.nightly.sample_nights import event, model_night, night
from typer.testing import CliRunner

FILE = '[model.digits]\ntask = "digits"\nbudget = "2m"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nightly.toml with one night."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "nightly.toml").write_text(FILE)
    Places(folder=tmp_path / "nightly").write_night(night())
    return tmp_path


@pytest.mark.parametrize("place", [[], ["nightly.toml"], ["nightly"]])
def test_the_pages_are_made_again_of_the_file_or_the_folder(folder: Path, place: list[str]) -> None:
    ended = CliRunner().invoke(app, ["nights", *place])
    assert ended.exit_code == 0
    assert [Path(line).name for line in ended.stdout.split()] == [
        "index.html",
        "summary.json",
        "junit.xml",
        "summary.md",
    ]
    assert "It is slower." in (folder / "nightly" / "index.html").read_text(encoding="utf-8")


def test_other_folders_are_said_to_have_no_nights(folder: Path) -> None:
    (folder / "empty").mkdir()
    ended = CliRunner().invoke(app, ["nights", "empty"])
    assert ended.exit_code == 2 and "There are no nights in empty" in ended.stderr


def test_a_night_is_added_to_the_summary_of_a_ci_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary"))
    tell_of(read_config(folder / "nightly.toml"), night())
    assert "It is slower" in (folder / "summary").read_text(encoding="utf-8")
    assert (folder / "nightly" / "junit.xml").is_file()


def test_a_night_that_cannot_be_told_says_so_and_ends_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "nightly.toml").write_text(FILE + '[notify]\naddresses = "env:NO_SUCH_VARIABLE"\n')
    tell_of(read_config(folder / "nightly.toml"), night())
    assert "Nobody was told: The environment variable NO_SUCH_VARIABLE is empty" in capsys.readouterr().err
    assert (folder / "nightly" / "index.html").is_file()


def test_nightly_ends_with_its_pages_and_the_exit_code_of_the_night(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.nightly.night_run.run_night", lambda *_, **__: night())
    ended = CliRunner().invoke(app, ["nightly"])
    assert ended.exit_code == 4 and ended.stdout.startswith("digits on cpu: It is slower.")
    assert (folder / "nightly" / "index.html").is_file()


def test_the_same_night_is_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "nightly.toml").write_text(FILE + '[notify]\naddresses = "env:ADDRESSES"\n')
    monkeypatch.setenv("ADDRESSES", "json://one json://two")
    sent: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        "autocompress.nightly.pages.sending.send",
        lambda message, addresses, *, variable: sent.append((message.title, addresses)),
    )
    config = read_config(folder / "nightly.toml")
    for events in ((event(),), (event(),), (event(), event("target-away"))):
        tell_of(config, night(models=(model_night(events=events),)))
    assert [addresses for _, addresses in sent] == [["json://one", "json://two"]] * 2
