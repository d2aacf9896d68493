"""The rules that judge a run: worst numbers, limits on each target, fronts, misses; all from given numbers."""

import json
from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import InputError
from autocompress.profiles import PredictedLatency, parse_drop
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.latency import Predicted
from autocompress.results.records.point import Failure, LayerRow, Point, recipe_from
from autocompress.results.records.reading import Fields, Unfit
from autocompress.results.records.run import Run
from autocompress.results.view import RunOn
from autocompress.tests.results.records import TARGET, on_two, point, run_of

FAST = point(1, drop=0.01, ratio=0.5, size=30_000)
WORSE = point(2, drop=0.02, ratio=0.6, size=40_000)


def trials(points):
    return [item.trial for item in points]


def limited(*points, **limits):
    return run_of(point(0), *points, constraints={TARGET: Constraints(**limits)})


# --- one target


def test_the_front_holds_what_nothing_dominates_the_fastest_first():
    assert trials(limited(FAST, WORSE).front) == [1, 0]


def test_of_recipes_that_came_to_the_same_file_the_front_holds_the_first():
    recovered = replace(FAST, trial=3, elapsed_s=3.0)
    assert trials(limited(FAST, recovered, WORSE).front) == [1, 0]


def test_a_limit_takes_points_off_the_front_and_tells_by_how_much():
    run = limited(FAST, WORSE, max_drop=parse_drop("0.5pp"))
    assert trials(run.front) == [0] and trials(run.others) == [1, 2]
    assert RunOn.of(run, TARGET).others[0].violations == {"drop": pytest.approx(0.005)}


def test_without_a_feasible_point_the_nearest_misses_are_listed_nearest_first():
    run = limited(FAST, WORSE, max_latency_s=1e-6)
    assert run.front == () and trials(run.nearest_misses()) == [1, 2, 0]
    assert trials(run.nearest_misses(count=1)) == [1]


def test_points_whose_intervals_overlap_are_indistinguishable():
    near = point(7, ratio=0.502)
    assert limited(FAST, near, WORSE).indistinguishable == {0: (), 1: (7,), 7: (1,), 2: ()}


def test_a_predicted_point_has_no_interval_that_could_overlap():
    latency = Predicted(latency=PredictedLatency(seconds=1e-3, source="a leaflet"), ratio=0.5, error=0.1)
    guessed = [
        replace(each, outcomes={TARGET: replace(each.measured[TARGET], latency=latency)})
        for each in (point(8), point(9))
    ]
    assert limited(FAST, *guessed).indistinguishable == {0: (), 1: (), 8: (), 9: ()}


def test_the_history_grows_and_a_run_comes_back_from_json():
    failure = Failure(trial=3, stage="run", kind="crash", message="m", retryable=True)
    run = replace(limited(FAST, WORSE), failures=(failure,), screened=2, status="finished", elapsed_s=9.0)
    values = [entry.hypervolume for entry in run.history]
    assert values == sorted(values) and values[0] == 0 < values[-1] == run.hypervolume
    assert Run.from_json(Fields(json.loads(json.dumps(run.to_json(), allow_nan=False)), "run")) == run


def test_lower_is_better_and_a_baseline_of_0_work():
    original = point(0)
    there = original.measured[TARGET]
    zero = replace(there, quality=replace(there.quality, validation=0.0))
    metric = MetricFacts(name="error", direction="lower", unit="")
    run = run_of(replace(original, outcomes={TARGET: zero}), FAST, metric=metric)
    assert run.drop_scale == 1.0 and run.hypervolume > 0
    assert metric.drop(0.3, baseline=0.1) == pytest.approx(0.2)
    with pytest.raises(InputError, match=r"0\.1abs"):
        Constraints(max_drop=parse_drop("1%")).limits(0.0)
    assert Constraints(max_drop=parse_drop("0.1abs")).limits(0.0).drop == 0.1


UNIFORM = Recipe(precision={"layer0": "int8", "layer1": "int8"})


def with_macs(candidate: Point, macs: int) -> Point:
    there = candidate.measured[TARGET]
    rows = tuple(row(name) for name in ("layer0", "layer1", "layer2"))
    changed = replace(there, artifact=replace(there.artifact, macs=macs), layers=rows)
    return replace(candidate, outcomes={TARGET: changed})


def row(name: str) -> LayerRow:
    return LayerRow(
        name=name,
        kind="conv",
        channels_in=8,
        channels_out=8,
        channels_in_original=16,
        channels_out_original=16,
        precision_asked="float32",
        precision_executed=None,
        bits=32,
        macs=1,
        parameters=1,
        bytes=4,
    )


def shrunk(*, ratio, precision=None, macs=10):
    """A candidate with a tenth of the original's MACs, or more."""
    recipe = Recipe(keep={"layer0": 8}, precision=precision or {})
    return with_macs(point(2, recipe, drop=0.01, ratio=ratio), macs)


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        pytest.param(
            shrunk(ratio=0.999), ["smaller, but not faster than the original"], id="float32-as-slow"
        ),
        pytest.param(shrunk(ratio=0.9), [], id="float32-faster"),
        pytest.param(
            shrunk(ratio=0.499, precision=UNIFORM.precision),
            ["smaller, but not faster than uniform int8"],
            id="int8-as-slow",
        ),
        pytest.param(shrunk(ratio=0.4, precision=UNIFORM.precision), [], id="int8-faster"),
        pytest.param(shrunk(ratio=0.6, precision={"layer0": "int8"}), [], id="mixed-beside-the-original"),
        pytest.param(shrunk(ratio=1.2, macs=100), [], id="not-smaller"),
    ],
)
def test_a_smaller_candidate_that_is_not_clearly_faster_is_told(candidate, told):
    original, uniform = with_macs(point(0), 100), with_macs(point(1, UNIFORM, ratio=0.5), 100)
    view = RunOn.of(run_of(original, uniform, candidate, uniform_trial=1), TARGET)
    assert view.on(candidate).warnings == told


# --- several targets


FOR_CPU = on_two(1, drop=0.01, ratio=0.4, edge=0.9)
FOR_EDGE = on_two(2, drop=0.01, ratio=0.8, edge=0.5)
FOR_NONE = on_two(3, drop=0.01, ratio=0.9, edge=0.9)


def joint(*points, cpu=None, edge=None):
    constraints = {"cpu": cpu or Constraints(), "edge": edge or Constraints()}
    return run_of(on_two(0), *points, constraints=constraints)


def test_a_candidate_counts_with_its_worst_numbers():
    assert joint(FOR_CPU).vector(FOR_CPU) == pytest.approx((0.2, 1.0, 0.9))
    there = FOR_CPU.measured["edge"]
    larger = replace(there, artifact=replace(there.artifact, size_bytes=150_000))
    candidate = replace(FOR_CPU, outcomes={**FOR_CPU.outcomes, "edge": larger})
    assert joint(candidate).vector(candidate)[1] == 1.5


def test_each_target_has_its_own_front_and_hypervolume_beside_the_joint_ones():
    run = joint(FOR_CPU, FOR_EDGE, FOR_NONE)
    assert trials(run.front) == [2, 0] and run.fronts == {"cpu": (1, 0), "edge": (2, 0)}
    small = [on_two(1, ratio=0.4, edge=0.9, size=50_000), on_two(2, ratio=0.8, edge=0.5, size=50_000)]
    run = joint(*small)
    volumes = [run.only(name).hypervolume for name in run.target_names]
    assert min(volumes) > run.hypervolume > 0
    assert run.only("edge").history[-1].hypervolume == volumes[1]


def test_the_front_of_one_target_is_that_of_the_run():
    assert limited(FAST).fronts == {TARGET: (1, 0)}


def test_a_limit_holds_on_the_target_that_it_was_given_for():
    run = joint(FOR_CPU, FOR_EDGE, edge=Constraints(max_latency_s=0.6e-3))
    assert trials(run.front) == [2]
    excess = run.excess(FOR_CPU)["latency"]
    assert (excess.target, excess.value, excess.relative) == (
        "edge",
        pytest.approx(0.3e-3),
        pytest.approx(0.5),
    )
    assert run.violations(FOR_CPU).keys() == {"latency"}
    feasible = {name: RunOn.of(run, name).on(FOR_CPU).feasible for name in run.target_names}
    assert feasible == {"cpu": True, "edge": False}


def test_the_worst_of_two_latency_limits_is_the_worst_for_its_limit():
    cpu, edge = Constraints(max_latency_s=0.1e-3), Constraints(max_latency_s=0.5e-3)
    excess = joint(FOR_CPU, cpu=cpu, edge=edge).excess(FOR_CPU)["latency"]
    assert excess.relative == pytest.approx(3.0)  # 0.4 ms of 0.1 ms, not 0.9 ms of 0.5 ms
    assert (excess.target, excess.value) == ("cpu", pytest.approx(0.3e-3))


def test_a_candidate_that_is_missing_on_a_target_is_on_no_joint_front_but_on_those_of_the_others():
    run = joint(on_two(1, drop=0.01, ratio=0.4, edge=None))
    assert trials(run.front) == [0] and run.fronts == {"cpu": (1, 0), "edge": (0,)}
    candidate = run.point(1)
    assert candidate.missing["edge"].failure.message == "restless" and not run.feasible(candidate)
    assert run.hypervolume == joint().hypervolume and run.waiting == {"edge": 1}
    assert trials(run.only("edge").points) == [0]


def test_a_target_that_has_not_measured_the_original_judges_nothing():
    original = on_two(0, edge=None)
    limits = {"cpu": Constraints(), "edge": Constraints(max_latency_s=1e-9)}
    run = run_of(original, on_two(1, drop=0.01, ratio=0.4, edge=None), constraints=limits)
    assert run.target_names == ("cpu",) and trials(run.front) == [1, 0]


def test_points_are_indistinguishable_by_the_intervals_of_each_target():
    run = joint(on_two(1, drop=0.01, ratio=0.5, edge=0.5), on_two(2, drop=0.02, ratio=0.502, edge=0.8))
    assert RunOn.of(run, "cpu").points[1].indistinguishable_from == (2,)
    assert RunOn.of(run, "edge").points[1].indistinguishable_from == () == run.indistinguishable[1]


def test_the_drop_may_be_limited_on_all_targets_at_once():
    limits = Constraints(max_drop=parse_drop("0.5pp"))
    assert trials(joint(FOR_CPU, FOR_EDGE, cpu=limits, edge=limits).front) == [0]


def test_a_run_without_points_or_with_points_of_another_run_cannot_be():
    with pytest.raises(ValueError, match="at least the original"):
        run_of()
    with pytest.raises(ValueError, match="names a target that the run does not have"):
        run_of(on_two(0))


def test_a_run_of_before_drops_had_intervals_reads_without_them():
    run = run_of(point(0), point(1, drop=0.01, drop_interval=(0.0, 0.02)))
    value = json.loads(json.dumps(run.to_json()))
    assert Run.from_json(Fields(value)) == run
    for entry in value["points"]:
        outcome = entry["outcomes"]["fake"]
        del (
            outcome["drop_interval"],
            outcome["quality"]["test_drop"],
            outcome["quality"]["test_drop_interval"],
        )
    earlier = Run.from_json(Fields(value)).point(1).measured["fake"]
    assert (earlier.drop, earlier.drop_interval) == (0.01, None)


def test_an_interval_that_does_not_hold_its_drop_is_refused():
    value = json.loads(json.dumps(run_of(point(0), point(1, drop=0.01)).to_json()))
    value["points"][1]["outcomes"]["fake"]["drop_interval"] = [0.02, 0.03]
    with pytest.raises(Unfit, match=r"drop_interval is \[0.02, 0.03\], which does not hold drop, 0.01"):
        Run.from_json(Fields(value))


@pytest.mark.parametrize(
    ("drop", "half", "chance"),
    [(0.01, 0.003, 0.5), (0.007, 0.003, 0.975), (0.013, 0.003, 0.025), (0.009, 0.0, 1.0), (0.011, 0.0, 0.0)],
)
def test_the_chance_of_keeping_a_limit_follows_from_the_interval_of_the_drop(drop, half, chance):
    run = limited(point(1, drop=drop, drop_interval=(drop - half, drop + half)), max_drop=parse_drop("1pp"))
    assert run.chance(run.point(1)) == pytest.approx(chance, abs=1e-3)


def test_without_a_limit_or_an_interval_there_is_no_chance():
    interval = point(1, drop=0.01, drop_interval=(0.0, 0.02))
    assert limited(interval).chance(interval) is None
    run = limited(FAST, max_drop=parse_drop("1pp"))
    assert run.chance(FAST) is None and run.chance(run.baseline) is None


def test_whether_a_limit_is_kept_is_decided_by_the_drop_alone():
    below, above = (
        point(trial, drop=drop, drop_interval=(drop - 0.01, drop + 0.01))
        for trial, drop in [(1, 0.0099), (2, 0.0101)]
    )
    run = limited(below, above, max_drop=parse_drop("1pp"))
    assert run.feasible(below) and not run.feasible(above)


def test_a_fused_recipe_comes_back_from_a_run():
    recipe = Recipe(fused=True)
    assert recipe_from(Fields(json.loads(json.dumps(recipe.to_json())), "recipe")) == recipe
