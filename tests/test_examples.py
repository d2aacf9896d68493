"""The examples run as the README says."""

import runpy
import shlex
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from typer.testing import CliRunner

OWN_IMAGES = Path(__file__).parents[1] / "examples" / "own_images.py"


@pytest.mark.slow
def test_the_example_of_own_images_prints_the_command_that_searches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(OWN_IMAGES), str(tmp_path / "mine"), "--epochs", "1"])
    runpy.run_path(str(OWN_IMAGES), run_name="__main__")
    program, *arguments = shlex.split(capsys.readouterr().out)
    assert program == "autocompress" and len(list((tmp_path / "mine").rglob("*.png"))) == 1797
    planned = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run"), "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "image-folder-mine" in planned.output
