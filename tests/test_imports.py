"""Imports run one way between the folders, and light where they must be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = (
    ("errors", "files"),
    ("profiles", "tasks"),
    "compress",
    "targets",
    "results",
    "search",
    "deploy",
    "cli",
    "__main__",
)
LEVELS = {
    name: level
    for level, names in enumerate(ORDER)
    for name in (names if isinstance(names, tuple) else (names,))
}
HEAVY = ("torch", "optuna", "onnxruntime", "onnx", "plotly", "scipy", "numpy", "pandas", "sklearn")
MODULES = [
    path for folder in ("", *LEVELS) for path in sorted((ROOT / folder).glob("**/*.py" if folder else "*.py"))
]


def imported(path: Path) -> set[str]:
    """Names of the package's own folders and root modules that a module imports, relatively or not."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join((*base, name)).split(".")[0] for name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "autocompress":
            found.add("autocompress")
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[0]
                for alias in node.names
                if alias.name.split(".")[0] in ("autocompress", "torch")
            }
    return found


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py" or p.parent != ROOT], ids=str)
def test_imports_run_one_way(path):
    name = path.relative_to(ROOT).parts[0].removesuffix(".py")
    own = LEVELS[name]
    upward = {other for other in imported(path) if other != name and LEVELS.get(other, -1) >= max(own, 1)}
    assert not upward, f"{path} imports {upward}"
    assert "autocompress" not in imported(path), f"{path}: imports inside the package are relative"


def test_profiles_never_import_torch():
    for path in (ROOT / "profiles").glob("*.py"):
        assert "torch" not in imported(path), path


def test_the_worker_imports_nothing_of_the_package():
    for path in (ROOT / "targets" / "on_device").glob("*.py"):
        levels = {
            node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        assert levels <= {0, 1}, path
        assert "autocompress" not in imported(path), path


@pytest.mark.parametrize(
    "code", ["import autocompress", "import autocompress.cli", "import autocompress.search"]
)
def test_importing_is_light(code):
    command = f"{code}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_public_names_load_on_first_use_and_others_are_refused():
    import autocompress

    assert {name for name in autocompress.__all__ if getattr(autocompress, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autocompress.nothing
