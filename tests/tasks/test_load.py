"""Tasks are found by name, and their arguments converted."""

from pathlib import Path

import pytest
from autocompress.errors import TaskError
from autocompress.tasks.arguments import converted
from autocompress.tasks.load import load_task

GOOD = """
import helper_beside_it
from autocompress.tasks import Metric, Task, accuracy
from torch import nn, zeros
from torch.utils.data import TensorDataset

def _split(count): return TensorDataset(zeros(count, 2), zeros(count).long())

def mine(size: int, name: str = "mine"):
    import helper_beside_it
    return Task(name=name, model=nn.Linear(2, 2), train=_split(size), validation=_split(2), test=_split(2),
                loss=nn.functional.cross_entropy, metric=Metric(name="m", function=accuracy),
                example_inputs=(zeros(2, 2),))

def other(): return 5

def failing(): raise FileNotFoundError("no data here")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helper_beside_it.py").write_text("")
    (tmp_path / "mine.py").write_text(GOOD)
    return tmp_path / "mine.py"


def typed(
    a: int,
    *,
    b: float = 0.5,
    c: bool = False,
    d: Path | None = None,
    e: tuple[float, ...] = (),
    f="text",
    g: set[int] | None = None,
) -> None: ...


def test_a_function_in_a_file_makes_a_task_of_its_arguments(file: Path) -> None:
    task = load_task(f"{file}:mine", {"size": "12", "name": "ours"})
    assert len(task.train) == 12 and task.name == "ours"  # type: ignore[arg-type]


def test_strings_are_converted_by_annotation() -> None:
    given = {"a": "3", "b": "1e-3", "c": "true", "d": "x/y", "e": "1, 2.5", "f": "4"}
    expected = {"a": 3, "b": 1e-3, "c": True, "d": Path("x/y"), "e": (1.0, 2.5), "f": "4"}
    assert converted("typed", typed, given) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": "1", "z": "1"}, "Unknown task argument 'z': typed takes a, b, c"),
        ({}, "Missing task argument 'a'.*add --task-arg a=…"),
        ({"a": "1.5"}, "Task argument a='1.5' is no int"),
        ({"a": "1", "c": "maybe"}, "c='maybe' is no bool"),
        ({"a": "1", "g": "1"}, "'g' has the type set"),
    ],
)
def test_an_unfit_argument_is_named(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        converted("typed", typed, arguments)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "digts",
            r"no task 'digts' \(did you mean 'digits'\?\): give a built-in one \(digits, image-folder, exported",
        ),
        ("nowhere.py:f", "no task file 'nowhere.py'"),
        ("{file}", "needs the name of one of its functions: write .*it has failing, mine, other"),
        ("{file}:mien", "has no function 'mien'.*it has failing, mine, other"),
        ("{file}:other", "returned a int: it must return a Task"),
        ("{file}:failing", r"FileNotFoundError: no data here \(.*mine.py:17\)"),
    ],
)
def test_a_spec_that_gives_no_task_says_why(file: Path, spec: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(spec.format(file=file), {})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "x = 1\nimport no_such_module",
            r"Importing .*ModuleNotFoundError: .*no_such_module.*\(.*bad.py:2\)",
        ),
        ("def f(:\n", r"Importing .*SyntaxError: .*bad.py:1"),
        ("raise SystemExit('usage')", "Importing .*SystemExit: usage"),
        ("def f(a: Unknown): pass", "NameError: name 'Unknown' is not defined"),
    ],
    ids=["missing module", "syntax", "script that exits", "unknown annotation"],
)
def test_a_file_that_does_not_import_says_where(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(TaskError, match=message):
        load_task(f"{tmp_path / 'bad.py'}:f", {"a": "1"})
