"""What the shell completes (`autocompress --install-completion`): tasks, targets and runs.

It runs at each press of the Tab key, so that nothing heavy is imported, and no code of a task file runs.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

RUN_FILES = frozenset({"run.toml", "front.json"})  # of which each run directory has one at least
_RUNS = Path("runs")


def complete_target(incomplete: str) -> list[str]:
    """The built-in targets and TOML files; of `cpu,ed` the last."""
    from ...profiles import ALIASES, profile_names

    before, comma, last = incomplete.rpartition(",")
    names = [*profile_names(), *ALIASES, *_files(last, ".toml")]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def complete_task(incomplete: str) -> list[str]:
    """The built-in tasks, Python files, and behind `file.py:` the functions in it."""
    from ...tasks.names import BUILT_IN, FAMILIES, file_and_function

    if ".py:" in incomplete:
        file, start = file_and_function(incomplete)
        return [f"{file}:{name}" for name in _functions(file) if name.startswith(start)]
    names = [*BUILT_IN, *(f"{name}:" for name in FAMILIES), *_files(incomplete, ".py")]
    return [name for name in names if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """The run directories below `runs`, and folders."""
    runs = [str(path) for path in _folders(_RUNS) if any((path / name).is_file() for name in RUN_FILES)]
    others = [name for name in _files(incomplete, None) if name.rstrip("/") not in runs]
    return [name for name in [*runs, *others] if name.startswith(incomplete)]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _files(incomplete: str, suffix: str | None) -> Iterator[str]:
    """Folders, with `/`, and files with the suffix that begin as `incomplete` does."""
    before, slash, _ = incomplete.rpartition("/")
    folder = Path(before or slash or ".")
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield f"{before}{slash}{path.name}/"
        elif suffix is not None and path.suffix == suffix:
            yield f"{before}{slash}{path.name}"


def _functions(file: Path) -> list[str]:
    """The public functions of a Python file, which is read and not run."""
    try:
        body = ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return []
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
