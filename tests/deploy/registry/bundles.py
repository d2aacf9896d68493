"""Bundles for tests of registries."""

from pathlib import Path

from autocompress.deploy.bundle import write_bundle
from autocompress.results.run_directory import write_run
from autocompress.results.view import RunOn
from autocompress.tests.deploy.small_run import small_run


def made_bundle(folder: Path, *, trial: int = 1) -> Path:
    """`folder/bundle`, of a point of the run `folder/run`."""
    run = small_run(folder / "run")
    write_run(folder / "run", run)
    view = RunOn.of(run, "cpu")
    point = view.points[trial]
    original = folder / "run" / view.baseline.artifact.file
    out = folder / f"bundle-{trial}"
    write_bundle(point, folder / "run" / point.artifact.file, out, original=original)
    return out
