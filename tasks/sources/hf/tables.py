"""Rows of CSV, TSV, JSON, JSONL and Parquet files, lines of plain text, and their splits."""

import csv
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ....errors import TaskError
from ..one_set import parts_of_one_set

Row: TypeAlias = Mapping[str, Any]
Splits: TypeAlias = tuple[list[Row], list[Row], list[Row]]

SPLITS = ("train", "validation", "test")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")


def table_splits(data: Path, columns: Sequence[str], seed: int) -> Splits:
    """Training, validation and test, from three files in a folder (`train.csv`, …) or one that is split.

    A .txt file has one row for each line, its text. Every row has the columns. Raises TaskError.
    """
    if data.is_dir():
        train, validation, test = (_rows(_split_file(data, name), columns) for name in SPLITS)
        return train, validation, test
    rows = _rows(data, columns)
    neighbours_belong_together = data.suffix == ".txt"
    parts = parts_of_one_set(
        len(rows), seed=None if neighbours_belong_together else seed, source=str(data), of="rows"
    )
    train, validation, test = ([rows[index] for index in part] for part in parts)
    return train, validation, test


def _split_file(folder: Path, name: str) -> Path:
    files = [folder / f"{name}{suffix}" for suffix in _SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(files) == 1:
        return files[0]
    problem = "has no" if not files else "has more than one"
    raise TaskError(
        f"{folder} {problem} file {name} with one of the endings {', '.join(_SUFFIXES)}: give one."
    )


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    if not path.is_file():
        raise TaskError(
            f"There is no data {str(path)!r}: give a file, or a folder with train, validation and test."
        )
    if path.suffix not in _SUFFIXES:
        raise TaskError(f"{path} has the ending {path.suffix!r}: give one of {', '.join(_SUFFIXES)}.")
    try:
        rows = _read(path, columns)
    except (OSError, ValueError, csv.Error) as error:
        raise TaskError(f"{path} cannot be read as {path.suffix[1:]}: {error}.") from error
    if not rows:
        raise TaskError(f"{path} has no rows.")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if not isinstance(row, Mapping) or row.get(column) is None:
                raise TaskError(_without(path, number, row, column))
    return rows


def _without(path: Path, number: int, row: Any, column: str) -> str:
    names = ", ".join(map(str, row)) if isinstance(row, Mapping) else "no columns"
    return (
        f"Row {number} of {path} has no {column!r} (it has {names}): name the columns by --task-arg text=… "
        "and label=…"
    )


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    if path.suffix == ".parquet":
        return _parquet(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".txt":
            return [dict.fromkeys(columns, line) for line in file if line.strip()]
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        if path.suffix == ".json":
            value = json.load(file)
            return value if isinstance(value, list) else []
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def _parquet(path: Path) -> list[Row]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise TaskError(
            f"Reading {path} needs pyarrow, which cannot be imported ({error}): pip install pyarrow."
        ) from error
    rows: list[Row] = parquet.read_table(path).to_pylist()
    return rows
