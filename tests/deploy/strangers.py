"""What a stranger may have done to a run or a bundle, and the commands that read one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autocompress.cli.commands import app
from autocompress.deploy.bundle import write_bundle
from autocompress.files import digest_of_file, seal
from autocompress.results.records.facts import RunTarget
from autocompress.results.run_directory import write_run
from autocompress.results.view import RunOn
from autocompress.tests.deploy.small_run import small_run
from typer.testing import CliRunner, Result

READERS = ("front", "report", "pick", "verify")


def stranger_run(folder: Path, *targets: RunTarget) -> Path:
    """A run directory, with a run.toml that names the same targets."""
    path = folder / "run"
    run = small_run(path, *targets)
    write_run(path, run)
    names = ",".join(run.target_names)
    (path / "run.toml").write_text(f'[identity]\n"task" = "linear"\n[options]\n"target" = "{names}"\n')
    return path


def stranger_bundle(folder: Path) -> Path:
    """A bundle of its second point."""
    run = small_run(folder / "made")
    point = RunOn.of(run, "cpu").points[1]
    write_bundle(point, folder / "made" / point.artifact.file, folder / "bundle")
    shutil.rmtree(folder / "made")
    return folder / "bundle"


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the JSON of a file on purpose, its digest too."""
    value = json.loads(file.read_text())
    change(value)
    sealed = "digest" in value
    value.pop("digest", None)
    file.write_text(json.dumps(seal(value) if sealed else value))


def reseal(bundle: Path) -> None:
    """Writes SHA256SUMS anew."""
    names = sorted(path.name for path in bundle.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{digest_of_file(bundle / name)}  {name}\n" for name in names]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def read_by(command: str, path: Path, *options: str) -> Result:
    """What one of READERS does with a run or bundle; `pick` writes to `out` beside it."""
    if command == "pick":
        options = ("--out", str(path.parent / "out"), *options)
    return CliRunner().invoke(app, [command, str(path), *options])


def require_sentence(ended: Result, *words: str) -> None:
    """It ended with exit code 2 and one sentence."""
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    assert ended.exit_code == 2, ended.output
    (line,) = ended.output.strip().splitlines()[-1:]
    assert line.startswith("Error: ") and all(word in line for word in words), line
