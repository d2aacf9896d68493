"""Runs beside each other: noise is no loss, a loss is found, and what else differs is named."""

from dataclasses import replace

import pytest
from autocompress.errors import InputError
from autocompress.results.choosing.policy import Policy
from autocompress.results.compare import Comparison, Side, Tolerance, compare
from autocompress.results.compare.view import comparison_html
from autocompress.results.compare.words import differences_lines, quantities, verdict_line
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.run import Run
from autocompress.tests.results.compare.later import measured_again, with_other_samples
from autocompress.tests.results.energies import with_energies
from autocompress.tests.results.records import point, run_of
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two, with_facts
from autocompress.text.printable import json_text

RUN = sample_run()


def beside(*runs: Run, policies: tuple[str, ...] = (), tolerance: Tolerance | None = None) -> Comparison:
    sides = [Side(label=f"run {number}", run=run) for number, run in enumerate(runs)]
    return compare(sides, policies=[Policy.parse(text) for text in policies], tolerance=tolerance)


def verdicts(comparison: Comparison) -> list[str]:
    return [pick.verdict for pair in comparison.pairs for pick in pair.picks]


POLICIES = ("fastest within 1pp", "smallest within 0.5pp", "balanced", "most accurate within 0.5ms")


@pytest.mark.parametrize("seed", range(5))
def test_the_same_files_measured_again_are_not_worse(seed: int):
    nights = [measured_again(RUN, 2 * seed + night) for night in range(2)]
    assert not beside(*nights, policies=POLICIES).worse


def test_runs_that_were_scored_on_other_samples_are_seldom_called_worse(monkeypatch: pytest.MonkeyPatch):
    """Each pick is the luckiest of 25 points, which other samples take back: still at most 1 verdict in 20
    is wrong.
    """
    monkeypatch.setattr("autocompress.results.compare.fronts.DRAWS", 2)
    wrong = 0
    for seed in range(15):
        nights = [
            with_other_samples(measured_again(RUN, number), number) for number in (2 * seed, 2 * seed + 1)
        ]
        wrong += verdicts(beside(*nights, policies=POLICIES)).count("worse")
    assert wrong <= 0.05 * 15 * len(POLICIES)


def test_a_run_beside_itself_is_the_same():
    comparison = beside(RUN, RUN)
    assert verdicts(comparison) == ["same", "same"]
    assert comparison.pairs[0].hypervolume.old == comparison.pairs[0].hypervolume.new == RUN.hypervolume
    assert comparison.pairs[0].absolute


def test_slower_models_are_worse_for_the_policy_that_asks_for_speed():
    comparison = beside(RUN, measured_again(RUN, latency=1.15))
    assert verdicts(comparison) == ["worse", "same"]
    assert "fastest within 1pp on cpu since run 0: worse latency" in verdict_line(comparison)
    assert "it does not judge the latency, which is worse" in comparison.pairs[0].picks[1].reason


def test_a_real_loss_of_quality_is_worse():
    assert verdicts(beside(RUN, measured_again(RUN, drop=0.006))) == ["worse", "worse"]


def test_a_loss_within_the_tolerance_is_none():
    slower, room = measured_again(RUN, latency=1.15), Tolerance(latency=0.2)
    assert verdicts(beside(RUN, slower, tolerance=room)) == ["same", "same"]


def test_a_better_aim_may_cost_other_things_within_the_limits():
    old = run_of(point(), point(1, ratio=0.5, drop=0.001, drop_interval=(0.0, 0.002)))
    new = run_of(point(), point(2, ratio=0.3, drop=0.009, drop_interval=(0.008, 0.010), size=200_000))
    (pick,) = beside(old, new, policies=("fastest within 1pp",)).pairs[0].picks
    assert (pick.verdict, pick.reason) == ("better", "better latency, for a larger drop")


def test_a_pick_that_only_crossed_its_limit_by_less_than_its_spread_is_not_lost():
    other = point(2, ratio=0.6, drop=0.001, drop_interval=(-0.004, 0.006))
    runs = [
        run_of(point(), point(1, ratio=0.3, drop=drop, drop_interval=(drop - 0.005, drop + 0.005)), other)
        for drop in (0.0098, 0.0102)
    ]
    (pick,) = beside(*runs, policies=("fastest within 1pp",)).pairs[0].picks
    assert pick.old and pick.new and (pick.old.trial, pick.new.trial) == (1, 2)
    assert (pick.verdict, pick.reason) == (
        "same",
        "not told apart: trial 1 may be as good as the earlier pick",
    )


def test_a_policy_that_nothing_meets_any_more_is_worse_and_one_that_is_met_again_better():
    met = run_of(point(), point(1, ratio=0.5))
    missed = run_of(point(), point(2, ratio=0.9))
    policy = ("most accurate within 0.6ms",)
    assert verdicts(beside(met, missed, policies=policy)) == ["worse"]
    assert verdicts(beside(missed, met, policies=policy)) == ["better"]
    assert verdicts(beside(missed, missed, policies=policy)) == ["same"]


def test_what_makes_only_ratios_comparable_is_named():
    (target,) = RUN.facts.targets
    assert target.environment is not None
    environment = replace(target.environment, runtime_version="1.32.0", governor="powersave")
    later = with_facts(RUN, targets=(replace(target, environment=environment),))
    (pair,) = beside(RUN, later).pairs
    assert not pair.absolute
    assert differences_lines(pair) == [
        "Only ratios are compared: clock governor: unknown, now powersave; runtime version: 1.31.1, now 1.32.0."
    ]


def test_the_model_and_the_data_are_told_apart_where_both_run_toml_are_known():
    other = with_facts(RUN, task=replace(RUN.facts.task, digest="f" * 64))
    first = Side(label="mon", run=RUN, identity={"model": "a", "data": "b"})
    retrained = Side(label="tue", run=other, identity={"model": "c", "data": "b"})
    unknown = Side(label="wed", run=other)
    kinds = [
        [one.kind for pair in compare([first, last]).pairs for one in pair.differences]
        for last in (retrained, unknown)
    ]
    assert kinds == [["original"], ["data"]]


def test_another_option_of_the_runtime_is_named_and_the_profile_that_has_it_is_not():
    (target,) = RUN.facts.targets
    changed = replace(target, runtime_options={"graph": "1"}, profile_fingerprint="0" * 64)
    (pair,) = beside(RUN, with_facts(RUN, targets=(changed,))).pairs
    assert "runtime option graph: not set, now 1" in differences_lines(pair)[0]
    assert "profile" not in differences_lines(pair)[0]


def test_energies_have_a_column_where_both_runs_counted_them():
    bare_run = run_of(point(), point(1, ratio=0.5))
    old, new = (with_energies(bare_run, {0: 1.0, 1: ratio}) for ratio in (0.5, 0.6))
    comparison = beside(old, new, policies=("fastest within 1pp",))
    (pair,) = comparison.pairs
    change = pair.picks[0].changes["energy"]
    assert (round(change.change, 3), change.verdict, pair.picks[0].verdict) == (0.2, "worse", "same")
    assert quantities(pair)[-1] == "energy" and ">energy</th>" in comparison_html(comparison)
    (bare,) = beside(old, bare_run, policies=("fastest within 1pp",)).pairs
    assert "energy" not in quantities(bare)


def test_drops_of_two_metrics_are_not_compared_and_nobody_dominates():
    metric = MetricFacts(name="F1", direction="higher", unit="fraction")
    later = with_facts(RUN, task=replace(RUN.facts.task, metric=metric))
    (pair,) = beside(RUN, later).pairs
    assert pair.old_dominated is None and "drop" not in pair.picks[0].changes
    assert [one.kind for one in pair.differences] == ["metric"]


def test_the_box_of_two_hypervolumes_is_common():
    """A metric that is no fraction has a scale of its own in each run: here 5 % of 0.9."""
    pixels = MetricFacts(name="R²", direction="higher", unit="")
    run = run_of(point(), point(1, ratio=0.5, drop=0.01), metric=pixels)
    (pair,) = beside(run, run).pairs
    assert pair.hypervolume.drop_scale == pytest.approx(0.045)


def test_a_front_that_is_faster_everywhere_dominates_the_other_and_not_the_reverse():
    (pair,) = beside(RUN, measured_again(RUN, latency=0.8)).pairs
    assert pair.old_dominated and pair.new_dominated
    assert pair.old_dominated.certain == pair.old_dominated.points == len(RUN.front) - 1
    assert pair.new_dominated.dominated == 0


def test_the_last_run_is_judged_against_each_earlier_one():
    comparison = beside(RUN, measured_again(RUN, latency=1.15), measured_again(RUN, 2, latency=1.15))
    assert [len(pair.worse) for pair in comparison.pairs] == [1, 0] and comparison.worse


def test_runs_of_several_targets_are_compared_on_those_that_both_have():
    both = sample_run_of_two()
    assert [pair.target for pair in beside(both, both).pairs] == ["cpu", "edge"]
    assert [pair.target for pair in beside(both, RUN).pairs] == ["cpu"]


def test_runs_of_one_target_each_are_compared_whatever_it_is_called():
    (pair,) = beside(RUN, sample_run_of_two().only("edge")).pairs
    assert ("target", "cpu", "edge") in [(one.what, one.old, one.new) for one in pair.differences]


def test_runs_without_a_common_target_are_refused():
    (target,) = RUN.facts.targets
    outcomes = {"gpu": RUN.baseline.measured["cpu"]}
    gpu = replace(
        RUN,
        facts=replace(RUN.facts, targets=(replace(target, name="gpu"),)),
        points=(replace(RUN.baseline, outcomes=outcomes),),
        uniform_trial=None,
    )
    with pytest.raises(InputError, match="have no target in common"):
        beside(sample_run_of_two(), gpu)


def test_one_run_is_nothing_to_compare():
    with pytest.raises(InputError, match="at least two"):
        beside(RUN)


@pytest.mark.parametrize("odd", [1e308, -1e308, 1e-300])
def test_numbers_at_the_end_of_floats_are_compared_and_shown(odd: float):
    """What strangers wrote may hold any finite number."""
    one = point(1, ratio=abs(odd), drop=odd, drop_interval=(min(odd, 0.0), max(odd, 0.0)))
    strange, plain = run_of(point(), one), run_of(point(), point(1, ratio=0.5))
    for runs in ((strange, plain), (plain, strange), (strange, strange)):
        comparison = beside(*runs)
        assert "inf" not in json_text(comparison.to_json()) and "<svg" in comparison_html(comparison)
