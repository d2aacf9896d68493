"""The folders of compress have an order, in imports inside functions and under TYPE_CHECKING too."""

import ast
from pathlib import Path

import pytest
from autocompress import compress

ROOT = Path(compress.__file__).parent
RECORDS = {"artifact", "heap", "options", "recipe", "stages"}
ALLOWED = {
    "graph": RECORDS,
    "levels": RECORDS | {"graph"},
    "student": RECORDS | {"graph", "levels"},
    "onnx_file": RECORDS | {"graph", "levels"},
    "litert_file": set(),
}


def imported(file: Path) -> set[str]:
    """The modules and folders of compress that a file below it imports."""
    depth = len(file.relative_to(ROOT).parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names.update([node.module.split(".")[0]] if node.module else [alias.name for alias in node.names])
    return names


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_itself_and_those_before_it_alone(folder: str):
    for file in (ROOT / folder).rglob("*.py"):
        assert imported(file) <= ALLOWED[folder], file.name


def test_every_folder_has_its_place_in_the_order():
    assert {file.parent.name for file in ROOT.glob("*/__init__.py")} == ALLOWED.keys()


@pytest.mark.parametrize("record", sorted(RECORDS))
def test_records_import_no_folder(record: str):
    text = (ROOT / f"{record}.py").read_text(encoding="utf-8")
    assert not any(f"from .{folder}" in text for folder in ALLOWED)
