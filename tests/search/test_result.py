"""The front as it stands, limits, screening, finalists; all from given numbers."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import InputError, StageError
from autocompress.profiles import parse_drop
from autocompress.results.evaluation import Failure, Latency
from autocompress.results.formats import FRONT_SCHEMA_VERSION
from autocompress.results.limits import Constraints
from autocompress.results.run_directory import RunDirectory
from autocompress.search.evaluation.availability import Availability, Patience
from autocompress.search.finalists import Finalist, Finalists
from autocompress.search.result import Result, indistinguishable, run_json
from autocompress.search.screen import Screen
from autocompress.search.space.space import DEFAULT_RECOVERY
from autocompress.targets.layer_times import LayerTimes
from autocompress.tasks.task import Metric
from autocompress.tests.search.fakes import CONFIG, METRIC, PROFILE, FakeNetwork, evaluation, latency


def result(*evaluations, constraints=None, metric=METRIC, known=None):
    return Result(
        metric=metric,
        constraints=constraints or Constraints(),
        uniform_digest="none",
        evaluations=[evaluation(0), *evaluations],
        known=known or {},
    )


FAST = evaluation(1, drop=0.01, ratio=0.5, size=30_000)
WORSE = evaluation(2, drop=0.02, ratio=0.6, size=40_000)


def test_the_front_holds_what_nothing_dominates_the_fastest_first():
    assert [item.trial for item in result(FAST, WORSE).front()] == [1, 0]


def test_a_limit_takes_points_off_the_front_and_tells_by_how_much():
    limited = result(FAST, WORSE, constraints=Constraints(max_drop=parse_drop("0.5pp")))
    points = limited.points()
    assert [point["trial"] for point in points["front"]] == [0]
    assert points["dominated"][0]["violations"] == {"drop": pytest.approx(0.005)}
    assert points["nearest_misses"] == []


def test_without_a_feasible_point_the_nearest_misses_are_listed_nearest_first():
    points = result(FAST, WORSE, constraints=Constraints(max_latency_s=1e-6)).points()
    assert points["front"] == [] and [miss["trial"] for miss in points["nearest_misses"]] == [1, 2, 0]


def test_a_finalists_longer_measurement_replaces_the_first_one():
    known = {FAST.artifact.digest: Finalist(test=0.88, test_interval=None, latency=latency(0.55))}
    point = result(FAST, known=known).points()["front"][0]
    assert point["latency"]["ratio"] == 0.55 and point["quality"]["test"] == 0.88 and point["finalist"]


def test_points_whose_intervals_overlap_are_indistinguishable():
    near = replace(FAST, trial=7, latency=latency(0.502))
    assert indistinguishable([FAST, near, WORSE]) == {1: [7], 7: [1], 2: []}


def test_the_history_grows_and_front_json_is_json():
    run = run_json(
        result(FAST, WORSE),
        {"task": {}},
        failures=[Failure(trial=3, stage="run", kind="crash", message="m", retryable=True)],
        screened=2,
        status="finished",
        elapsed_s=9.0,
    )
    values = [item["hypervolume"] for item in run["history"]]
    assert values == sorted(values) and values[0] == 0 < values[-1]
    assert run["trials"] == {"finished": 3, "failed": 1, "screened": 2}
    assert json.loads(json.dumps(run, allow_nan=False))["schema_version"] == FRONT_SCHEMA_VERSION


def test_lower_is_better_and_a_baseline_of_0_work():
    metric = Metric(name="error", function=lambda o, t: 0.0, direction="lower", unit="")
    zero = replace(evaluation(0), validation=0.0)
    subject = replace(result(FAST, metric=metric), evaluations=[zero, FAST])
    assert subject.drop_scale == 1.0 and subject.hypervolume() > 0
    with pytest.raises(InputError, match=r"0\.1abs"):
        Constraints(max_drop=parse_drop("1%")).limits(0.0)
    assert Constraints(max_drop=parse_drop("0.1abs")).limits(0.0).drop == 0.1


def test_samplers_are_told_that_a_useless_model_is_infeasible():
    told = result(FAST).sampler_constraints(evaluation(3, drop=0.3, ratio=0.01, size=10))
    assert told["worth"] > 0 and result(FAST).sampler_constraints(FAST)["worth"] < 0


def screen(**limits):
    return Screen(network=FakeNetwork(), **limits)


def test_a_recipe_that_was_tried_is_screened_out():
    subject = screen()
    subject.learn(FAST)
    assert subject.judge(FAST.recipe).reason == "duplicate"
    assert subject.judge(Recipe(keep={"layer0": 8})) is None


def test_a_recipe_whose_weights_exceed_the_limit_is_screened_out():
    verdict = screen(sizes={"int8": 1000}).judge(Recipe())
    assert verdict.reason == "size" and verdict.excess > 0


def test_a_limit_on_size_is_compared_with_the_bytes_in_the_files_of_its_own_target():
    network, recipe = (
        FakeNetwork(int8_weights="float32"),
        Recipe(precision={f"layer{n}": "int8" for n in range(4)}),
    )
    limit = network.cost(recipe).weight_bytes // 2
    assert Screen(network=network, sizes={"int8": limit}).judge(recipe) is None
    assert Screen(network=network, sizes={"int8": limit, "float32": limit}).judge(recipe).reason == "size"


def test_what_is_no_smaller_than_a_model_that_is_too_slow_is_screened_out():
    subject = screen(latency_s=0.3e-3)
    subject.learn(replace(FAST, recipe=Recipe(keep={"layer1": 8})))
    assert subject.judge(Recipe(keep={"layer1": 16})).reason == "latency"
    assert subject.judge(Recipe(keep={"layer0": 8})) is None
    assert subject.judge(Recipe(keep={"layer1": 16}, precision={"layer0": "int8"})) is None


def test_a_recovery_that_does_not_fit_into_the_time_left_is_screened_out():
    subject = screen()
    recovered = Recipe(recovery=replace(DEFAULT_RECOVERY, steps=100))
    subject.learn(replace(FAST, recipe=recovered, seconds={"build": 1.0, "recover": 10.0}))
    assert subject.seconds(Recipe(recovery=DEFAULT_RECOVERY)) == pytest.approx(26.0)
    assert subject.judge(Recipe(recovery=DEFAULT_RECOVERY), left_s=20.0).reason == "time"
    assert subject.judge(Recipe(keep={"layer0": 8}), left_s=20.0) is None


UNIFORM = Recipe(precision={"layer0": "int8", "layer1": "int8"})


def shrunk(trial, *, ratio, precision=None, macs=10):
    """A candidate with a tenth of the original's MACs, or more."""
    made = evaluation(trial, Recipe(keep={"layer0": 8}, precision=precision or {}), drop=0.01, ratio=ratio)
    rows = tuple(
        {"name": name, "channels_out": 8, "precision_asked": "float32", "precision_executed": None}
        for name in ("layer0", "layer1", "layer2")
    )
    return replace(made, artifact=replace(made.artifact, macs=macs), layers=rows)


def warnings_of(candidate, *, original_macs=100):
    uniform = replace(evaluation(1, UNIFORM, ratio=0.5), recipe=UNIFORM)
    shown = replace(result(uniform, candidate), uniform_digest=UNIFORM.digest)
    for item in shown.evaluations[:2]:
        object.__setattr__(item, "artifact", replace(item.artifact, macs=original_macs))
    points = shown.points()
    return next(
        p["warnings"] for p in [*points["front"], *points["dominated"]] if p["trial"] == candidate.trial
    )


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        pytest.param(
            shrunk(2, ratio=0.999), ["smaller, but not faster than the original"], id="float32-as-slow"
        ),
        pytest.param(shrunk(2, ratio=0.9), [], id="float32-faster"),
        pytest.param(
            shrunk(2, ratio=0.499, precision=UNIFORM.precision),
            ["smaller, but not faster than uniform int8"],
            id="int8-as-slow",
        ),
        pytest.param(shrunk(2, ratio=0.4, precision=UNIFORM.precision), [], id="int8-faster"),
        pytest.param(shrunk(2, ratio=0.6, precision={"layer0": "int8"}), [], id="mixed-beside-the-original"),
        pytest.param(shrunk(2, ratio=1.2, macs=100), [], id="not-smaller"),
    ],
)
def test_a_smaller_candidate_that_is_not_clearly_faster_is_told(candidate, told):
    assert warnings_of(candidate) == told


def test_the_layers_of_finalists_have_the_profilers_times_before_and_after():
    rows = tuple(
        {"name": name, "precision_asked": "float32", "precision_executed": None}
        for name in ("layer0", "layer1")
    )
    fast = replace(FAST, layers=rows)
    times = LayerTimes(layers={"layer0": 2e-5}, other_s=7e-5)
    finalist = Finalist(test=0.9, test_interval=None, latency=None, times=times)
    original = replace(finalist, times=LayerTimes(layers={"layer0": 5e-5, "layer1": 4e-5}, other_s=9e-5))
    known = {fast.artifact.digest: finalist, evaluation(0).artifact.digest: original}
    point = next(p for p in result(fast, known=known).points()["front"] if p["trial"] == 1)
    assert [(row["time_s"], row["time_original_s"]) for row in point["layers"]] == [
        (2e-5, 5e-5),
        (None, 4e-5),
    ]
    assert point["other_time_s"] == 7e-5 and Finalist.from_json(finalist.to_json()) == finalist


class FakeEvaluator:
    further = ()

    def __init__(self, *, error=None):
        self.error = error
        self.scored = []
        self.network = FakeNetwork()
        self.target = SimpleNamespace(session=lambda: nullcontext(self), profile=PROFILE)
        self.availability, self.patience = Availability(), Patience()

    def profile_layers(self, path, layers, *, batch):
        return LayerTimes(layers=dict.fromkeys(layers, 1e-5), other_s=2e-5)

    def artifact_path(self, item):
        return item.trial

    def quality(self, session, path, split):
        self.scored.append(path)
        return 0.8, (0.7, 0.9)

    def measure_again(self, item, *, baseline, timing):
        if self.error:
            raise self.error
        return item


@pytest.fixture
def looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(Latency, "of", classmethod(lambda cls, item: item.latency))

    def look(evaluator, items, *, time_left=math.inf):
        with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
            finalists = Finalists(directory, evaluator, None, batch=1)
            ticks = iter(range(100))
            finalists.look_at(
                items,
                baseline=items[0],
                progress=lambda text: None,
                time_left=lambda: next(ticks) < time_left,
            )
        return finalists

    return look


def test_finalists_are_scored_once_even_by_a_continued_search(looked_at):
    looked_at(FakeEvaluator(), [FAST])
    again = FakeEvaluator()
    known = looked_at(again, [FAST, WORSE]).known
    assert again.scored == [2] and known[FAST.artifact.digest].test == 0.8
    assert known[FAST.artifact.digest].times.layers["layer3"] == 1e-5


def test_a_finalist_whose_measurement_fails_keeps_its_first_one(looked_at):
    finalists = looked_at(FakeEvaluator(error=StageError("restless", stage="measure", kind="noisy")), [FAST])
    assert finalists.known[FAST.artifact.digest].latency is None and finalists.failures[0].kind == "noisy"


def test_finalists_end_with_the_time(looked_at):
    assert len(looked_at(FakeEvaluator(), [FAST, WORSE], time_left=1).known) == 1
