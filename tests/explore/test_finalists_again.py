"""Finalists that came out too wide are measured again, in turns, until they are good or the time is over."""

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.errors import StageError
from autocompress.evaluation.answers import Scored
from autocompress.evaluation.availability import Availability, Patience
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.explore.finalists import MOST_ROUNDS, Finalists
from autocompress.profiles.measurement import GOOD_HALF_WIDTH, Measurement, rounds_half_width
from autocompress.results.formats import load_sentence
from autocompress.results.records.latency import Latency, Predicted, latency_from_json
from autocompress.results.records.reading import Fields
from autocompress.results.run_directory import RunDirectory
from autocompress.targets.layer_times import LayerTimes
from autocompress.tests.explore.fakes import CONFIG, PROFILE, FakeNetwork
from autocompress.tests.profiles.records import measurement
from autocompress.tests.results.records import TARGET, latency, point

ORIGINAL, FAST, WORSE = (
    point(0, drop=0.0, ratio=1.0, size=90_000),
    point(1, drop=0.01, ratio=0.5, size=30_000),
    point(2, drop=0.02, ratio=0.6, size=40_000),
)
POINTS = (ORIGINAL, FAST, WORSE)
STEADY, WIDE, WIDER = (0.5, 0.5, 0.501, 0.499), (0.47, 0.53, 0.5), (0.4, 0.6, 0.5)


def digest(item):
    return item.measured[TARGET].artifact.digest


class ScriptedTarget:
    """Measures each file as its script says, round by round; the last entry repeats. An entry that is an
    error is raised. `asked` has what was measured anew; earlier rounds come from a store.
    """

    def __init__(self, scripts, store=None):
        self.profile = SimpleNamespace(name=TARGET, runtime=PROFILE.runtime, runtime_options={})
        self.scripts = {digest(POINTS[trial]): script for trial, script in scripts.items()}
        self.asked, self.store = [], {} if store is None else store

    def session(self):
        return nullcontext(self)

    def profile_layers(self, path, layers, *, batch):
        return LayerTimes(layers=dict.fromkeys(layers, 1e-5), other_s=2e-5)

    def measure(self, path, baseline, timing):
        if (path, timing.round) not in self.store:
            script = self.scripts.get(path, [STEADY])
            entry = script[min(timing.round, len(script)) - 1]
            self.asked.append((path, timing.round))
            if isinstance(entry, Exception):
                raise entry
            busy = {"cores": 2, "others_cores": 1.4}
            self.store[path, timing.round] = measurement(*entry, conditions=busy)
        return self.store[path, timing.round]


def quiet(text):
    pass


def evaluator_of(target):
    scored = Scored(value=0.8, interval=(0.7, 0.9))
    bench = SimpleNamespace(
        artifact_path=lambda recipe, artifact: artifact.digest,
        examiner=SimpleNamespace(network=FakeNetwork(), scored=lambda *given, original: scored),
    )
    return SimpleNamespace(
        targets=(target,),
        target=lambda name: target,
        availability=Availability(),
        patience=Patience(limit_s=0.0),
        bench=bench,
    )


@pytest.fixture
def look(tmp_path):
    """Looks at the original and two finalists, then again; the finalists."""

    def look(target, *, time_left=lambda: True):
        with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
            finalists = Finalists(directory, evaluator_of(target), cast(StoredSplit, None), batch=1)
            finalists.look_at(POINTS, baseline=ORIGINAL, progress=quiet, time_left=lambda: True)
            target.asked.clear()
            finalists.look_again(POINTS, baseline=ORIGINAL, progress=quiet, time_left=time_left)
            return finalists

    return look


def test_only_what_is_too_wide_is_measured_again_in_turns_the_widest_first(look):
    target = ScriptedTarget({1: [WIDE, WIDE, STEADY * 3], 2: [WIDER, WIDER, STEADY * 3]})
    looks = look(target).looks
    assert target.asked[:2] == [(digest(WORSE), 2), (digest(FAST), 2)]
    assert {number for _, number in target.asked[2:4]} == {3} and digest(ORIGINAL) not in dict(target.asked)
    assert looks[digest(FAST), TARGET].latency.pairs == 3 + 3 + 12


def test_a_finalist_that_became_good_is_left_alone(look):
    target = ScriptedTarget({1: [WIDE, STEADY * 12]})
    fast = look(target).looks[digest(FAST), TARGET]
    assert target.asked == [(digest(FAST), 2)] and fast.rounds == 2
    assert fast.half_width <= GOOD_HALF_WIDTH and not fast.latency.noisy


def test_rounds_end_and_what_stays_noisy_says_how_busy_the_machine_was(look):
    target = ScriptedTarget({1: [WIDER]})
    fast = look(target).looks[digest(FAST), TARGET]
    assert fast.rounds == MOST_ROUNDS and fast.latency.noisy
    sentence = load_sentence(fast.latency)
    assert sentence.endswith("%: other processes used 1.4 of 2 cores while it was measured")
    assert sentence.startswith("±")


def test_when_the_time_is_over_the_widest_was_measured(look):
    target, ticks = ScriptedTarget({1: [WIDE], 2: [WIDER]}), iter([True, False])
    look(target, time_left=lambda: next(ticks))
    assert target.asked == [(digest(WORSE), 2)]


def test_a_continued_search_goes_on_with_the_rounds_and_measures_none_twice(look):
    ticks, store = iter([True, False]), dict[tuple[str, int], Measurement]()
    first = ScriptedTarget({1: [WIDER]}, store)
    look(first, time_left=lambda: next(ticks))
    second = ScriptedTarget({1: [WIDER]}, store)
    assert look(second).looks[digest(FAST), TARGET].rounds == MOST_ROUNDS
    assert first.asked + second.asked == [(digest(FAST), number) for number in range(2, MOST_ROUNDS + 1)]


def test_ctrl_c_between_rounds_costs_nothing(look):
    store = dict[tuple[str, int], Measurement]()
    first = ScriptedTarget({1: [WIDER]}, store)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(first, time_left=interrupted)
    second = ScriptedTarget({1: [WIDER]}, store)
    look(second)
    assert second.asked == [(digest(FAST), number) for number in range(2, MOST_ROUNDS + 1)]


def test_a_round_that_fails_leaves_the_latency_as_it_was(look):
    restless = StageError("restless", stage="measure", kind="noisy")
    fast = look(ScriptedTarget({1: [WIDER, restless]})).looks[digest(FAST), TARGET]
    assert fast.latency == Latency.of(measurement(*WIDER, conditions={"cores": 2, "others_cores": 1.4}))


def test_rounds_that_agree_narrow_the_interval_and_rounds_that_differ_do_not():
    one = rounds_half_width([WIDE])
    assert one == pytest.approx(measurement(*WIDE).half_width)
    assert rounds_half_width([WIDE, WIDE, WIDE]) < one / 2
    apart = [(0.50, 0.501, 0.499), (0.60, 0.601, 0.599), (0.70, 0.701, 0.699)]
    pairs_alone = measurement(*[ratio for pairs in apart for ratio in pairs]).half_width
    assert rounds_half_width(apart) > pairs_alone


def test_rounds_on_several_boards_are_of_none():
    rounds = [measurement(*WIDE, conditions={"board": board}) for board in (1, 2)]
    first = Latency.of(rounds[0])
    value = json.loads(json.dumps(first.to_json()))
    assert first.board == 1 and latency_from_json(Fields(value, "latency")) == first
    assert Latency.of_rounds(rounds).board is None and Latency.of_rounds(rounds[:1] * 2).board == 1


def test_the_interval_of_rounds_holds_the_ratio_and_the_percentiles_of_all_pairs():
    rounds = [measurement(*WIDE), measurement(*STEADY)]
    together = Latency.of_rounds(rounds)
    low, high = together.ratio_interval
    assert low < together.ratio < high and together.pairs == 7
    assert together.interval_s == pytest.approx((low * 0.01, high * 0.01))


def test_the_load_comes_back_from_json_and_an_earlier_file_has_none():
    seen = Latency.of(measurement(*WIDER, conditions={"cores": 4, "others_cores": 2.25}))
    value = json.loads(json.dumps(seen.to_json()))
    assert latency_from_json(Fields(value, "latency")) == seen
    older = {key: entry for key, entry in value.items() if key not in ("cores", "others_cores")}
    read = latency_from_json(Fields(older, "latency"))
    assert not isinstance(read, Predicted) and (read.cores, load_sentence(read)) == (None, "")
    assert load_sentence(latency(0.5)) == ""
