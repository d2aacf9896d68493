"""Measurements are found again by what they belong to."""

from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.errors import RunDirectoryError
from autocompress.profiles.measurement import FINALIST_TIMING
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
        {"environment": replace(ENVIRONMENT, threads=2)},
    ],
    ids=lambda change: next(iter(change)),
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


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(RunDirectoryError, match=r"m\.db"):
        MeasurementStore(tmp_path / "m.db")
