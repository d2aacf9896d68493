"""A run over the runtimes of one device: what stands on its front is a candidate in one of them."""

import csv
import io
import json
import math
from dataclasses import replace
from itertools import product

import pytest
from autocompress.results.choosing.choose import choose, limits_for
from autocompress.results.choosing.recommended import recommended
from autocompress.results.choosing.slower import not_slower
from autocompress.results.choosing.words import pick_command, recommendation_lines
from autocompress.results.front import dominates
from autocompress.results.limits import Constraints
from autocompress.results.pick import pick, trial_to_take
from autocompress.results.placed import originals_note, place_of, ratio_to_onnxruntime
from autocompress.results.records.originals import InTurns
from autocompress.results.records.point import Point
from autocompress.results.records.reading import Fields
from autocompress.results.records.run import Run
from autocompress.results.table import columns, shown_points
from autocompress.results.table_files import front_csv, front_value
from autocompress.tests.results.records import measured, point, run_of

RUNTIMES = {"ort": "onnxruntime", "vino": "openvino", "lite": "litert"}
SPEED = {"ort": 1.0, "vino": 0.8, "lite": 0.5}  # of the original, in turns; seconds say the opposite


def on_device(trial: int, drop: float = 0.0, **ratios: float) -> Point:
    """A candidate with these ratios to the original of each runtime, left out on the others."""
    one = point(trial, drop=drop)
    sizes = {name: 90_000 - 100 * at - 10 * trial for at, name in enumerate(RUNTIMES)}
    outcomes = {
        name: measured(one.recipe, drop=drop, ratio=ratio, size=sizes[name]) for name, ratio in ratios.items()
    }
    reasons = {name: "slower" for name in RUNTIMES if name not in ratios}
    return replace(one, outcomes=outcomes, left_out=reasons)


def device_run(*points: Point, width: float = 0.01) -> Run:
    """Three runtimes, timed in turns to within `width`."""
    original = on_device(0, ort=1.0, vino=1.0, lite=1.0)
    run = run_of(original, *points, constraints=dict.fromkeys(RUNTIMES, Constraints()))
    targets = tuple(replace(one, runtime=RUNTIMES[one.name]) for one in run.facts.targets)
    turns = {
        name: InTurns(
            ratio=speed,
            interval=(speed, speed) if name == "ort" else (speed * (1 - width), speed * (1 + width)),
            rounds=4,
        )
        for name, speed in SPEED.items()
    }
    return replace(run, facts=replace(run.facts, targets=targets, alternatives=True), in_turns=turns)


RUN = device_run(
    on_device(1, 0.001, ort=0.4, vino=0.6, lite=0.9),  # 0.8, 0.96, 0.9 of the fastest original
    on_device(2, 0.002, vino=0.5, lite=1.1),  # 0.8, 1.1
    on_device(3, 0.004, ort=0.3),  # 0.6
    on_device(4, 0.02, lite=0.2),
)


def places(run: Run, points: tuple[Point, ...]) -> list[tuple[int, str]]:
    return [(one.trial, place_of(run, one)) for one in points]


def test_a_latency_counts_relative_to_the_original_in_the_runtime_where_that_is_fastest():
    assert RUN.device is not None and RUN.device.baseline == "lite"
    assert RUN.vector(RUN.baseline)[2] == 1.0
    assert RUN.vector(RUN.point(1).on("ort"))[2] == pytest.approx(0.4 * 1.0 / 0.5)
    assert RUN.vector(RUN.point(1).on("vino"))[2] == pytest.approx(0.6 * 0.8 / 0.5)


def test_a_candidate_in_several_runtimes_counts_where_it_is_fastest():
    assert place_of(RUN, RUN.point(1)) == "ort"
    assert RUN.vector(RUN.point(1)) == RUN.vector(RUN.point(1).on("ort"))


def test_the_front_is_what_no_other_placement_dominates():
    every = [one.on(name) for one, name in product(RUN.points[1:], RUNTIMES) if name in one.outcomes]
    every.append(RUN.baseline.on("lite"))
    vectors = [RUN.vector(one) for one in every]
    naive = [
        one
        for one, mine in zip(every, vectors, strict=True)
        if not any(dominates(other, mine) for other in vectors)
    ]
    assert sorted(places(RUN, RUN.front)) == sorted(places(RUN, tuple(naive)))
    assert {(1, "ort"), (1, "lite")} <= set(places(RUN, RUN.front))


def test_the_same_file_in_two_runtimes_is_two_placements():
    fast, slow = on_device(1, ort=0.2, vino=0.5), on_device(2, ort=0.9)
    same = replace(fast, outcomes={**fast.outcomes, "vino": replace(fast.measured["vino"], drop=-0.01)})
    run = device_run(same, slow)
    assert {(1, "ort"), (1, "vino")} <= set(places(run, run.front))


def test_errors_of_both_ratios_add_up_as_independent_ones():
    one = RUN.point(1).on("ort")
    low, high = RUN.ratio_range("ort", one.measured["ort"])
    assert (high - low) / (high + low) == pytest.approx(math.hypot(0.005, 0.01), rel=1e-6)


def test_what_is_faster_than_its_own_original_but_not_than_the_fastest_one_is_not_taken():
    run = device_run(on_device(1, ort=0.7))
    assert run.only("ort").vector(run.only("ort").point(1))[2] == 0.7
    assert not not_slower(run, run.placements[1])
    assert not not_slower(run.only("ort"), run.only("ort").point(1))
    assert recommended(run).point.trial == 0
    assert "the original on lite, where it is fastest" in recommended(run).reason


def test_originals_that_were_timed_in_turns_need_no_allowance_for_two_times():
    near = device_run(on_device(1, ort=0.48), width=0.002)
    assert not_slower(near, near.placements[1])
    apart = replace(near, in_turns={})
    assert apart.device is not None and apart.device.scale("lite", to="ort").half_width > 0.05


def test_a_picked_point_is_one_file_for_one_runtime():
    picked = pick(RUN, limits_for(RUN))
    assert (picked.trial, list(picked.outcomes)) == (3, ["ort"])
    choice = choose(RUN, limits_for(RUN), "size")
    assert choice is not None and len(choice.point.outcomes) == 1
    assert "--target ort" in pick_command(RUN, picked, "runs/x")
    assert any("trial 3 on ort" in line and "0.60×" in line for line in recommendation_lines(RUN))


def test_a_trial_that_is_named_is_taken_where_it_is_fastest():
    assert place_of(RUN, trial_to_take(RUN, 1)) == "ort"


def test_ratios_to_the_original_in_onnx_runtime_stay_available():
    for one in RUN.placements:
        there = ratio_to_onnxruntime(RUN, one)
        assert there == pytest.approx(RUN.vector(one)[2] * 0.5)
    assert "0.50" in originals_note(RUN) and "timed in turns" in originals_note(RUN)


def test_left_out_is_neither_missing_nor_waiting():
    assert RUN.point(3).left_out == {"vino": "slower", "lite": "slower"}
    assert RUN.waiting == {} and RUN.complete(RUN.point(3))


def test_a_runtime_without_the_original_takes_no_part():
    original = on_device(0, ort=1.0, lite=1.0)
    run = replace(RUN, points=(original, *RUN.points[1:]))
    assert run.target_names == ("ort", "lite")
    assert (2, "vino") not in places(run, run.placements)


def test_with_one_runtime_left_it_is_a_run_on_one_target():
    run = replace(RUN, points=(on_device(0, ort=1.0), RUN.point(3)))
    assert run.device is None and run.vector(run.point(3))[2] == 0.3


def test_a_run_over_runtimes_is_read_as_it_was_written():
    assert Run.from_json(Fields(json.loads(json.dumps(RUN.to_json())))) == RUN
    plain = run_of(point(), point(1, ratio=0.5)).to_json()
    assert not {"alternatives", "in_turns"} & plain.keys()
    assert "left_out" not in plain["points"][1]


def test_the_json_has_one_front_whose_points_say_their_target():
    value = front_value(RUN)
    assert [(one["trial"], one["target"]) for one in value["front"]] == places(RUN, RUN.front)
    assert value["chosen"]["target"] == "ort" and value["front"][0]["ratio_to_onnxruntime"]
    assert value["baseline"]["target"] == "lite" and value["originals"]["ort"]["ratio"] == 2.0


def test_the_table_and_the_csv_show_the_original_in_each_runtime():
    shown = {(one.trial, place_of(RUN, one)) for one in shown_points(RUN)}
    assert {(0, name) for name in RUNTIMES} <= shown
    rows = list(csv.DictReader(io.StringIO(front_csv(RUN))))
    assert {(int(row["trial"]), row["target"]) for row in rows} == shown
    ratios = next(column for column in columns(RUN) if column.heading == "×\n")
    assert ratios.cell(RUN.baseline.on("ort")).startswith("2.00 ±1.0%")


def test_the_hypervolume_is_that_of_all_placements():
    best = device_run(on_device(1, 0.001, ort=0.4))
    both = device_run(on_device(1, 0.001, ort=0.4, vino=0.9))
    assert both.hypervolume == pytest.approx(best.hypervolume)
    assert RUN.history[-1].hypervolume == pytest.approx(RUN.hypervolume)
