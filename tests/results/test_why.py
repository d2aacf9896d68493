"""Why a run came out as it did: which limit binds, what is sensitive, what is alike, where the time went."""

import json
import random
from dataclasses import replace
from itertools import combinations
from typing import cast

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.profiles.units import parse_drop, parse_duration, parse_size
from autocompress.results.limits import Constraints
from autocompress.results.pick import pick
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import FineTuned
from autocompress.results.records.progress import Rungs, SearchFacts, SlotSensitivity, TableError
from autocompress.results.view import RunOn
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
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import (
    sample_run,
    sample_view,
    slot,
    with_constraints,
    with_latency,
    with_measured,
    with_points,
    with_search,
)


def limits(max_drop=None, **others):
    return Constraints(max_drop=parse_drop(max_drop) if max_drop else None, **others)


def view_of(run):
    return RunOn.of(run, "cpu")


def small_run(points, max_drop=None, *, half=None, **others):
    """The original and points of (drop, latency ratio, size ratio), from trial 1, with spreads of ±0.5 %.

    Drops have an interval of ± `half`.
    """
    run = sample_run()
    original = run.baseline
    run = with_points(run, [original, *(replace(original, trial=i + 1) for i in range(len(points)))])
    seconds, size_bytes = BASELINE_LATENCY.seconds, BASELINE.artifact.size_bytes
    for trial, (drop, ratio, size) in enumerate(points, start=1):
        low, high = 0.995 * ratio, 1.005 * ratio
        run = with_measured(
            run,
            trial,
            drop=drop,
            drop_interval=None if half is None else (drop - half, drop + half),
            artifact=replace(BASELINE.artifact, digest=f"{trial:064x}", size_bytes=round(size * size_bytes)),
            latency=replace(
                BASELINE_LATENCY,
                latency_s=ratio * seconds,
                interval_s=(low * seconds, high * seconds),
                ratio=ratio,
                ratio_interval=(low, high),
            ),
        )
    return view_of(with_constraints(run, limits(max_drop, **others)))


BASELINE = sample_run().baseline.measured["cpu"]
BASELINE_LATENCY = cast(Latency, BASELINE.latency)
DROP_1PP = {"max_drop": "1pp"}


def test_the_limit_on_the_drop_binds_when_a_faster_point_loses_more():
    answer = present(binding_constraint(small_run([(0.005, 0.42, 0.2), (0.016, 0.31, 0.2)], **DROP_1PP)))
    assert (answer.limit, answer.trial, answer.best_trial) == ("drop", 2, 1)
    assert answer.gain == pytest.approx((0.42 - 0.31) / 0.42)
    assert answer.text == (
        "--max-drop 1pp binds: without it trial 2 would be 0.31× instead of 0.42× (drop 1.60 pp). "
        "--max-drop 1.6pp admits it."
    )


def test_the_limit_whose_removal_helps_most_is_the_binding_one():
    size = BASELINE.artifact.size_bytes
    points = [(0.005, 0.42, 0.2), (0.016, 0.40, 0.2), (0.005, 0.25, 0.9)]
    answer = present(binding_constraint(small_run(points, max_size_bytes=size // 2, **DROP_1PP)))
    assert (answer.limit, answer.trial, answer.now, answer.without) == ("size", 3, 0.42, 0.25)


def test_a_limit_binds_on_size_when_nothing_is_faster_without_it():
    answer = present(binding_constraint(small_run([(0.005, 0.42, 0.2), (0.016, 0.42, 0.1)], **DROP_1PP)))
    assert answer.objective == "size" and "be 0.10× the size instead of 0.20× the size" in answer.text


def test_a_limit_on_latency_alone_binds_on_the_drop_and_the_original_is_no_answer():
    seconds = 0.4 * BASELINE_LATENCY.seconds
    answer = present(
        binding_constraint(small_run([(0.02, 0.3, 0.2), (0.004, 0.5, 0.2)], max_latency_s=seconds))
    )
    assert (answer.limit, answer.objective, answer.trial) == ("latency", "drop", 2)
    assert "would lose 0.40 pp instead of 2.00 pp" in answer.text


@pytest.mark.parametrize(
    "other",
    [(0.016, 0.418, 0.2), (0.3, 0.1, 0.1), (0.02, 0.6, 0.6)],
    ids=["within the spread", "useless", "slower"],
)
def test_no_limit_binds_when_nothing_worth_having_lies_beyond(other):
    answer = present(binding_constraint(small_run([(0.005, 0.42, 0.2), other], **DROP_1PP)))
    assert answer.limit is None and answer.text.startswith("No limit binds: without --max-drop 1pp, ")


def test_without_limits_the_objective_space_ends_the_front():
    answer = present(binding_constraint(small_run([(0.046, 0.21, 0.2), (0.4, 0.1, 0.1)])))
    assert answer.limit is None and answer.trial == 1
    assert answer.text == (
        "No limit was given: the search looks at drops of up to 5.00 pp, and the fastest point there is "
        "trial 1 (0.21×, drop 4.60 pp); 1 faster one loses more."
    )


def test_when_nothing_meets_the_limits_the_nearest_point_that_breaks_one_tells_which_binds():
    seconds = 0.2 * BASELINE_LATENCY.seconds
    points = [(0.005, 0.25, 0.2), (0.03, 0.21, 0.1)]
    answer = present(binding_constraint(small_run(points, max_latency_s=seconds, **DROP_1PP)))
    assert answer.limit == "latency" and answer.trial == 1
    assert answer.text.startswith(
        "Nothing meets the limits. --max-latency 0.2482ms binds: trial 1 breaks no other"
    )


def test_a_run_with_nothing_but_the_original_has_no_binding_constraint():
    assert binding_constraint(small_run([], **DROP_1PP)) is None


def test_a_miss_tells_what_it_lacked_in_each_limit_and_what_admits_it():
    seconds = BASELINE_LATENCY.seconds
    (miss,) = miss_reasons(small_run([(0.012, 0.56, 0.2)], max_latency_s=0.5 * seconds, **DROP_1PP))
    assert (miss.lacks["drop"].absolute, miss.lacks["drop"].relative) == pytest.approx((0.002, 0.2))
    assert miss.lacks["latency"].relative == pytest.approx(0.12)
    assert "would have needed 0.20 pp less drop (20 % over) and 0.074 ms less (12 % over)" in miss.text
    assert miss.admit == "--max-drop 1.2pp --max-latency 0.695ms"


def test_only_points_that_would_join_the_front_are_misses_the_nearest_first():
    points = [(0.005, 0.42, 0.2), (0.014, 0.3, 0.2), (0.011, 0.41, 0.1), (0.012, 0.5, 0.5)]
    assert [miss.trial for miss in miss_reasons(small_run(points, **DROP_1PP))] == [3, 2]


def test_a_miss_within_the_spread_of_its_latency_says_so():
    seconds = BASELINE_LATENCY.seconds
    (miss,) = miss_reasons(small_run([(0.005, 0.501, 0.2)], max_latency_s=0.5 * seconds))
    assert "within the spread of its latency" in miss.text


def test_a_limit_of_zero_has_no_relative_lack():
    (miss,) = miss_reasons(small_run([(0.002, 0.4, 0.2)], max_drop="0pp"))
    assert miss.lacks["drop"].relative is None and "0.20 pp less drop: --max-drop 0.2pp" in miss.text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_drop", ["1pp", "1%", "0.01abs"])
def test_the_limit_that_is_said_to_admit_a_point_does(seed, max_drop):
    constraints = limits(max_drop, max_latency_s=1e-3, max_size_bytes=1024)
    view = view_of(with_constraints(sample_run(), constraints))
    point = random.Random(seed).choice([other for other in view.points if other.drop > 0])
    drop, latency, size = (admitting(name, point).split()[1] for name in ("drop", "latency", "size"))
    others = limits(drop, max_latency_s=parse_duration(latency), max_size_bytes=parse_size(size))
    admitted = others.limits(view.baseline.quality.validation)
    assert pick(view.run, {"cpu": admitted}).measured["cpu"].drop <= admitted.drop
    assert not point.excess_over(admitted)
    assert parse_duration(latency) < 1.011 * point.latency.seconds


def test_an_option_is_written_as_the_command_line_reads_it():
    constraints = limits("1%", max_latency_s=2e-4, max_size_bytes=200 * 1024)
    view = view_of(with_constraints(sample_run(), constraints))
    assert [option_of(name, view) for name in ("drop", "latency", "size")] == [
        *("--max-drop 1%", "--max-latency 0.2ms", "--max-size 200KB")
    ]


def sensitive_run(losses, labels, recipes=()):
    slots = {
        name: SlotSensitivity(
            losses=tuple(values), labels=tuple(labels[name]), measured=(True,) * len(values)
        )
        for name, values in losses.items()
    }
    run = sample_run()
    recipes = recipes or [Recipe()]
    points = [
        replace(run.baseline, trial=trial, recipe=recipe) for trial, recipe in enumerate(recipes, start=1)
    ]
    run = with_points(run, [replace(run.baseline, recipe=Recipe()), *points])
    return view_of(with_search(run, sensitivity=slots))


BITS = ["float32", "int8", "int4", "int2"]


def test_layers_compare_at_the_coarsest_level_that_the_front_uses():
    losses = {
        "precision/a": [0.0, 0.01, 0.02, 0.9],
        "precision/b": [0.0, 0.001, 0.05, 0.1],
        "precision/c": [0.0, 0.03],
    }
    labels = {"precision/a": BITS, "precision/b": BITS, "precision/c": BITS[:2]}
    recipes = [Recipe(precision={"a": "int4"}), Recipe(precision={"b": "int8"})]
    answer = present(sensitive_layers(sensitive_run(losses, labels, recipes)))
    assert [(row.name, row.words, row.loss) for row in answer.ranked] == [
        *(("b", "at 4 bits", 0.05), ("c", "at 8 bits", 0.03), ("a", "at 4 bits", 0.02))
    ]


def test_layers_compare_at_the_middle_level_when_the_front_uses_none():
    losses = {"keep/g": [0.4, 0.3, 0.2, 0.0], "keep/h": [0.5, 0.0]}
    labels = {"keep/g": ["8", "16", "24", "32"], "keep/h": ["8", "16"]}
    ranked = present(sensitive_layers(sensitive_run(losses, labels))).ranked
    assert [row.words for row in ranked] == ["with 8 of 16 channels", "with 16 of 32 channels"]


def test_the_sentence_names_the_most_sensitive_of_each_kind_and_the_least_of_all():
    losses = {
        "skip/x": [0.0, 0.3],
        "skip/y": [0.0, 0.2],
        "precision/a": [0.0, 0.1],
        "precision/b": [0.0, 1e-6],
    }
    labels = {name: ["0", "1"] if name.startswith("skip") else ["float32", "int2"] for name in losses}
    assert present(sensitive_layers(sensitive_run(losses, labels))).text == (
        "Most sensitive: x removed (KL 0.3), a at 2 bits (KL 0.1); least: b at 2 bits (KL <0.0001)."
    )


def test_an_estimated_level_is_marked_and_a_slot_of_one_level_left_out():
    estimated = SlotSensitivity(losses=(0.2, 0.0), labels=("8", "whole"), measured=(False, True))
    slots = {"rank/c": estimated, "precision/b": slot((0.0,), ("float32",))}
    answer = present(sensitive_layers(view_of(with_search(sample_run(), sensitivity=slots))))
    assert [row.slot for row in answer.ranked] == ["rank/c"] and "c at rank 8 (KL ~0.2)" in answer.text


def overlapping(one, other):
    (low_1, high_1), (low_2, high_2) = one.latency.ratio_interval, other.latency.ratio_interval
    return low_1 <= high_2 and low_2 <= high_1


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_disjoint_largest_cliques_and_leave_no_overlap_between_the_points_outside(seed):
    draw = random.Random(seed)
    run = small_run([(0.01, ratio, 0.5 - ratio) for ratio in (draw.uniform(0.3, 0.4) for _ in range(9))])
    whole = run.run
    for point in run.points[1:]:
        half, ratio = draw.uniform(0.001, 0.02), point.latency.ratio
        whole = with_latency(whole, point.trial, ratio_interval=(ratio - half, ratio + half))
    run = view_of(whole)
    points = {point.trial: point for point in run.front if point.trial}
    groups = [group.trials for group in indistinguishable_groups(run)]
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
    assert group.text == (
        "Trials 1 and 2 cannot be told apart by latency (0.40×): choose by size (trial 2: 106.8 KB) "
        "or by drop (trial 1: 0.40 pp)."
    )
    (group,) = indistinguishable_groups(small_run([(0.004, 0.4, 0.1), (0.008, 0.399, 0.2)]))
    assert "take trial 1, which is the smallest (106.8 KB) and has the least drop (0.40 pp)" in group.text


def test_of_points_that_are_alike_in_latency_and_in_drop_the_smallest_is_taken():
    points = [(0.004, 0.4, 0.2), (0.006, 0.401, 0.1)]
    (group,) = indistinguishable_groups(small_run(points, half=0.002))
    assert group.same_drop and group.text == (
        "Trials 1 and 2 cannot be told apart by latency (0.40×): take trial 1 for the least drop "
        "(0.40 ±0.20 pp), or trial 2 for its size (106.8 KB); their drops cannot be told apart either."
    )
    (group,) = indistinguishable_groups(small_run(points, half=0.001))
    assert not group.same_drop and "choose by size" in group.text


def test_a_miss_whose_drop_may_keep_the_limit_says_how_likely():
    (miss,) = miss_reasons(small_run([(0.005, 0.42, 0.2), (0.011, 0.31, 0.2)], half=0.0035, **DROP_1PP))
    assert "which is within the interval of its drop (meets 1pp with 29 %)" in miss.text


def test_a_limit_does_not_bind_for_a_drop_that_cannot_be_told_apart():
    seconds = 0.4 * BASELINE_LATENCY.seconds
    points = [(0.006, 0.3, 0.2), (0.004, 0.5, 0.2)]
    assert present(binding_constraint(small_run(points, max_latency_s=seconds))).limit == "latency"
    answer = present(binding_constraint(small_run(points, half=0.002, max_latency_s=seconds)))
    assert answer.limit is None and "No limit binds" in answer.text


def test_useless_points_are_in_no_group():
    assert indistinguishable_groups(small_run([(0.4, 0.4, 0.2), (0.5, 0.401, 0.1)])) == ()


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


def timed(time, run=None):
    return view_of(with_search(replace(run or sample_run(), elapsed_s=100.0), time=time))


def test_the_stored_time_is_preferred_and_what_is_left_of_the_run_is_the_rest():
    time = {"recovery": 60.0, "validation": 25.0, "build": 5.0}
    answer = present(time_of(timed(time)))
    assert answer.seconds["rest"] == pytest.approx(10.0) and answer.share == pytest.approx(0.85)
    assert answer.text == "85 % of 1 min 40 s went into recovery, validation and timing loops."


def test_recovery_beside_the_search_is_in_no_sum_and_other_work_that_validates_is_told_apart():
    time = {
        "recovery": 20.0,
        "validation": 30.0,
        "rung r0": 10.0,
        "finalists": 15.0,
        "recovery beside the search": 60.0,
    }
    answer = present(time_of(timed(time)))
    assert answer.total_s == pytest.approx(100.0) and answer.beside_s == 60.0
    assert (answer.share, answer.wider_share) == pytest.approx((0.5, 0.75))
    assert answer.text == (
        "50 % of 1 min 40 s went into recovery, validation and timing loops, 75 % with r0, sensitivity and "
        "finalists, which validate and time as well; 1 min of building and training went on beside the search."
    )
    assert time_words(time, count=1) == "validation 40 %, recovery beside the search 1 min"


def test_without_a_stored_time_the_trials_stages_tell_it_and_fine_tuning_is_not_part_of_the_search():
    run = sample_run()
    measured = replace(run.point(4), seconds={"validate": 4.0})
    tuned = replace(
        run.point(4), trial=-1, finetuned=FineTuned(of=4, seconds=1.0), seconds={"recover": 1000.0}
    )
    run = with_points(run, [run.baseline, measured, tuned])
    assert present(time_of(timed({}, run))).seconds == {"validation": 4.0, "rest": 96.0}


def test_predictions_are_judged_in_one_sentence_each():
    run = sample_view()
    expected = "off by 2.1 % (median) and ordered them with Kendall's τ = 0.94, over 26 candidates"
    assert expected in present(predicted_latency(run)).text
    assert [answer.text for answer in rung_correlations(run)] == [
        "Rung r0 ranks as rung r1 does with a correlation of 0.83 (26 candidates in r1).",
        "Rung r1 ranks as rung r2 does with a correlation of 0.91 (9 candidates in r2).",
    ]


def test_short_and_long_recoveries_are_compared_with_the_rung_before_together():
    rungs = Rungs(counts={"r2": 5, "r3": 2}, correlation={"r1-r2": 0.91})
    (answer,) = rung_correlations(view_of(with_search(sample_run(), rungs=rungs)))
    assert answer.text.endswith("a correlation of 0.91 (7 candidates in r2 and r3).")


def test_a_correlation_that_could_not_be_computed_is_not_told():
    rungs = Rungs(counts={}, correlation={"r0-r1": None})
    tables = {"cpu": TableError(count=0, kendall_tau=None, median_error=None)}
    view = view_of(with_search(sample_run(), rungs=rungs, latency_tables=tables))
    assert rung_correlations(view) == () and predicted_latency(view) is None


def test_a_run_without_facts_of_the_search_gives_what_it_can():
    view = view_of(replace(sample_run(), search=SearchFacts()))
    why = why_json(view)
    assert [name for name, answer in why.items() if answer] == ["binding", "misses", "indistinguishable"]
    assert len(why_lines(view)) == 2


def test_the_object_is_plain_json_and_the_lines_are_its_sentences():
    run = sample_view()
    why = json.loads(json.dumps(why_json(run), allow_nan=False))
    assert why_lines(run)[:2] == [why["binding"]["text"], why["sensitive"]["text"]]
    assert len(why_lines(run)) == 4
