"""The loop with a fake evaluator: order, resume, stopping, failures."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.compress.student.maker import StudentMaker
from autocompress.errors import FailureKind, StageError, TargetUnavailable, TaskError
from autocompress.explore.interruptions import GIVEN_UP, SET_ASIDE
from autocompress.explore.queue import Queue
from autocompress.explore.rungs.rung_search import RungSearch
from autocompress.explore.search import Fits
from autocompress.explore.space.space import DEFAULT_RECOVERY
from autocompress.results.limits import Constraints
from autocompress.results.records.point import Failure, Measured, Missing
from autocompress.results.run_directory import RunDirectory, read_front
from autocompress.tests.explore.fakes import (
    CONFIG,
    FakeCatchingUp,
    FakeEvaluator,
    FakeNetwork,
    make_search,
    run_search,
)
from autocompress.tests.present import present
from autocompress.tests.results.records import TARGET, latency, measured
from autocompress.tests.waiting import comes_true


def failure(recipe: Recipe, *, kind: FailureKind = "error") -> Failure:
    return Failure(trial=0, stage="export", kind=kind, message="no kernel", retryable=False)


def test_the_original_is_trial_0_and_uniform_int8_trial_1(tmp_path):
    done = run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()))
    assert done.status == "finished"
    assert (done.run.baseline.trial, done.run.baseline.recipe) == (0, Recipe())
    assert done.run.uniform_int8.trial == 1
    assert set(done.run.uniform_int8.recipe.precision) == {"layer0", "layer1", "layer2", "layer3"}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_finds_more_than_uniform_int8(tmp_path, sampler):
    done = run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=30, sampler=sampler)
    history = done.run.history
    assert len(done.run.points) == 30
    assert history[-1].hypervolume > history[1].hypervolume > 0


def test_no_recipe_is_evaluated_twice(tmp_path):
    evaluator = FakeEvaluator(FakeNetwork((16, 16, 4)))
    run_search(tmp_path / "run", evaluator, trials=16)
    assert len(evaluator.evaluated) == len(set(evaluator.evaluated)) == 16


def test_a_small_space_without_recovery_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.explore.sequential.MAX_SCREENED", 20)
    evaluator = FakeEvaluator(FakeNetwork((8, 4)))
    done = run_search(tmp_path / "run", evaluator, trials=None, budget_s=60.0, recovery=False)
    assert done.status == "finished" and done.run.elapsed_s < 50
    assert done.run.screened >= 20


def test_a_continued_search_repeats_nothing_and_goes_on(tmp_path):
    first, second = FakeEvaluator(FakeNetwork()), FakeEvaluator(FakeNetwork())
    run_search(tmp_path / "run", first, trials=6)
    done = run_search(tmp_path / "run", second, trials=10)
    assert len(done.run.points) == 10
    assert len(second.evaluated) == 4 and not set(first.evaluated) & set(second.evaluated)


def test_a_finished_search_is_only_read(tmp_path):
    run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=5)
    again = FakeEvaluator(FakeNetwork())
    done = run_search(tmp_path / "run", again, trials=5)
    assert again.evaluated == [] and len(done.run.points) == 5 and done.status == "finished"


def test_a_failed_candidate_is_recorded_and_the_search_goes_on(tmp_path):
    evaluator = FakeEvaluator(
        FakeNetwork(), failing=lambda recipe: failure(recipe) if "layer1" in recipe.keep else None
    )
    done = run_search(tmp_path / "run", evaluator, trials=8)
    assert done.status == "finished"
    assert len(done.run.points) + len(done.run.failures) == 8 and done.run.failures
    assert {item.message for item in done.run.failures} == {"no kernel"}


@pytest.mark.parametrize(("kind", "error"), [("error", TaskError), ("noisy", TargetUnavailable)])
def test_an_original_that_cannot_be_measured_ends_the_search(tmp_path, kind, error):
    evaluator = FakeEvaluator(FakeNetwork(), failing=lambda recipe: failure(recipe, kind=kind))
    with pytest.raises(error, match=r"The original model cannot be measured.*no kernel"):
        run_search(tmp_path / "run", evaluator)
    done = run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=3)
    assert done.run.baseline.trial == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_run_without_recovery_goes_on_with_it_and_the_other_way_round(tmp_path, sampler):
    evaluator = FakeEvaluator(FakeNetwork())
    for trials, recovery in ((6, False), (12, True), (16, False)):
        done = run_search(tmp_path / "run", evaluator, trials=trials, recovery=recovery, sampler=sampler)
    assert done.status == "finished" and len(evaluator.evaluated) == len(set(evaluator.evaluated)) == 16


def test_a_recovery_that_was_running_is_not_measured_again_without_it(tmp_path):
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        search = make_search(directory, FakeEvaluator(FakeNetwork()), trials=4)
        search.run()
        space, study = search.trials.space, search.trials.study
        uniform = space.uniform_int8()
        running = study.ask(space.parameters(replace(uniform, recovery=DEFAULT_RECOVERY)))
        space.suggest(running)
    again = FakeEvaluator(FakeNetwork())
    done = run_search(tmp_path / "run", again, trials=6, recovery=False)
    assert uniform.digest not in again.evaluated and len(again.evaluated) == 2
    assert done.search.trials.records[running.number].user_attrs["screened"] == "duplicate"


def test_a_trial_that_an_older_version_left_running_is_not_recovered(tmp_path):
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        search = make_search(directory, FakeEvaluator(FakeNetwork()), trials=2)
        search.run()
        parameters = search.trials.space.parameters(Recipe(keep={"layer1": 8}))
        search.trials.study.ask({name: value for name, value in parameters.items() if name != "recover"})
    again = FakeEvaluator(FakeNetwork())
    run_search(tmp_path / "run", again, trials=3)
    assert again.evaluated == [Recipe(keep={"layer1": 8}).digest]


def test_ctrl_c_while_a_run_is_taken_up_is_an_interruption(tmp_path, monkeypatch):
    run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=3)

    def interrupted(self, time_left):
        raise KeyboardInterrupt

    monkeypatch.setattr(Queue, "catch_up", interrupted)
    strategy = RungSearch(make_tables=lambda trials: pytest.fail("no tables yet"))
    done = run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=5, strategy=strategy)
    assert done.status == "interrupted" and len(done.run.points) == 3


class EdgeAway(FakeEvaluator):
    """Evaluates on `edge`, too, which is away; where `original` it measured the original before."""

    def __init__(self, *, original=False):
        super().__init__(FakeNetwork(), targets=(TARGET, "edge"))
        self.original = original

    def outcome(self, target, trial, recipe):
        there = super().outcome(target, trial, recipe)
        if target == TARGET or (self.original and trial == 0):
            return there
        gone = Failure(trial=trial, stage="measure", kind="device", message="no route", retryable=True)
        return Missing(artifact=there.artifact, failure=gone)


class NotedCatchingUp(FakeCatchingUp):
    """Notes whether there was time to catch up."""

    def __init__(self):
        self.time_left = []

    def catch_up(self, points, *, progress, time_left):
        self.time_left.append(time_left())


@pytest.mark.parametrize(
    "spent", [{"budget_s": 1e-3, "trials": None}, {"trials": 2}], ids=["budget", "trials"]
)
def test_what_is_queued_is_measured_by_the_next_session_even_if_nothing_is_left_for_candidates(
    tmp_path, spent
):
    run_search(tmp_path / "run", EdgeAway(), **spent)
    noted = NotedCatchingUp()
    run_search(tmp_path / "run", EdgeAway(), catching_up=noted, **spent)
    assert noted.time_left[0] is True


def test_an_interruption_of_catching_up_leaves_no_history_of_before(tmp_path):
    class Interrupted(FakeCatchingUp):
        def catch_up(self, points, *, progress, time_left):
            worse = measured(points[-1].recipe, drop=0.4)
            points[-1] = replace(points[-1], outcomes={**points[-1].outcomes, "edge": worse})
            raise KeyboardInterrupt

    evaluator = EdgeAway(original=True)
    done = run_search(tmp_path / "run", evaluator, trials=2, catching_up=Interrupted())
    assert done.status == "interrupted" and done.run.points[-1].measured["edge"].drop == 0.4
    assert done.search.trials.run.history == done.run.history
    told = done.search.trials.records[1]
    assert told.values[0] == pytest.approx(0.4 / done.run.drop_scale)


class OnTwo(FakeEvaluator):
    """Evaluates on `edge`, too, where nothing gets faster by int8."""

    def __init__(self):
        super().__init__(FakeNetwork(), targets=(TARGET, "edge"))

    def outcome(self, target, trial, recipe):
        there = super().outcome(target, trial, recipe)
        assert isinstance(there, Measured)
        ratio = self.network.cost(recipe).macs / self.network.cost(Recipe()).macs
        return replace(there, latency=latency(ratio)) if target == "edge" else there


def test_a_search_on_two_targets_tells_the_study_the_worst_and_resumes(tmp_path):
    done = run_search(tmp_path / "run", OnTwo(), trials=6)
    assert done.run.fronts.keys() == {TARGET, "edge"} and len(done.run.points) == 6
    uniform = done.search.trials.records[1]
    assert uniform.values[2] == pytest.approx(1.0)  # int8 alone is no gain on `edge`
    again = run_search(tmp_path / "run", OnTwo(), trials=8)
    assert len(again.run.points) == 8 and again.run.front[0].measured.keys() == {TARGET, "edge"}


@pytest.mark.parametrize(("builds", "told"), [("same", False), ("nothing", True)])
def test_files_of_the_front_that_are_gone_are_built_again_or_the_user_is_told(
    tmp_path, monkeypatch, builds, told
):
    asked, notes = list[str](), list[str]()

    class Builder(FakeEvaluator):
        def artifact_path(self, recipe, artifact):
            asked.append(recipe.digest)
            if builds == "nothing":
                raise StageError("no kernel", stage="export")
            return Path(artifact.file)

    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        search = make_search(directory, Builder(FakeNetwork()), trials=4)
        monkeypatch.setattr(search.trials.progress, "note", notes.append)
        assert search.run() == "finished"
        run = search.trials.run
        shown = {item.recipe.digest for item in (run.baseline, present(run.uniform_int8), *run.front)}
        assert set(asked) == shown
    there = run.baseline.measured[TARGET].artifact.file
    (tmp_path / "run" / there).write_bytes(b"it is there")
    asked.clear()
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        make_search(directory, Builder(FakeNetwork()), trials=4).run()
    assert set(asked) == shown - {Recipe().digest}
    assert bool([note for note in notes if "cannot be built again: no kernel" in note]) is told


def test_a_bug_is_no_failed_candidate(tmp_path):
    def bug(recipe: Recipe) -> Failure | None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        run_search(tmp_path / "run", FakeEvaluator(FakeNetwork(), failing=bug))


def test_a_limit_that_nothing_meets_lists_the_nearest_misses(tmp_path):
    done = run_search(
        tmp_path / "run", FakeEvaluator(FakeNetwork()), constraints=Constraints(max_latency_s=1e-9)
    )
    assert done.run.front == ()
    assert done.run.violations(done.run.nearest_misses()[0]).keys() == {"latency"}


def test_candidates_too_large_are_screened_out_before_they_are_built(tmp_path):
    evaluator = FakeEvaluator(FakeNetwork())
    done = run_search(tmp_path / "run", evaluator, trials=8, constraints=Constraints(max_size_bytes=9000))
    built = [point.recipe for point in done.run.points if point.trial > 1]
    assert done.run.screened > 0
    assert all(evaluator.network.cost(recipe).weight_bytes <= 9000 for recipe in built)


def test_the_budget_ends_the_search(tmp_path):
    evaluator = FakeEvaluator(FakeNetwork(), delay_s=0.05)
    done = run_search(tmp_path / "run", evaluator, trials=None, budget_s=2.0)
    assert done.status == "finished" and done.run.elapsed_s > 1.5
    assert len(evaluator.evaluated) <= 2.0 / 0.05
    assert done.run.front[0].measured[TARGET].finalist


def test_one_more_look_is_taken_only_if_the_longest_so_far_fits():
    times = iter([70.0, 82.0, 87.0, 89.0, 95.0, 109.0])
    fits = Fits(budget_s=100.0, elapsed_s=lambda: next(times))
    assert fits() and fits()  # at 82 with a longest of 12
    assert fits() and not fits()  # 89 + 12
    assert fits(1.1) and not fits(1.1)  # 95 + 12, 109 + 14


class Making:
    """A strategy in which the level database is at work for ever."""

    def __init__(self, students):
        self.students = students

    def search(self, trials, interrupted):
        trials.evaluate(*trials.ask(trials.space.parameters(Recipe())))
        while True:
            self.students.between()


def test_a_search_ends_in_time_though_the_level_database_is_still_at_work(tmp_path):
    students = SimpleNamespace(between=None)
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        search = make_search(
            directory, FakeEvaluator(FakeNetwork()), trials=None, budget_s=0.5, strategy=Making(students)
        )
        assert replace(search, students=cast(StudentMaker, students)).run() == "finished"
    done = present(read_front(tmp_path / "run"))
    assert 0.3 < done.elapsed_s < 10 and len(done.points) == 1
    students.between()  # now a file that is gone may be built again


def test_without_a_budget_every_look_is_taken():
    assert Fits(budget_s=None, elapsed_s=lambda: 1e9)()


_CHILD = """
import os, sys, time
from pathlib import Path
from autocompress.tests.explore.fakes import FakeEvaluator, FakeNetwork, run_search
path, trials, deed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
evaluator = FakeEvaluator(FakeNetwork(), log=path / "log")

def failing(recipe):
    number = int(evaluator.log.read_text().split()[-2])
    return eval(deed, {"os": os, "time": time, "number": number, "count": len(evaluator.evaluated)})

evaluator.failing = failing
print(run_search(path / "run", evaluator, trials=trials, sampler="tpe").status)
"""


def start_child(path: Path, *, trials: int, stays_in: int = 0, deed: str = "") -> subprocess.Popen[str]:
    """A search in a process of its own, which never ends the `stays_in`-th trial that it starts, or does
    something else in a trial of that `number`.
    """
    deed = deed or f"time.sleep(600) if count == {stays_in} else None"
    command = [sys.executable, "-c", textwrap.dedent(_CHILD), str(path), str(trials), deed]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def starts(path: Path) -> list[str]:
    log = path / "log"
    return log.read_text().splitlines() if log.is_file() else []


@pytest.mark.parametrize("count", [1, 4])
def test_kill_9_in_a_trial_repeats_no_finished_one_and_tries_the_interrupted_one_first(tmp_path, count):
    child = start_child(tmp_path, trials=8, stays_in=count)
    assert comes_true(lambda: len(starts(tmp_path)) == count)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    before = starts(tmp_path)
    second = start_child(tmp_path, trials=8)
    assert second.communicate(timeout=120)[0].strip() == "finished"
    after = starts(tmp_path)[len(before) :]
    assert after[0] == before[-1]  # the same number and the same recipe
    assert not set(before[:-1]) & set(after)
    run = present(read_front(tmp_path / "run"))
    assert len(run.points) == 8 and run.failures == ()
    assert len({line.split()[1] for line in before + after}) == 8


class Killed(BaseException):
    """What a test throws in place of a `kill -9`: nobody may notice it."""


def ending_in(path, numbers, error):
    """Starts a search whose evaluator raises `error` in the trials of these numbers; the numbers that it
    started.
    """
    evaluator, log = FakeEvaluator(FakeNetwork(), log=path / "log"), path / "log"
    log.write_text("")

    def failing(recipe):
        if int(log.read_text().split()[-2]) in numbers:
            raise error

    evaluator.failing = failing
    try:
        run_search(path / "run", evaluator, trials=5)
    except type(error):
        pass
    return [int(line.split()[1]) for line in log.read_text().splitlines()]


def test_uniform_int8_is_not_lost_to_kills_and_comes_last_when_they_do_not_end(tmp_path):
    assert ending_in(tmp_path, {1}, Killed()) == [0, 1]
    for _ in range(SET_ASIDE - 1):
        assert ending_in(tmp_path, {1}, Killed()) == [1]
    assert ending_in(tmp_path, {1, 3}, Killed()) == [2, 3]
    assert ending_in(tmp_path, {1}, Killed()) == [3, 4, 1]
    for _ in range(GIVEN_UP):
        assert ending_in(tmp_path, {1}, Killed()) == [1]
    assert ending_in(tmp_path, (), Killed()) == [1]
    run = present(read_front(tmp_path / "run"))
    assert run.uniform_trial == 1 and len(run.points) == 5 and run.failures == ()


def test_a_bug_that_a_candidate_meets_ends_the_search_and_speaks_against_the_candidate(tmp_path):
    assert ending_in(tmp_path, {2}, KeyError("bug")) == [0, 1, 2]
    for _ in range(SET_ASIDE - 1):
        assert ending_in(tmp_path, {2}, KeyError("bug")) == [2]
    assert ending_in(tmp_path, {2}, KeyError("bug")) == [3, 4, 2]
    for _ in range(GIVEN_UP - SET_ASIDE - 1):
        assert ending_in(tmp_path, {2}, KeyError("bug")) == [2]
    assert ending_in(tmp_path, {2}, KeyError("bug")) == []
    run = present(read_front(tmp_path / "run"))
    assert [(failed.trial, "KeyError: 'bug'" in failed.message) for failed in run.failures] == [(2, True)]
    assert len(run.points) == 4 and run.status == "finished"


def test_a_candidate_that_takes_the_search_down_leaves_a_note_against_it(tmp_path):
    child = start_child(tmp_path, trials=4, deed="os.abort() if number == 2 else None")
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGABRT
    done = run_search(tmp_path / "run", FakeEvaluator(FakeNetwork()), trials=4)
    attributes = done.search.trials.records[2].user_attrs
    assert attributes["interruptions"]["against"] == ["Fatal Python error: Aborted"]
    assert len(done.run.points) == 4 and not (tmp_path / "run" / "crash.txt").exists()


def test_ctrl_c_writes_the_front_and_the_same_command_goes_on(tmp_path):
    child = start_child(tmp_path, trials=6, stays_in=4)
    assert comes_true(lambda: len(starts(tmp_path)) == 4)
    os.kill(child.pid, signal.SIGINT)
    assert child.communicate(timeout=60)[0].strip() == "interrupted"
    run = present(read_front(tmp_path / "run"))
    assert run.status == "interrupted" and len(run.points) == 3
    interrupted = starts(tmp_path)[-1]
    assert start_child(tmp_path, trials=6).communicate(timeout=120)[0].strip() == "finished"
    assert starts(tmp_path)[4] == interrupted
