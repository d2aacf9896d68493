"""A run directory or a bundle as a side of a comparison. Only data are read; nothing of it is run."""

from pathlib import Path

from ..errors import InputError
from ..results.compare.side import Side, side_of_bundle
from ..results.records.run import Run
from ..results.run_config import CONFIGURATION, RunConfig
from ..results.run_directory import read_run
from .read_bundle import is_bundle, read_manifest


def side_at(path: Path) -> Side:
    """The run or bundle in the directory `path`, which is what it is called. InputError when it is neither,
    or damaged.
    """
    if not path.is_dir():
        raise InputError(
            f"{path} is no directory: give a run that `search` wrote, such as runs/NAME, or a bundle of "
            "`pick`."
        )
    if is_bundle(path):
        return side_of_bundle(str(path), read_manifest(path))
    return side_of_run(path, read_run(path))


def side_of_run(path: Path, run: Run) -> Side:
    """The run, which was read in the directory `path`, with what its run.toml says that it is; without that
    where it is missing: a run is whole without it.
    """
    identity = RunConfig.read(path).identity if (path / CONFIGURATION).is_file() else {}
    return Side(label=str(path), run=run, identity=identity)
