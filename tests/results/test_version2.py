"""front.json of schema version 2 is read as a Run with the same numbers."""

import json
import shutil
from pathlib import Path

import pytest
from autocompress.errors import RunDirectoryError
from autocompress.results.run_directory import read_run, write_run
from autocompress.results.view import RunOn

DATA = Path(__file__).parent / "data"
ONE, TWO = DATA / "front-version-2.json", DATA / "front-version-2-of-two.json"


def read(folder, file):
    shutil.copy(file, folder / "front.json")
    return read_run(folder), json.loads(file.read_text(encoding="utf-8"))


def as_then(point):
    """The JSON of a point without the intervals of drops, which version 2 did not have: all None here."""
    value = json.loads(json.dumps(point.to_json()))
    added = ["drop_interval", "drop_limit_chance"]
    for entry, names in [(value, added), (value["quality"], ["test_drop", "test_drop_interval"])]:
        assert [entry.pop(name) for name in names] == [None] * len(names)
    return value


def test_a_run_on_one_target_has_the_points_that_it_had(tmp_path):
    run, old = read(tmp_path, ONE)
    view = RunOn.of(run, "cpu")
    assert [as_then(point) for point in view.front] == old["front"]
    assert [point.trial for point in run.others] == [point["trial"] for point in old["dominated"]]
    assert as_then(view.baseline) == old["baseline"]
    assert run.uniform_trial == old["uniform_int8"]["trial"]
    assert [entry.elapsed_s for entry in run.history] == [row["elapsed_s"] for row in old["history"]]
    assert run.hypervolume == pytest.approx(
        old["history"][-1]["hypervolume"], abs=0.02
    )  # which was computed before finalists were measured longer
    assert run.search.time == old["time"] and run.search.rungs.counts["r0"] == old["rungs"]["r0"]["count"]


def test_a_run_on_two_targets_has_each_ones_numbers_and_front(tmp_path):
    run, old = read(tmp_path, TWO)
    assert run.target_names == ("cpu", "edge")
    assert {name: list(trials) for name, trials in run.fronts.items()} == old["fronts"]
    assert [point.trial for point in run.front] == [point["trial"] for point in old["front"]]
    for point in [*old["front"], *old["dominated"]]:
        for name, entry in point["targets"].items():
            measured = run.point(point["trial"]).measured[name]
            assert measured.latency.seconds == entry["latency"]["latency_s"]
            assert measured.artifact.size_bytes == entry["artifact"]["size_bytes"]
            assert measured.layers and measured.finalist == entry["finalist"]


def test_a_point_that_was_missing_on_a_target_is_missing_still(tmp_path):
    value = json.loads(TWO.read_text(encoding="utf-8"))
    point = value["dominated"][-1]
    entry = point["targets"]["edge"]
    point["targets"]["edge"] = {
        "artifact": entry["artifact"],
        "latency": None,
        "drop": None,
        "missing": "away",
    }
    value["queued"] = {"edge": {"count": 1, "reason": "away"}}
    (tmp_path / "front.json").write_text(json.dumps(value))
    run = read_run(tmp_path)
    assert run.point(point["trial"]).missing["edge"].failure.message == "away"
    assert run.waiting == {"edge": 1}


@pytest.mark.parametrize("file", [ONE, TWO], ids=["one", "two"])
def test_what_was_read_can_be_written_in_the_new_version(tmp_path, file):
    run, _ = read(tmp_path, file)
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run


def test_a_fine_tuned_point_of_those_days_joins_the_run(tmp_path):
    run, old = read(tmp_path, ONE)
    origin = next(point for point in old["front"] if point["trial"] not in (0, 1))
    tuned = {**origin, "trial": -1, "finetuned": {"of": origin["trial"], "seconds": 60.0}}
    (tmp_path / "finetuned").mkdir()
    (tmp_path / "finetuned" / "1.json").write_text(json.dumps({**tuned, "schema_version": 1}))
    joined = read_run(tmp_path)
    assert joined.points[:-1] == run.points
    assert joined.origin_of(joined.point(-1)).trial == origin["trial"]


def test_a_run_of_another_version_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "front.json").write_text('{"schema_version": 1}')
    message = r"front\.json: schema_version is 1, but must be one of 2, 3: restore it, or search again"
    with pytest.raises(RunDirectoryError, match=message):
        read_run(tmp_path)
