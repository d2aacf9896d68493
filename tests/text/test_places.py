"""Text leaves through few places, which all go through text/."""

import re

import pytest
from autocompress.tests.package_modules import MODULES, inside


@pytest.mark.parametrize(
    ("pattern", "only"),
    [
        pytest.param(r"^\s*(from|import) html\b|rich\.markup|markup=True", {"text.printable"}, id="markup"),
        pytest.param(r"sys\.stderr\.write|sys\.stdout\.write|typer\.echo", set(), id="raw-streams"),
    ],
)
def test_nobody_else_makes_markup_or_writes_to_a_terminal(pattern, only):
    places = {module.name for module in MODULES.values() if re.search(pattern, module.text, re.MULTILINE)}
    assert places == only


def test_commands_print_json_that_any_terminal_can_show():
    places = [
        module.name
        for module in MODULES.values()
        if inside(module.name, "cli") and "json.dumps" in module.text
    ]
    assert places == []


def test_commands_print_what_is_printable():
    """Lines go through `show` and `say`. A bare `print` is for what is made of printable lines."""
    safe = r"print\((json_text|front_json|front_csv|printable|log_line|f\"\{title\}:\"|f\"autocompress |\*reports|f\"Error: \{_STDOUT)"
    bare = [
        f"{module.name}: {line.strip()}"
        for module in MODULES.values()
        if inside(module.name, "cli")
        for line in module.text.splitlines()
        if re.search(r"(?<![\w.])print\(", line) and not re.search(safe, line)
    ]
    assert bare == []
