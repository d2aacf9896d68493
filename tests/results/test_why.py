"""Why a run came out as it did: which limit binds, what is sensitive, what is alike, where the time went."""

import json
import random
from itertools import combinations

import pytest
from autocompress.profiles.units import parse_drop, parse_duration, parse_size
from autocompress.results.pick import costs_of, measured_points, pick
from autocompress.results.why import (
    binding_constraint,
    indistinguishable_groups,
    miss_reasons,
    predicted_latency,
    rung_correlations,
    sensitive_layers,
    time_of,
    time_spent,
    time_words,
    why_json,
    why_lines,
)
from autocompress.results.why.options import admitting, option_of
from autocompress.tests.results.sample_run import sample_run

ADDED = ("sensitivity", "time", "latency_table", "rungs")
UNLIMITED = {"max_drop": None, "max_drop_limit": None, "max_latency_s": None, "max_size_bytes": None}


def limited(**limits):
    """A run searched with these limits only, its points made by hand."""
    run = sample_run()
    return run | {"constraints": UNLIMITED | limits}


def small_run(points, **limits):
    """The original and points of (drop, latency ratio, size ratio), numbered from 1, with spreads of ±0.5 %."""
    run = limited(**limits)
    original = run["baseline"]
    made = [original]
    for trial, (drop, ratio, size) in enumerate(points, start=1):
        seconds = original["latency"]["latency_s"]
        spread = [0.995 * ratio, 1.005 * ratio]
        latency = {"latency_s": ratio * seconds, "interval_s": [end * seconds for end in spread]}
        made.append(
            original
            | {"trial": trial, "drop": drop}
            | {"latency": original["latency"] | latency | {"ratio": ratio, "ratio_interval": spread}}
            | {
                "artifact": original["artifact"]
                | {"size_bytes": round(size * original["artifact"]["size_bytes"])}
            }
        )
    return run | {"uniform_int8": None, "front": made[1:], "dominated": []}


DROP_1PP = {"max_drop": "1pp", "max_drop_limit": 0.01}


def test_the_limit_on_the_drop_binds_when_a_faster_point_loses_more():
    answer = binding_constraint(small_run([(0.005, 0.42, 0.2), (0.016, 0.31, 0.2)], **DROP_1PP))
    assert (answer["limit"], answer["trial"], answer["best_trial"]) == ("drop", 2, 1)
    assert answer["gain"] == pytest.approx((0.42 - 0.31) / 0.42)
    assert answer["text"] == (
        "--max-drop 1pp binds: without it trial 2 would be 0.31× instead of 0.42× (drop 1.60 pp). --max-drop 1.6pp admits it."
    )


def test_the_limit_whose_removal_helps_most_is_the_binding_one():
    size = sample_run()["baseline"]["artifact"]["size_bytes"]
    points = [(0.005, 0.42, 0.2), (0.016, 0.40, 0.2), (0.005, 0.25, 0.9)]
    answer = binding_constraint(small_run(points, max_size_bytes=size // 2, **DROP_1PP))
    assert (answer["limit"], answer["trial"], answer["now"], answer["without"]) == ("size", 3, 0.42, 0.25)


def test_a_limit_binds_on_size_when_nothing_is_faster_without_it():
    answer = binding_constraint(small_run([(0.005, 0.42, 0.2), (0.016, 0.42, 0.1)], **DROP_1PP))
    assert answer["objective"] == "size" and "be 0.10× the size instead of 0.20× the size" in answer["text"]


def test_a_limit_on_latency_alone_binds_on_the_drop_and_the_original_is_no_answer():
    seconds = 0.4 * sample_run()["baseline"]["latency"]["latency_s"]
    answer = binding_constraint(small_run([(0.02, 0.3, 0.2), (0.004, 0.5, 0.2)], max_latency_s=seconds))
    assert (answer["limit"], answer["objective"], answer["trial"]) == ("latency", "drop", 2)
    assert "would lose 0.40 pp instead of 2.00 pp" in answer["text"]


@pytest.mark.parametrize(
    "other",
    [(0.016, 0.418, 0.2), (0.3, 0.1, 0.1), (0.02, 0.6, 0.6)],
    ids=["within the spread", "useless", "slower"],
)
def test_no_limit_binds_when_nothing_worth_having_lies_beyond(other):
    answer = binding_constraint(small_run([(0.005, 0.42, 0.2), other], **DROP_1PP))
    assert answer["limit"] is None and answer["text"].startswith("No limit binds: without --max-drop 1pp, ")


def test_without_limits_the_objective_space_ends_the_front():
    answer = binding_constraint(small_run([(0.046, 0.21, 0.2), (0.4, 0.1, 0.1)]))
    assert answer["limit"] is None and answer["trial"] == 1
    assert answer["text"] == (
        "No limit was given: the search looks at drops of up to 5.00 pp, and the fastest point there is trial 1 "
        "(0.21×, drop 4.60 pp); 1 faster one loses more."
    )


def test_when_nothing_meets_the_limits_the_nearest_point_that_breaks_one_tells_which_binds():
    seconds = 0.2 * sample_run()["baseline"]["latency"]["latency_s"]
    answer = binding_constraint(
        small_run([(0.005, 0.25, 0.2), (0.03, 0.21, 0.1)], max_latency_s=seconds, **DROP_1PP)
    )
    assert answer["limit"] == "latency" and answer["trial"] == 1
    assert answer["text"].startswith(
        "Nothing meets the limits. --max-latency 0.2482ms binds: trial 1 breaks no other"
    )


def test_a_run_with_nothing_but_the_original_has_no_binding_constraint():
    assert binding_constraint(small_run([], **DROP_1PP)) is None


def test_a_miss_tells_what_it_lacked_in_each_limit_and_what_admits_it():
    seconds = sample_run()["baseline"]["latency"]["latency_s"]
    run = small_run([(0.012, 0.56, 0.2)], max_latency_s=0.5 * seconds, **DROP_1PP)
    (miss,) = miss_reasons(run | {"front": [], "dominated": run["front"]})
    assert miss["lacks"]["drop"] == {"absolute": pytest.approx(0.002), "relative": pytest.approx(0.2)}
    assert miss["lacks"]["latency"]["relative"] == pytest.approx(0.12)
    assert "would have needed 0.20 pp less drop (20 % over) and 0.074 ms less (12 % over)" in miss["text"]
    assert miss["admit"] == "--max-drop 1.2pp --max-latency 0.695ms"


def test_only_points_that_would_join_the_front_are_misses_the_nearest_first():
    points = [(0.005, 0.42, 0.2), (0.014, 0.3, 0.2), (0.011, 0.41, 0.1), (0.012, 0.5, 0.5)]
    assert [miss["trial"] for miss in miss_reasons(small_run(points, **DROP_1PP))] == [3, 2]


def test_a_miss_within_the_spread_of_its_latency_says_so():
    seconds = sample_run()["baseline"]["latency"]["latency_s"]
    (miss,) = miss_reasons(small_run([(0.005, 0.501, 0.2)], max_latency_s=0.5 * seconds))
    assert "within the spread of its latency" in miss["text"]


def test_a_limit_of_zero_has_no_relative_lack():
    (miss,) = miss_reasons(small_run([(0.002, 0.4, 0.2)], max_drop="0pp", max_drop_limit=0.0))
    assert miss["lacks"]["drop"]["relative"] is None and "0.20 pp less drop: --max-drop 0.2pp" in miss["text"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_drop", ["1pp", "1%", "0.01abs"])
def test_the_limit_that_is_said_to_admit_a_point_does(seed, max_drop):
    run = limited(max_drop=max_drop, max_drop_limit=0.01, max_latency_s=1e-3, max_size_bytes=1024)
    point = random.Random(seed).choice([other for other in measured_points(run) if other["drop"] > 0])
    drop, latency, size = (admitting(name, point, run).split()[1] for name in ("drop", "latency", "size"))
    baseline = run["baseline"]["quality"]["validation"]
    limits = {
        "max_drop": parse_drop(drop).limit(baseline),
        "max_latency": parse_duration(latency),
        "max_size": parse_size(size),
    }
    assert costs_of(pick(run | {"front": [point], "dominated": []}, **limits))["drop"] <= point["drop"]
    assert parse_duration(latency) < 1.011 * costs_of(point)["latency"]


def test_an_option_is_written_as_the_command_line_reads_it():
    run = limited(max_drop="1%", max_latency_s=2e-4, max_size_bytes=200 * 1024)
    assert [option_of(name, run) for name in ("drop", "latency", "size")] == [
        *("--max-drop 1%", "--max-latency 0.2ms", "--max-size 200KB")
    ]


def sensitive_run(losses, labels, recipes=()):
    run = sample_run()
    unchanged = {"keep": {}, "precision": {}, "recovery": None}
    return run | {
        "front": [{"recipe": unchanged | recipe} for recipe in recipes],
        "sensitivity": {"losses": losses, "labels": labels},
    }


BITS = ["float32", "int8", "int4", "int2"]


def test_layers_compare_at_the_coarsest_level_that_the_front_uses():
    losses = {
        "precision/a": [0.0, 0.01, 0.02, 0.9],
        "precision/b": [0.0, 0.001, 0.05, 0.1],
        "precision/c": [0.0, 0.03],
    }
    labels = {"precision/a": BITS, "precision/b": BITS, "precision/c": BITS[:2]}
    ranked = sensitive_layers(
        sensitive_run(losses, labels, [{"precision": {"a": "int4"}}, {"precision": {"b": "int8"}}])
    )
    assert [(row["name"], row["words"], row["loss"]) for row in ranked["ranked"]] == [
        *(("b", "at 4 bits", 0.05), ("c", "at 8 bits", 0.03), ("a", "at 4 bits", 0.02))
    ]


def test_layers_compare_at_the_middle_level_when_the_front_uses_none():
    losses = {"keep/g": [0.4, 0.3, 0.2, 0.0], "keep/h": [0.5, 0.0]}
    labels = {"keep/g": ["8", "16", "24", "32"], "keep/h": ["8", "16"]}
    ranked = sensitive_layers(sensitive_run(losses, labels))["ranked"]
    assert [row["words"] for row in ranked] == ["with 8 of 16 channels", "with 16 of 32 channels"]


def test_the_sentence_names_the_most_sensitive_of_each_kind_and_the_least_of_all():
    losses = {
        "skip/x": [0.0, 0.3],
        "skip/y": [0.0, 0.2],
        "precision/a": [0.0, 0.1],
        "precision/b": [0.0, 1e-6],
    }
    labels = {name: ["0", "1"] if name.startswith("skip") else ["float32", "int2"] for name in losses}
    assert sensitive_layers(sensitive_run(losses, labels))["text"] == (
        "Most sensitive: x removed (KL 0.3), a at 2 bits (KL 0.1); least: b at 2 bits (KL <0.0001)."
    )


def test_levels_that_were_not_measured_or_are_not_finite_are_left_out():
    losses = {"precision/a": [0.0, None], "precision/b": [0.0, float("nan")], "rank/c": [0.2, 0.1, 0.0]}
    labels = {"precision/a": BITS[:2], "precision/b": BITS[:2], "rank/c": ["8", "16", "full"]}
    assert [row["slot"] for row in sensitive_layers(sensitive_run(losses, labels))["ranked"]] == ["rank/c"]
    assert sensitive_layers(sensitive_run({"precision/a": [0.0]}, {})) is None


def overlapping(one, other):
    (low_1, high_1), (low_2, high_2) = one["latency"]["ratio_interval"], other["latency"]["ratio_interval"]
    return low_1 <= high_2 and low_2 <= high_1


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_disjoint_largest_cliques_and_leave_no_overlap_between_the_points_outside(seed):
    draw = random.Random(seed)
    run = small_run([(0.01, draw.uniform(0.3, 0.4), 0.2) for _ in range(9)])
    points = {point["trial"]: point for point in run["front"]}
    for point in points.values():
        half = draw.uniform(0.001, 0.02)
        point["latency"]["ratio_interval"] = [
            point["latency"]["ratio"] - half,
            point["latency"]["ratio"] + half,
        ]
    groups = [group["trials"] for group in indistinguishable_groups(run)]
    grouped = [trial for group in groups for trial in group]
    assert len(grouped) == len(set(grouped))
    assert all(overlapping(points[a], points[b]) for group in groups for a, b in combinations(group, 2))
    assert not any(
        overlapping(points[a], points[b]) for a, b in combinations(points.keys() - set(grouped), 2)
    )
    cliques = [
        size
        for size in range(2, len(points) + 1)
        for chosen in combinations(points, size)
        if all(overlapping(points[a], points[b]) for a, b in combinations(chosen, 2))
    ]
    assert max((len(group) for group in groups), default=0) == max(cliques, default=0)


def test_a_group_says_what_to_choose_by():
    (group,) = indistinguishable_groups(small_run([(0.004, 0.4, 0.2), (0.008, 0.401, 0.1)]))
    assert group["text"] == (
        "Trials 1 and 2 cannot be told apart by latency (0.40×): choose by size (trial 2: 106.8 KB) or by drop (trial 1: 0.40 pp)."
    )
    (group,) = indistinguishable_groups(small_run([(0.004, 0.4, 0.1), (0.008, 0.399, 0.2)]))
    assert "take trial 1, which is the smallest (106.8 KB) and has the least drop (0.40 pp)" in group["text"]


def test_useless_points_are_in_no_group():
    assert indistinguishable_groups(small_run([(0.4, 0.4, 0.2), (0.5, 0.401, 0.1)])) == []


def test_time_is_added_up_by_activity_in_a_fixed_order():
    stages = [
        {"validate": 2.0, "timing loop": 3.0, "prune": 0.5},
        {"reconstruct": 1.5, "recover": 4.0, "inspect": 0.0},
    ]
    spent = time_spent(stages, {"sensitivity": 7.0, "tea": 1.0})
    assert list(spent.items()) == [
        *(("database and reconstruction", 2.0), ("sensitivity", 7.0), ("recovery", 4.0), ("validation", 2.0)),
        *(("timing loops", 3.0), ("tea", 1.0)),
    ]


def test_a_progress_line_names_the_activities_with_the_most_time():
    assert (
        time_words({"build": 1.0, "recovery": 6.0, "validation": 3.0}, count=2)
        == "recovery 60 %, validation 30 %"
    )
    assert time_words({}) == ""


def test_the_stored_time_is_preferred_and_what_is_left_of_the_run_is_the_rest():
    run = sample_run() | {"elapsed_s": 100.0, "time": {"recovery": 60.0, "validation": 25.0, "build": 5.0}}
    answer = time_of(run)
    assert answer["seconds"]["rest"] == pytest.approx(10.0) and answer["share"] == pytest.approx(0.85)
    assert answer["text"] == "85 % of 1 min 40 s went into recovery, validation and timing loops."


def test_recovery_beside_the_search_is_in_no_sum_and_other_work_that_validates_is_told_apart():
    time = {
        "recovery": 20.0,
        "validation": 30.0,
        "rung r0": 10.0,
        "finalists": 15.0,
        "recovery beside the search": 60.0,
    }
    answer = time_of(sample_run() | {"elapsed_s": 100.0, "time": time})
    assert answer["total_s"] == pytest.approx(100.0) and answer["beside_s"] == 60.0
    assert (answer["share"], answer["wider_share"]) == (pytest.approx(0.5), pytest.approx(0.75))
    assert answer["text"] == (
        "50 % of 1 min 40 s went into recovery, validation and timing loops, 75 % with r0, sensitivity and finalists, which "
        "validate and time as well; 1 min of recovery went on beside the search."
    )
    assert time_words(time, count=1) == "validation 40 %, recovery beside the search 1 min"


def test_without_a_stored_time_the_trials_stages_tell_it_and_fine_tuning_is_not_part_of_the_search():
    run = small_run([(0.0, 0.4, 0.2), (0.0, 0.4, 0.2)]) | {"elapsed_s": 10.0}
    del run["time"]
    run["front"][0]["seconds"] = {"validate": 4.0}
    run["front"][1] |= {"trial": -1, "seconds": {"recover": 1000.0}}
    assert time_of(run)["seconds"] == {"validation": 4.0, "rest": 6.0}


def test_predictions_are_judged_in_one_sentence_each():
    run = sample_run()
    assert (
        "off by 2.1 % (median) and ordered them with Kendall's τ = 0.94, over 26 candidates"
        in predicted_latency(run)["text"]
    )
    assert [answer["text"] for answer in rung_correlations(run)] == [
        "Rung r0 ranks as rung r1 does with a correlation of 0.83 (26 candidates in r1).",
        "Rung r1 ranks as rung r2 does with a correlation of 0.91 (9 candidates in r2).",
    ]


def test_short_and_long_recoveries_are_compared_with_the_rung_before_together():
    rungs = {"r2": {"count": 5}, "r3": {"count": 2}, "correlation": {"r1-r2": 0.91}}
    (answer,) = rung_correlations(sample_run() | {"rungs": rungs})
    assert answer["text"].endswith("a correlation of 0.91 (7 candidates in r2 and r3).")


def test_a_correlation_that_could_not_be_computed_is_not_told():
    run = sample_run() | {"rungs": {"correlation": {"r0-r1": None}}, "latency_table": {"count": 0}}
    assert rung_correlations(run) == [] and predicted_latency(run) is None


def test_a_run_without_the_added_entries_gives_what_it_can():
    run = {name: value for name, value in sample_run().items() if name not in ADDED}
    why = why_json(run)
    assert [name for name, answer in why.items() if answer] == ["binding", "misses", "indistinguishable"]
    assert len(why_lines(run)) == 2


def test_the_object_is_plain_json_and_the_lines_are_its_sentences():
    run = sample_run()
    why = why_json(run)
    assert json.loads(json.dumps(why, allow_nan=False)) == why
    assert why_lines(run)[:2] == [why["binding"]["text"], why["sensitive"]["text"]]
    assert len(why_lines(run)) == 4
