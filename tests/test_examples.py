"""The examples run as the README says."""

import runpy
import shlex
from pathlib import Path

import nbformat
import pytest
from autocompress.cli.commands import app
from autocompress.tests.waiting import SEARCH_PATIENCE_S
from nbclient import NotebookClient
from typer.testing import CliRunner

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_search.ipynb"
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


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.filterwarnings("default")  # jupyter_client warns of its own event loop
def test_the_notebook_runs_from_the_first_cell_to_the_bundle(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    done = NotebookClient(
        notebook, timeout=SEARCH_PATIENCE_S, resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output for cell in done.cells for output in cell.get("outputs", ()) if "data" in output]
    assert "<svg" in shown[0]["data"]["text/html"] and "latency_ratio" in shown[1]["data"]["text/html"]
    assert (tmp_path / "digits-bundle" / "manifest.json").is_file()
