"""Imports run one way between the folders and in no circle, and are light where they must be."""

import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.results.run_directory import write_run
from autocompress.tests.package_modules import MODULES, ORDER, imported_modules, inside
from autocompress.tests.results.sample_run import sample_run

LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}
HEAVY = ("torch", "optuna", "onnxruntime", "onnx", "plotly", "scipy", "numpy", "pandas", "sklearn")
# Imports modules one after the other, and says which one was the first to bring torch in.
IMPORT_ALL = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(f"autocompress.{name}")
    if "torch" in sys.modules:
        sys.exit(f"autocompress.{name} imports torch, itself or by what it imports")
"""
# Runs command lines one after the other in one process; prints the exit code and the heavy modules of each.
RUN_ALL = """
import sys
from autocompress.cli.app import main
for line in sys.argv[2:]:
    sys.argv[1:] = line.split()
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    loaded = [name for name in HEAVY if name in sys.modules]
    print(f"{code} {','.join(loaded)}", file=sys.__stdout__, flush=True)
"""
SEEN_BEFORE_TORCH = (
    "front nowhere", "report nowhere", "pick nowhere", "verify nowhere", "search --target cpuu",
    "search digit", "search timm:", "search nowhere.py:make", "search --from nowhere", "search --budget 2",
    "search --task-arg data=env:NOT_SET", "search --max-drop -1pp", "search --trials 0", "targets show cpuu",
    "targets doctor cpuu", "targets calibrate cpuu", "targets calibrate cpu digit", "measure nowhere.onnx",
    "targets calibrate --check -1", "pick run --minimize cost", "pick run --target cpuu --finetune 1m",
    "verify run --target cpuu", "verify run --task digit", "pick run --finetune 1m --task nowhere.py:make",
)  # fmt: skip


def test_every_import_of_the_package_is_one_of_its_modules():
    unknown = {
        (module.name, name)
        for module in MODULES.values()
        for name in imported_modules(module)
        if name not in MODULES
    }
    assert unknown == set()


def test_imports_inside_the_package_are_relative():
    absolute = re.compile(r"^\s*(import|from) autocompress\b", re.MULTILINE)
    assert [module.name for module in MODULES.values() if absolute.search(module.text)] == []


def test_no_modules_import_each_other_in_a_circle():
    """Imports under TYPE_CHECKING and inside functions count."""
    graph = {module.name: imported_modules(module) for module in MODULES.values()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle: " + " is imported by ".join(error.args[1]))


def test_imports_run_one_way_between_the_folders():
    wrong = []
    for module in MODULES.values():
        top = module.name.partition(".")[0]
        for name in imported_modules(module):
            other = name.partition(".")[0]
            # errors, files and text are the first, and may know each other
            if top and other != top and LEVELS.get(other, 99) >= max(LEVELS[top], 1):
                wrong.append(f"{module.name} imports {name}")
    assert wrong == [], f"the order is {' <- '.join(', '.join(names) for names in ORDER)}"


def test_compress_knows_no_device():
    wrong = {
        (module.name, name)
        for module in MODULES.values()
        if inside(module.name, "compress")
        for name in imported_modules(module)
        if not any(inside(name, allowed) for allowed in ("compress", "tasks", "errors", "files", "scratch"))
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", ["profiles", "results"])
def test_reading_profiles_and_runs_needs_no_torch(folder):
    names = sorted(name for name in MODULES if inside(name, folder))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_runs_on_a_device_imports_nothing_of_the_package():
    """It is copied there alone, and is a package of the name `on_device`."""
    for module in MODULES.values():
        if inside(module.name, "targets.on_device"):
            others = {name for name in imported_modules(module) if not inside(name, "targets.on_device")}
            assert others == set(), module.name


@pytest.mark.parametrize(
    "code", ["import autocompress", "import autocompress.cli", "import autocompress.explore"]
)
def test_importing_is_light(code):
    command = f"{code}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_load_on_first_use_and_others_are_refused():
    import autocompress

    assert {name for name in autocompress.__all__ if getattr(autocompress, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autocompress.nothing


def loaded_by(heavy: tuple[str, ...], lines: tuple[str, ...], folder: Path) -> list[str]:
    """`EXIT-CODE MODULES` of each command line, the modules those of `heavy` that are loaded by then."""
    code = RUN_ALL.replace("HEAVY", repr(heavy))
    command = [sys.executable, "-c", code, "autocompress", *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return [line for line in done.stdout.splitlines() if line[:2] in ("0 ", "2 ")]


def test_help_and_a_wrong_option_need_no_heavy_module(tmp_path):
    lines = ("--help", "search --help", "pick --help", "search --bugdet 3m", "serach")
    assert loaded_by(HEAVY, lines, tmp_path) == ["0 ", "0 ", "0 ", "2 ", "2 "]


def test_what_needs_no_torch_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run", sample_run())
    heavy = ("torch", "optuna", "onnxruntime", "scipy", "sklearn", "plotly", "pandas")
    exits = loaded_by(heavy, SEEN_BEFORE_TORCH, tmp_path)
    assert dict(zip(SEEN_BEFORE_TORCH, exits, strict=True)) == dict.fromkeys(SEEN_BEFORE_TORCH, "2 ")
