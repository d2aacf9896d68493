"""Runs beside each other from Python."""

from pathlib import Path

import autocompress as ac
import pytest
from autocompress.errors import InputError
from autocompress.results.run_directory import write_run
from autocompress.tests.results.compare.later import measured_again
from autocompress.tests.results.sample_run import sample_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run, and the same a night later, when its models were slower."""
    for name, run in (("mon", sample_run()), ("tue", measured_again(sample_run(), latency=1.15))):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, run)
    return tmp_path


def test_a_run_is_compared_with_a_later_one_by_its_path_or_as_it_was_opened(folder: Path) -> None:
    run = ac.Run.open(folder / "mon")
    by_path = run.compare(folder / "tue")
    opened = run.compare(ac.Run.open(folder / "tue"), policies=["fastest within 1pp"])
    assert isinstance(by_path, ac.Comparison) and by_path.worse and opened.worse
    assert not run.compare(folder / "tue", tolerance=["20%"]).worse
    assert repr(opened).startswith("Worse: fastest within 1pp on cpu")
    assert opened._repr_html_().count("<svg") == 2


def test_a_comparison_is_a_table_with_a_row_for_each_policy_and_quantity(folder: Path) -> None:
    table = ac.Run.open(folder / "mon").compare(folder / "tue", policies=["fastest within 1pp"]).table()
    assert [(row["quantity"], row["verdict"]) for row in table] == [
        ("latency", "worse"),
        ("size", "same"),
        ("drop", "same"),
    ]


def test_a_run_alone_is_not_compared(folder: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        ac.Run.open(folder / "mon").compare()
