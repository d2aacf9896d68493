"""Measurements are found again by what they belong to."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.profiles.measurement import FINALIST_TIMING, TimingConfig
from autocompress.targets.store import MeasurementKey, MeasurementStore
from autocompress.tests.profiles.records import ENVIRONMENT, measurement


def test_a_stored_measurement_is_found_by_another_process(tmp_path: Path) -> None:
    seen = measurement(0.5, 0.51)
    MeasurementStore(tmp_path / "m.db").put(seen)
    assert MeasurementStore(tmp_path / "m.db").get(MeasurementKey.of(seen)) == seen


@pytest.mark.parametrize(
    "change",
    [
        {"artifact_digest": "z"},
        {"baseline_digest": "z"},
        {"profile_fingerprint": "z"},
        {"timing": FINALIST_TIMING},
        {"timing": TimingConfig(round=2)},
        {"environment": replace(ENVIRONMENT, threads=2)},
    ],
    ids=["artifact", "baseline", "profile", "timing", "round", "environment"],
)
def test_a_measurement_of_something_else_is_not_found(tmp_path: Path, change: dict[str, object]) -> None:
    store = MeasurementStore(tmp_path / "m.db")
    store.put(measurement(0.5, 0.51))
    assert store.get(MeasurementKey.of(measurement(0.5, 0.51, **change))) is None


def test_load_does_not_belong_to_the_key(tmp_path: Path) -> None:
    store = MeasurementStore(tmp_path / "m.db")
    store.put(measurement(0.5, 0.51))
    busy = measurement(0.5, 0.51, environment=replace(ENVIRONMENT, load_1m=7.0))
    assert store.get(MeasurementKey.of(busy)) is not None


def test_the_first_measurement_stays(tmp_path: Path) -> None:
    store = MeasurementStore(tmp_path / "m.db")
    first = store.put(measurement(0.5, 0.51))
    assert store.put(measurement(0.7, 0.71)) == first


def damaged(path: Path, how: str) -> None:
    """Damages the SQLite file."""
    data = path.read_bytes()
    text = data.find(b'"timer"')
    middle = bytes([data[text - 30] ^ 1])
    changed = {
        "rubbish": b"rubbish" * 1000,
        "cut": data[: len(data) // 2],
        "header": b"\0" + data[1:],
        "digit": data[: text - 30] + middle + data[text - 29 :],
        "folder": None,
    }[how]
    if changed is not None:
        path.write_bytes(changed)
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["rubbish", "cut", "header", "digit", "folder"])
def test_what_a_damaged_file_held_is_measured_again(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, seen = tmp_path / "m.db", measurement(0.5, 0.51)
    MeasurementStore(path).put(seen)
    damaged(path, how)
    store = MeasurementStore(path)
    assert store.get(MeasurementKey.of(seen)) is None
    assert store.put(seen) == seen == MeasurementStore(path).get(MeasurementKey.of(seen))
    assert "m.db" in caplog.text and "damage" in caplog.text


def test_a_file_that_says_it_is_read_only_is_put_aside_when_something_is_written(tmp_path: Path) -> None:
    path, seen, other = tmp_path / "m.db", measurement(0.5, 0.51), measurement(0.5, 0.5, artifact_digest="z")
    MeasurementStore(path).put(seen)
    data = path.read_bytes()
    path.write_bytes(data[:18] + b"\x05" + data[19:])
    assert MeasurementStore(path).put(other) == other == MeasurementStore(path).get(MeasurementKey.of(other))


def test_a_measurement_under_the_key_of_another_is_forgotten(tmp_path: Path) -> None:
    path, first, second = (
        tmp_path / "m.db",
        measurement(0.5, 0.51),
        measurement(0.5, 0.5, artifact_digest="z"),
    )
    store = MeasurementStore(path)
    store.put(first), store.put(second)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE measurements SET value = (SELECT min(value) FROM measurements)")
    values = [store.get(MeasurementKey.of(each)) for each in (first, second)]
    assert values in ([first, None], [None, second])


def test_a_file_that_another_process_holds_is_not_put_aside(tmp_path: Path) -> None:
    store = MeasurementStore(tmp_path / "m.db")
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert not store._is_damaged(locked)
