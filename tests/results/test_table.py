"""The front for terminals, spreadsheets and programs."""

import csv
import io
import json

import pytest
from autocompress.results.formats import (
    Formats,
    bits_text,
    grouped_warnings,
    mean_bits,
    ratio_text,
    recipe_lines,
    relative_spread,
    same_text,
)
from autocompress.results.table import RECORD_FIELDS, front_csv, front_json, front_records, front_table
from autocompress.results.why import why_json
from autocompress.tests.results.sample_run import sample_run
from rich.console import Console


def printed(run, *, width=80):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(front_table(run))
    return console.export_text()


def test_the_table_fits_eighty_columns_without_cutting_a_number():
    text = printed(sample_run())
    assert "…" not in text
    assert len([line for line in text.splitlines() if "±0." in line]) == len(sample_run()["front"]) + 1


def test_the_table_shows_every_number_of_a_point_with_its_spread_and_marks():
    run = sample_run()
    line = next(line for line in printed(run, width=120).splitlines() if line.startswith("★"))
    point = run["front"][0]
    assert f"{100 * point['quality']['validation']:.2f} ±0.80" in line
    assert f"{1000 * point['latency']['latency_s']:.3f} ±0.8%" in line
    assert "noisy" in printed(run) and "≈19" in printed(run) and "original" in printed(run)


def test_the_csv_has_one_row_per_shown_point_and_reads_back():
    run = sample_run()
    rows = list(csv.DictReader(io.StringIO(front_csv(run))))
    assert tuple(rows[0]) == RECORD_FIELDS
    assert {int(row["trial"]) for row in rows} == {0, 1} | {p["trial"] for p in run["front"]}
    assert float(rows[0]["latency_s"]) == front_records(run)[0]["latency_s"]


def test_a_number_that_was_not_measured_is_an_empty_cell_never_a_number():
    run = sample_run()
    run["uniform_int8"]["latency"]["peak_memory_bytes"] = None
    row = next(row for row in csv.DictReader(io.StringIO(front_csv(run))) if row["trial"] == "1")
    assert row["peak_memory_bytes"] == "" and row["test_quality"] == ""


def test_the_json_holds_the_front_and_what_is_needed_to_read_it():
    run = sample_run()
    value = json.loads(front_json(run))
    assert value["front"] == run["front"]
    assert {"task", "target", "environment", "constraints", "baseline", "uniform_int8", "chosen"} <= set(
        value
    )
    assert value["why"] == why_json(run)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3e-6, "0.003 ms"), (4.12e-4, "0.412 ms"), (0.01234, "12.34 ms"), (0.25, "250.0 ms")],
)
def test_every_latency_of_a_run_is_written_in_the_unit_of_the_original_s(seconds, text):
    assert Formats.of(sample_run()).latency(seconds) == text


def test_a_metric_that_is_no_fraction_is_written_as_it_is():
    run = sample_run()
    run["task"]["metric"] = {"name": "MSE", "direction": "lower", "unit": ""}
    formats = Formats.of(run)
    assert (formats.quality(0.012346), formats.drop(-0.5), formats.quality_spread([0.01, 0.02])) == (
        "0.01235",
        "−0.5",
        "±0.005",
    )


def test_small_words():
    formats = Formats.of(sample_run())
    assert (formats.drop(-0.00001), formats.drop(-0.002), formats.quality(None)) == (
        "0.00 pp",
        "−0.20 pp",
        "–",
    )
    assert (ratio_text(0.31), ratio_text(0.0312)) == ("0.31×", "0.031×")
    assert relative_spread([0.99, 1.01]) == "±1.0 %"


def test_a_recipe_with_hundreds_of_groups_stays_readable():
    run = sample_run()
    run["groups"] = [{"name": f"g{i}", "channels": 64, "layers": [], "levels": [8, 64]} for i in range(200)]
    point = run["front"][0]
    point["recipe"]["keep"] = {f"g{i}": 8 for i in range(200)}
    lines = recipe_lines(point, run)
    assert lines[0].endswith("and 194 more") and all(len(line) < 200 for line in lines)


def mixed_point():
    """A float32 layer, an int4 layer of three times its weights, and a removed one."""
    layers = [
        {"name": "a", "bits": 32, "parameters": 100, "channels_out": 8},
        {"name": "b", "bits": 4, "parameters": 300, "channels_out": 8},
        {"name": "c", "bits": 32, "parameters": 0, "channels_out": 0},
    ]
    recipe = {"keep": {}, "precision": {"b": "int4"}, "rank": {"a": 4}, "skip": ["c"], "recovery": None}
    return {"layers": layers, "recipe": recipe}


def test_bits_are_averaged_over_the_weights_that_are_left():
    assert mean_bits(mixed_point()) == (32 * 100 + 4 * 300) / 400 and bits_text(mixed_point()) == "11"


def test_a_recipe_tells_precisions_removed_blocks_and_ranks():
    assert recipe_lines(mixed_point(), {"groups": []}) == [
        *(
            "channels: all kept",
            "int4: 1 of 2 layers; float32: a",
            "blocks removed: c",
            "rank: a 4",
            "not distilled",
        )
    ]


def test_the_table_notes_what_is_not_as_one_would_think():
    run = sample_run()
    run["front"][1]["warnings"] = ["asked int8, ran float32: a", "smaller, but not faster than the original"]
    assert "smaller, not faster, 1 layer not as asked" in printed(run, width=200)


def test_warnings_that_differ_only_in_the_layer_are_one():
    warnings = ["asked int8, ran float32: a", "asked int8, ran float32: b", "slow"]
    assert grouped_warnings({"warnings": warnings}) == ["asked int8, ran float32: a, b", "slow"]


def test_only_points_on_the_front_are_called_indistinguishable():
    run = sample_run()
    member, other = run["front"][0], run["front"][1]["trial"]
    member["indistinguishable_from"] = [other, run["dominated"][2]["trial"]]
    assert same_text(member, run) == str(other)
