"""The front of several targets for a terminal, a spreadsheet and a program."""

import csv
import io
import json

from autocompress.results.joint_table import joint_csv, joint_json, joint_points, joint_table
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from rich.console import Console


def printed(table):
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_the_table_has_a_latency_column_for_each_target():
    run = sample_run_of_two()
    text = printed(joint_table(run))
    assert "cpu" in text and "edge" in text and "original" in text and "★" in text
    assert f"{1e3 * run['baseline']['targets']['edge']['latency']['latency_s']:.3f}" in text


def test_missing_measurements_are_told_and_not_shown_as_numbers():
    trial = sample_run()["front"][0]["trial"]
    run = sample_run_of_two(missing=trial)
    assert trial not in {point["trial"] for point in joint_points(run)}
    assert "1 point could not be measured on edge" in " ".join(printed(joint_table(run)).split())


def test_json_has_the_joint_front_and_each_targets_own():
    value = json.loads(joint_json(sample_run_of_two()))
    assert value["fronts"].keys() == {"cpu", "edge"} and [target["name"] for target in value["targets"]] == [
        "cpu",
        "edge",
    ]
    assert value["front"][0]["targets"].keys() == {"cpu", "edge"} and value["chosen"]["trial"] > 0


def test_json_tells_what_is_queued_for_a_target_that_is_away():
    queued = {"pi": {"count": 3, "reason": "no route"}}
    assert json.loads(joint_json({**sample_run_of_two(), "queued": queued}))["queued"] == queued
    assert json.loads(joint_json(sample_run_of_two()))["queued"] == {}


def test_csv_says_which_target_a_line_is_of():
    rows = list(csv.DictReader(io.StringIO(joint_csv(sample_run_of_two()))))
    assert {row["target"] for row in rows} == {"cpu", "edge"}
    slow, fast = (
        max(float(row["latency_s"]) for row in rows if row["target"] == name) for name in ("edge", "cpu")
    )
    assert slow > 2 * fast
