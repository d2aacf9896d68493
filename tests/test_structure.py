"""The shape of the code: folders that can be taken in, lines and names that can be read."""

import ast
import re

from autocompress.tests.package_modules import MODULES, ROOT, folders, inside

LARGEST_SHARE = 0.25  # of the package's lines, in one folder with what is below it
MOST_MODULES = 14  # directly in a folder, besides its __init__
MAP_LINES = 6  # of the docstring of a folder's __init__, at least
LONGEST_LINE = 110
MOST_DICTIONARIES = 12  # parameters that are a dictionary of anything: only where JSON comes in
MOST_VAGUE = 0.01  # of assigned names
VAGUE = frozenset("found seen told own kept item left guide further several shape_runs boxes known".split())
DICTIONARY = re.compile(r"\b(dict|Mapping|MutableMapping)\[str, Any\]")


def test_no_folder_is_more_than_a_quarter_of_the_package():
    lines = {module.name: len(module.text.splitlines()) for module in MODULES.values()}
    total = sum(lines.values())
    shares = {
        folder: sum(lines[name] for name in MODULES if inside(name, folder)) / total for folder in folders()
    }
    large = {folder: f"{share:.1%}" for folder, share in shares.items() if share > LARGEST_SHARE}
    assert large == {}, f"of {total} lines"


def test_a_folder_has_few_modules_of_its_own():
    counts = dict.fromkeys(folders(), 0)
    for module in MODULES.values():
        if module.folder and module.path.name != "__init__.py":
            counts[module.folder] += 1
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_the_docstring_of_every_folder_is_a_map_of_it():
    short = {}
    for folder in folders():
        docstring = (folder in MODULES and ast.get_docstring(MODULES[folder].tree)) or ""
        if len(docstring.splitlines()) < MAP_LINES:
            short[folder] = len(docstring.splitlines())
    assert short == {}, f"purpose, flow, reading order, what it does not know: at least {MAP_LINES} lines"


def test_lines_are_short():
    long = [
        f"{module.path}:{number}"
        for module in MODULES.values()
        for number, line in enumerate(module.text.splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert long == [], f"{len(long)} lines of more than {LONGEST_LINE} characters"


def test_parameters_are_records_and_no_dictionaries():
    dictionaries = [
        f"{module.path}:{node.lineno} {node.arg}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.arg) and node.annotation and DICTIONARY.search(ast.unparse(node.annotation))
    ]
    assert len(dictionaries) <= MOST_DICTIONARIES, "\n".join(dictionaries)


def test_names_say_something():
    assigned = [
        (node.id, f"{module.path}:{node.lineno} {node.id}")
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    vague = [place for name, place in assigned if name in VAGUE]
    share = len(vague) / len(assigned)
    assert share <= MOST_VAGUE, f"{share:.1%} of the assigned names are vague:\n" + "\n".join(vague)


def test_what_contributing_names_exists():
    named = re.findall(r"`([\w./]+/[\w./]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
