"""The front for terminals, spreadsheets and programs."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from autocompress.compress.recipe import Precision, Recipe
from autocompress.profiles import PredictedLatency
from autocompress.profiles.units import parse_drop
from autocompress.results.formats import (
    Formats,
    bits_text,
    grouped_warnings,
    mean_bits,
    meets_text,
    ratio_interval_of,
    ratio_text,
    recipe_lines,
    relative_spread,
    same_text,
)
from autocompress.results.limits import Constraints, chance_text
from autocompress.results.records.facts import GroupFacts
from autocompress.results.records.latency import Predicted
from autocompress.results.records.point import LayerRow
from autocompress.results.report.page import render
from autocompress.results.table import front_table
from autocompress.results.table_files import RECORD_FIELDS, front_csv, front_json, front_records
from autocompress.results.view import RunOn
from autocompress.results.why import why_json
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import (
    point,
    sample_run,
    sample_run_of_two,
    sample_view,
    with_facts,
    with_latency,
    with_layer,
    with_measured,
    with_metric,
    with_points,
)
from rich.console import Console


def printed(run, *, width=80):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(front_table(run))
    return console.export_text()


def test_the_table_fits_eighty_columns_without_cutting_a_number():
    text = printed(sample_run())
    assert "…" not in text
    assert len([line for line in text.splitlines() if re.search(r"±\d\.\d%", line)]) == len(
        sample_run().front
    )


def test_the_table_shows_every_number_of_a_point_with_its_spread_and_marks():
    run = sample_run()
    line = next(line for line in printed(run, width=120).splitlines() if line.startswith("★"))
    best = run.front[0].measured["cpu"]
    assert f"{100 * best.quality.validation:.2f} {100 * best.drop:.2f} ±0.41" in line
    assert re.search(rf"{1000 * best.latency.seconds:.3f} +{best.latency.ratio:.2f} ±0.8%", line)
    assert "noisy" in printed(run) and "≈19" in printed(run) and "original" in printed(run)


def test_the_table_has_the_metric_on_the_test_split_where_it_was_scored():
    run = sample_run()
    line = next(line for line in printed(run, width=120).splitlines() if line.startswith("★"))
    assert f" {100 * present(run.front[0].measured['cpu'].quality.test):.2f} " in line
    for one in run.points:
        quality = replace(one.measured["cpu"].quality, test=None, test_interval=None)
        run = with_measured(run, one.trial, quality=replace(quality, test_drop=None, test_drop_interval=None))
    assert "test" in printed(sample_run()).splitlines()[0] and "test" not in printed(run).splitlines()[0]


def test_a_long_name_of_a_metric_leaves_room_for_the_numbers():
    first, second, *_ = printed(with_metric(sample_run(), "top-1 accuracy", unit="fraction")).splitlines()
    assert " top-1 " in first and " accuracy % " in second


def test_below_the_table_stands_what_else_used_the_machine_while_a_noisy_point_was_measured():
    run = with_latency(sample_run(), 19, noisy=True, cores=2, others_cores=1.4)
    text = " ".join(printed(run, width=100).split())
    assert "Noisy: trial 19 ±0.81 %: other processes used 1.4 of 2 cores while it was measured." in text
    two = with_latency(sample_run_of_two(), 19, noisy=True, cores=2, others_cores=1.4)
    text = " ".join(printed(two, width=140).split())
    assert "Noisy on cpu: trial 19 ±" in text and "Noisy on edge: trial 19 ±" in text


def test_a_run_of_before_drops_had_intervals_shows_those_of_the_metric():
    run = sample_run()
    for one in run.points:
        run = with_measured(run, one.trial, drop_interval=None)
    line = next(line for line in printed(run, width=120).splitlines() if line.startswith("★"))
    best = run.front[0].measured["cpu"]
    assert f"{100 * best.quality.validation:.2f} ±0.80 {100 * best.drop:.2f} " in line
    assert "meets" not in line


def test_the_table_tells_how_likely_a_limit_of_the_drop_is_kept():
    line = next(line for line in printed(sample_run(), width=120).splitlines() if line.startswith("★"))
    assert "meets 1pp with 78 %" in line
    joint = printed(sample_run_of_two(), width=140).splitlines()
    assert "≤1pp" in joint[1] and " 78 " in joint[3]


def test_the_json_and_the_csv_have_the_interval_of_the_drop():
    view = sample_view()
    front, rows = json.loads(front_json(view.run))["front"], front_records(view)
    assert tuple(front[0]["drop_interval"]) == view.front[0].drop_interval
    assert front[0]["drop_limit_chance"] == pytest.approx(0.78, abs=0.01) == rows[0]["drop_limit_chance"]
    assert rows[0]["drop_low"] < rows[0]["drop"] < rows[0]["drop_high"] and rows[-1]["drop_low"] is None


def test_the_csv_has_one_row_per_shown_point_and_reads_back():
    run = sample_run()
    rows = list(csv.DictReader(io.StringIO(front_csv(run))))
    assert tuple(rows[0]) == RECORD_FIELDS
    assert {int(row["trial"]) for row in rows} == {0, 1} | {p.trial for p in run.front}
    assert float(rows[0]["latency_s"]) == front_records(sample_view())[0]["latency_s"]


def test_a_number_that_was_not_measured_is_an_empty_cell_never_a_number():
    run = with_latency(sample_run(), 1, peak_memory_bytes=None)
    row = next(row for row in csv.DictReader(io.StringIO(front_csv(run))) if row["trial"] == "1")
    assert row["peak_memory_bytes"] == "" and row["test_quality"] == ""


def test_the_json_holds_the_front_and_what_is_needed_to_read_it():
    view = sample_view()
    value = json.loads(front_json(view.run))
    assert value["front"] == json.loads(json.dumps([member.to_json() for member in view.front]))
    assert value.keys() >= {"task", "target", "environment", "constraints", "baseline", "uniform_int8"}
    assert value["constraints"]["max_drop_limit"] == 0.01 and value["chosen"]["trial"] == 4
    assert value["chosen"]["meets_limits"] is True
    assert value["recommended"][0] == {"trial": 4, "names": ["fastest"]}
    assert value["why"] == json.loads(json.dumps(why_json(view)))


def test_a_name_with_markup_or_escapes_is_text_in_the_table():
    run = with_metric(sample_run(), "acc[/x]:smile:\x1b[31m\nd")
    console = Console(width=160, file=io.StringIO(), force_terminal=True)
    console.print(front_table(run))
    text = re.sub(r"\x1b\[\d*m", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert r"acc[/x]:smile:\x1b[31m\nd" in text and "\x1b" not in text


def test_a_text_of_the_csv_is_no_formula_and_a_negative_number_stays_one():
    run = sample_run()
    better = run.front[0].measured["cpu"]
    guess = Predicted(latency=PredictedLatency(seconds=1e-3, source="=HYPERLINK(1)\x1b"), ratio=0.8)
    run = with_measured(run, run.front[0].trial, latency=guess, drop=-0.25)
    row = next(row for row in csv.DictReader(io.StringIO(front_csv(run))) if row["drop"] == "-0.25")
    assert row["prediction_source"] == r"'=HYPERLINK(1)\x1b" and row["file"] == better.artifact.file


def test_the_table_of_several_targets_has_a_latency_column_for_each():
    run = sample_run_of_two()
    text = printed(run, width=140)
    assert "cpu" in text and "edge" in text and "original" in text and "★" in text
    assert f"{1e3 * run.baseline.measured['edge'].latency.seconds:.3f}" in text


def test_missing_measurements_are_told_and_not_shown_as_numbers():
    run = sample_run_of_two(missing=sample_run().front[0].trial)
    assert "1 point could not be measured on edge" in " ".join(printed(run, width=140).split())
    value = json.loads(front_json(run))
    assert value["queued"] == {"edge": {"count": 1, "reason": "restless"}}


def test_json_of_several_targets_has_the_joint_front_and_each_targets_own():
    value = json.loads(front_json(sample_run_of_two()))
    assert value["fronts"].keys() == {"cpu", "edge"} and value["queued"] == {}
    assert [target["name"] for target in value["targets"]] == ["cpu", "edge"]
    assert value["front"][0]["targets"].keys() == {"cpu", "edge"} and value["chosen"]["trial"] > 0


def test_csv_of_several_targets_says_which_target_a_line_is_of():
    rows = list(csv.DictReader(io.StringIO(front_csv(sample_run_of_two()))))
    slowest = {
        name: max(float(row["latency_s"]) for row in rows if row["target"] == name)
        for name in ("cpu", "edge")
    }
    assert slowest["edge"] > 2 * slowest["cpu"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3e-6, "0.003 ms"), (4.12e-4, "0.412 ms"), (0.01234, "12.34 ms"), (0.25, "250.0 ms")],
)
def test_every_latency_of_a_run_is_written_in_the_unit_of_the_original_s(seconds, text):
    assert Formats.of(sample_run()).latency(seconds) == text


def test_a_metric_that_is_no_fraction_is_written_as_it_is():
    formats = Formats.of(with_metric(sample_run(), "MSE"))
    assert formats.quality(0.012346) == "0.01235" and formats.drop(-0.5) == "−0.5"
    assert formats.quality_spread((0.01, 0.02)) == "±0.005"


def test_small_words():
    formats = Formats.of(sample_run())
    assert (formats.drop(-0.00001), formats.drop(-0.002)) == ("0.00 pp", "−0.20 pp")
    assert formats.quality(None) == "–"
    assert (ratio_text(0.31), ratio_text(0.0312)) == ("0.31×", "0.031×")
    assert relative_spread([0.99, 1.01]) == "±1.0 %"


def test_an_interval_stands_beside_the_ratio_and_never_beside_seconds():
    best = sample_view().front[0]
    spread = relative_spread(present(ratio_interval_of(best.latency)))
    told = Formats.of(best.view).latency_of(best)
    assert told == f"{1e3 * best.latency.seconds:.3f} ms, {best.latency.ratio:.2f}× {spread}"
    assert "±" not in Formats.of(best.view).latency_of(best.view.baseline)
    shown = "\n".join([told, printed(sample_run(), width=160), render(sample_run())])
    assert "±" in shown and not re.search(r"\d (s|ms|µs) (<small>)?±", shown)


def test_a_point_is_told_with_its_drop_and_how_likely_that_keeps_a_limit():
    best = sample_view().front[0]
    assert Formats.of(best.view).quality_of(best) == "90.88 %, drop 0.84 ±0.41 pp"
    assert meets_text(best) == "meets 1pp with 78 %"
    assert meets_text(best, Constraints(max_drop=parse_drop("0.5pp"))) == "meets 0.5pp with 5 %"
    assert meets_text(best, Constraints()) == meets_text(best.view.baseline) == ""
    assert [chance_text(chance) for chance in (1.0, 0.996, 0.5, 0.004)] == [">99 %", ">99 %", "50 %", "<1 %"]


def test_a_recipe_with_hundreds_of_groups_stays_readable():
    names = [f"g{index}" for index in range(200)]
    groups = tuple(GroupFacts(name=name, channels=64, layers=(), levels=(8, 64)) for name in names)
    original, *_ = sample_run().points
    pruned = point(2, Recipe())
    pruned = type(pruned)(trial=2, recipe=Recipe(keep=dict.fromkeys(names, 8)), outcomes=pruned.outcomes)
    view = RunOn.of(with_facts(with_points(sample_run(), [original, pruned]), groups=groups), "cpu")
    lines = recipe_lines(view.points[1])
    assert lines[0].endswith("and 194 more") and all(len(line) < 200 for line in lines)


def mixed_point():
    """A float32 layer, an int4 layer of three times its weights, and a removed one."""
    rows: tuple[tuple[str, int, int, int, Precision], ...] = (
        ("a", 32, 100, 8, "float32"),
        ("b", 4, 300, 8, "int4"),
        ("c", 32, 0, 0, "float32"),
    )
    layers = tuple(
        LayerRow(
            name=name,
            kind="conv",
            channels_in=8,
            channels_out=channels,
            channels_in_original=8,
            channels_out_original=8,
            precision_asked=precision,
            precision_executed=None,
            bits=bits,
            macs=1,
            parameters=parameters,
            bytes=1,
        )
        for name, bits, parameters, channels, precision in rows
    )
    recipe = Recipe(precision={"b": "int4"}, rank={"a": 4}, skip=("c",))
    outcomes = point(2, Recipe()).outcomes
    mixed = type(point(2, Recipe()))(trial=2, recipe=recipe, outcomes=outcomes)
    run = with_points(sample_run(), [sample_run().baseline, mixed])
    return RunOn.of(with_measured(run, 2, layers=layers), "cpu").points[1]


def test_bits_are_averaged_over_the_weights_that_are_left():
    assert mean_bits(mixed_point()) == (32 * 100 + 4 * 300) / 400 and bits_text(mixed_point()) == "11"


def test_a_recipe_tells_precisions_removed_blocks_and_ranks():
    assert recipe_lines(mixed_point()) == [
        *("channels: all kept", "int4: 1 of 2 layers; float32: a"),
        *("blocks removed: c", "rank: a 4", "not distilled"),
    ]


def test_the_table_notes_what_is_not_as_one_would_think():
    run = sample_run()
    original = run.baseline.measured["cpu"].latency
    run = with_measured(run, 24, latency=original)
    run = with_layer(run, 24, 3, precision_asked="int8", precision_executed="float32")
    run = with_measured(run, 24, drop=-0.001)
    assert "smaller, not faster, 1 layer not as asked" in printed(run, width=200)


def test_warnings_that_differ_only_in_the_layer_are_one():
    run = sample_run()
    for index in (2, 3):
        run = with_layer(run, 24, index, precision_asked="int8", precision_executed="float32")
    (warning,) = grouped_warnings(RunOn.of(run, "cpu").on(run.point(24)))
    assert warning == "asked int8, ran float32: layer1.0.conv2, layer1.1.conv1"


def test_only_points_on_the_front_are_called_indistinguishable():
    run = sample_run()
    member, other, outside = run.front[0], run.front[1], run.others[2]
    wide = (member.measured["cpu"].latency.ratio * 0.1, 10.0)
    for trial in (other.trial, outside.trial):
        run = with_latency(run, trial, ratio_interval=wide)
    view = RunOn.of(run, "cpu")
    assert outside.trial in view.on(run.point(member.trial)).indistinguishable_from
    assert same_text(view.on(run.point(member.trial))) == str(other.trial)
