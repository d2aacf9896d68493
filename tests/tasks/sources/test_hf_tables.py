"""Rows of tables in the formats that people have, and their splits."""

import json
import sys
from pathlib import Path

import pytest
from autocompress.errors import TaskError
from autocompress.tasks.sources.hf.tables import table_splits

ROWS = [{"text": f"text {index}", "label": index} for index in range(20)]
CONTENTS = {
    "a.csv": "text,label\n" + "\n".join(f'"text {row["label"]}",{row["label"]}' for row in ROWS),
    "a.tsv": "text\tlabel\n" + "\n".join(f"text {row['label']}\t{row['label']}" for row in ROWS),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)),
    "a.json": json.dumps(ROWS),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_each_format_gives_the_same_rows_split_by_the_seed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CONTENTS[name])
    splits = table_splits(tmp_path / name, ("text", "label"), seed=1)
    rows = [row for split in splits for row in split]
    assert [len(split) for split in splits] == [12, 4, 4]
    assert sorted(int(row["label"]) for row in rows) == list(range(20)) and rows[0]["text"] != "text 0"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{", "cannot be read as jsonl"),
        ("a.json", "{}", "has no rows"),
        ("a.csv", "", "has no rows"),
        ("a.jsonl", "1\n2", r"Row 1 of .* has no 'text' \(it has no columns\)"),
        ("a.xlsx", "", r"has the ending '\.xlsx': give one of \.csv, "),
        ("a.csv", "text\nä".encode("latin-1"), "cannot be read as csv: 'utf-8' codec"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match=message):
        table_splits(tmp_path / name, ("text",), seed=0)


def test_a_folder_needs_one_file_for_each_split(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\na")
    with pytest.raises(TaskError, match="has no file validation with one of"):
        table_splits(tmp_path, ("text",), seed=0)
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(TaskError, match="has more than one file train"):
        table_splits(tmp_path, ("text",), seed=0)


def test_without_pyarrow_a_parquet_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(TaskError, match=r"needs pyarrow, .*: pip install pyarrow"):
        table_splits(tmp_path / "a.parquet", ("text",), seed=0)
