"""The study on disk: what a killed coordinator leaves, and how it is taken up."""

import itertools
import sqlite3
from contextlib import closing

import optuna
import pytest
from autocompress.errors import InputError, RunDirectoryError
from autocompress.explore.interruptions import GIVEN_UP, SET_ASIDE, Machine
from autocompress.explore.screen import Screened
from autocompress.explore.state import Objectives
from autocompress.explore.study import SearchStudy, make_sampler
from autocompress.explore.study_file import FIRST_VALUES
from autocompress.results.records.point import Failure
from autocompress.tests.results.records import point
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


def open_study(path, *, sampler="random", seed=0):
    return SearchStudy.open(path, sampler=sampler, seed=seed)


def never(trial, measured):
    raise AssertionError("told")


def objectives(*values, **constraints):
    return Objectives(values=values, constraints=constraints)


def completed(study, measured, told=None):
    """Asks for the trial of this point and ends it."""
    trial = study.ask({"x": measured.trial})
    trial.suggest_int("x", 0, 3)
    study.store(trial, measured)
    study.finish(trial, told or objectives(0.1, 0.2, 0.5, worth=-1.0))
    return trial


def as_others_see_it(path):
    """The study as Optuna's own tools open it: it is the only one in the file."""
    return optuna.load_study(study_name=None, storage=f"sqlite:///{path}")


def test_a_point_survives_on_disk(path):
    completed(open_study(path), point(0))
    assert open_study(path).points() == [point(0)]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_corrected_trial_says_for_everybody_what_is_known_now(path, sampler):
    study, later = open_study(path, sampler=sampler), point(0, ratio=0.7)
    beside = study.ask({"x": 2})
    beside.suggest_int("x", 0, 3)
    completed(study, point(1, ratio=0.5))
    later = point(1, ratio=0.7)
    study.correct([(later, objectives(0.2, 0.2, 0.7, worth=-0.5, latency=0.1))])
    for trials in (study.trials, open_study(path).trials, as_others_see_it(path).trials):
        found = trials[1]
        assert (found.values, found.constraints) == ([0.2, 0.2, 0.7], {"worth": -0.5, "latency": 0.1})
        assert found.user_attrs[FIRST_VALUES] == [0.1, 0.2, 0.5] and found.params == {"x": 1}
    assert study.points() == [later]
    study.correct([(later, objectives(0.3, 0.2, 0.7))])
    assert study.trials[1].user_attrs[FIRST_VALUES] == [0.1, 0.2, 0.5], "the first stays"
    assert study.trials[1].constraints == {}
    study.store(beside, point(0))  # a trial that was handed out before the corrections
    study.finish(beside, objectives(0.0, 1.0, 1.0))
    study.ask().suggest_int("x", 0, 3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]


def test_what_another_process_wrote_or_reads_beside_a_trial_outlives_its_correction(path):
    study = open_study(path)
    completed(study, point(0))
    study.correct([(point(0), objectives(0.2, 0.2, 0.6))])
    dashboard = as_others_see_it(path)
    assert study.trials  # which knows nothing of the note
    dashboard.set_user_attr("of", "the dashboard")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
            "SELECT trial_id, 'note', '\"new\"' FROM trials"
        )
        connection.commit()
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM trial_values").fetchall()  # it reads while the file is written
        study.correct([(point(0), objectives(0.2, 0.2, 0.7))])
    found = open_study(path).trials[0]
    assert (found.user_attrs["note"], found.user_attrs[FIRST_VALUES], found.values[2]) == (
        "new",
        [0.1, 0.2, 0.5],
        0.7,
    )
    assert as_others_see_it(path).user_attrs["of"] == "the dashboard"


class Killed(BaseException):
    """What a test throws in place of a kill."""


STEPS = {
    "create_new_study": RDBStorage,
    "set_study_user_attr": RDBStorage,
    "add_trial": Study,
    "delete_study": RDBStorage,
}


def watch(monkeypatch, before_step):
    """Calls `before_step` with the name of each call that writes a step of a correction."""

    def watched(name, method):
        def call(self, *arguments, **options):
            before_step(name)
            return method(self, *arguments, **options)

        return call

    for name, owner in STEPS.items():
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))


def kill_at(step):
    """Throws Killed at the `step`-th call."""
    calls = itertools.count()

    def before_step(name):
        if next(calls) == step:
            raise Killed

    return before_step


@pytest.mark.parametrize("step", range(10))
def test_a_correction_survives_a_kill_between_each_of_its_steps(path, step):
    study = open_study(path)
    for number in (0, 1):
        completed(study, point(number))
    running = study.ask({"x": 2})
    running.suggest_int("x", 0, 3)
    study.correct([(point(0, ratio=0.6), objectives(0.2, 0.2, 0.6))])  # so that the copy is copied again
    corrections = [(point(number, ratio=0.7), objectives(0.2, 0.2, 0.7)) for number in (0, 1)]
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, kill_at(step))
        try:
            study.correct(corrections)
        except Killed:
            complete = False
        else:
            complete = True
    again = open_study(path)
    last = [trial.values[2] for trial in again.trials[:2]]
    assert last in ([0.6, 0.5], [0.7, 0.7]) and (last == [0.7, 0.7] or not complete)
    assert [point.measured["fake"].latency.ratio for point in again.points()] == (
        [0.6, 1.0] if last == [0.6, 0.5] else [0.7, 0.7]
    )
    assert as_others_see_it(path).trials[0].values == again.trials[0].values
    (adopted,) = again.adopt(never).first
    assert (adopted.number, adopted.suggest_int("x", 0, 3)) == (2, 2)
    again.correct(corrections)
    assert [trial.values for trial in again.trials[:2]] == [[0.2, 0.2, 0.7]] * 2
    assert [trial.user_attrs[FIRST_VALUES] for trial in again.trials[:2]] == [[0.1, 0.2, 0.5]] * 2


def test_the_kill_of_the_test_above_comes_at_every_step_of_a_correction(path, monkeypatch):
    study, reached = open_study(path), list[str]()
    for number in (0, 1):
        completed(study, point(number))
    study.ask()
    watch(monkeypatch, reached.append)
    study.correct([(point(0, ratio=0.7), objectives(0.2, 0.2, 0.7))])
    assert set(reached) == set(STEPS) and len(reached) < 10


def test_corrections_that_cannot_be_written_change_nothing(path, monkeypatch):
    study = open_study(path)
    for number in (0, 1):
        completed(study, point(number))

    def full(self, *arguments, **options):
        raise sqlite3.OperationalError("database or disk is full")

    corrections = [(point(number, ratio=0.7), objectives(0.2, 0.2, 0.7)) for number in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(Study, "add_trial", full)
        with pytest.raises(RunDirectoryError, match="disk is full"):
            study.correct(corrections)
    for trials in (study.trials, open_study(path).trials):
        assert [trial.values for trial in trials] == [[0.1, 0.2, 0.5]] * 2


def test_a_stored_point_that_is_damaged_is_named(path):
    study = open_study(path)
    trial = study.ask()
    trial.set_user_attr("point", {**point(0).to_json(), "trial": "none"})
    study.finish(trial, objectives(0.0, 1.0, 1.0))
    with pytest.raises(RunDirectoryError, match=r"study\.db: trial 0\.trial is .*--fresh"):
        study.points()


def test_a_running_trial_is_adopted_with_its_number_and_its_parameters(path):
    study = open_study(path)
    first = study.ask()
    value = first.suggest_float("x", 0.0, 1.0)
    (adopted,) = open_study(path, seed=5).adopt(never).first
    assert adopted.number == first.number
    assert adopted.suggest_float("x", 0.0, 1.0) == value


def test_a_trial_killed_before_its_first_parameter_keeps_those_it_was_queued_with(path):
    open_study(path).ask({"x": 2})
    (adopted,) = open_study(path).adopt(never).first
    assert adopted.suggest_int("x", 0, 3) == 2


def test_a_trial_queued_but_not_started_is_started_and_not_queued_again(path):
    study = open_study(path)
    study.enqueue({"x": 2})  # what a kill between the two steps of `ask` leaves
    trial = open_study(path).ask({"x": 2})
    assert trial.number == 0 and trial.suggest_int("x", 0, 3) == 2
    assert len(open_study(path).trials) == 1


def test_a_stored_evaluation_is_told_and_not_repeated(path):
    study = open_study(path)
    study.store(study.ask(), point(0))
    told = []
    reopened = open_study(path)

    def tell(trial, measured):
        told.append((trial.number, measured))
        reopened.finish(trial, objectives(0, 0, 0))

    assert reopened.adopt(tell).first == []
    assert told == [(0, point(0))] and reopened.trials[0].state == TrialState.COMPLETE


def start_two(path):
    """A session that works on trials 0 and 1."""
    study = open_study(path)
    for number in (0, 1):
        study.ask({"x": number}).suggest_int("x", 0, 3)


def next_session(path, *, crash=""):
    """A session that works on all that the last one left; the study, the trials that come first, and those
    that are set aside.
    """
    study = open_study(path)
    adopted = study.adopt(never, crash=crash)
    for trial in (*adopted.first, *adopted.set_aside):
        study.begin(trial)
    return study, [trial.number for trial in adopted.first], [trial.number for trial in adopted.set_aside]


def test_kills_from_outside_never_fail_a_trial_but_let_others_come_first(path):
    start_two(path)
    for _ in range(SET_ASIDE - 1):
        assert next_session(path)[1:] == ([0, 1], [])
    for _ in range(2 * GIVEN_UP):
        study, first, set_aside = next_session(path)
        assert (first, set_aside) == ([0], [1]), "nothing can be done without the original"
    assert study.failures() == []


def test_a_trial_on_which_no_work_had_begun_is_not_interrupted(path):
    start_two(path)
    open_study(path).adopt(never)
    for _ in range(2 * GIVEN_UP):
        assert len(open_study(path).adopt(never).first) == 2


@pytest.mark.parametrize(
    ("later", "crash", "reason"),
    [
        (Machine(boot="b", oom_kills=0), "", "the machine went down"),
        (Machine(boot="a", oom_kills=4), "", "the memory ran out"),
        (Machine(boot="a", oom_kills=3), "Fatal Python error: Aborted", "Fatal Python error: Aborted"),
    ],
)
def test_a_trial_fails_when_the_ends_speak_against_it(path, monkeypatch, later, crash, reason):
    machines = itertools.cycle([Machine(boot="a", oom_kills=3)] * 2 + [later])  # two trials begin, one ends
    monkeypatch.setattr(Machine, "now", lambda: next(machines))
    start_two(path)
    for _ in range(SET_ASIDE - 1):
        assert next_session(path, crash=crash)[1:] == ([0, 1], [])
    for _ in range(GIVEN_UP - SET_ASIDE):
        assert next_session(path, crash=crash)[1:] == ([0], [1])
    study, first, set_aside = next_session(path, crash=crash)
    assert (first, set_aside) == ([0], [])
    (failed,) = study.failures()
    assert (failed.trial, failed.kind) == (1, "crash")
    assert failed.message.endswith(f"ended {GIVEN_UP} times while it tried this candidate: {reason}")


def test_a_trial_that_the_user_interrupted_is_not_counted_against(path):
    start_two(path)
    next_session(path)
    for _ in range(2 * GIVEN_UP):
        study = open_study(path)
        adopted = study.adopt(never)
        assert [trial.number for trial in adopted.first] == [0, 1]
        for trial in adopted.first:
            study.begin(trial)
        study.release_all()


def test_failures_and_screened_trials_have_their_states(path):
    study = open_study(path)
    failure = Failure(trial=0, stage="export", kind="error", message="no", retryable=False)
    study.fail(study.ask(), failure)
    study.screen(study.ask(), Screened(reason="size", message="too large", excess=0.5))
    reopened = open_study(path)
    assert reopened.failures() == [failure] and reopened.screened_count() == 1 and reopened.points() == []
    assert reopened.trials[1].constraints == {"size": 0.5}


def test_a_continued_study_does_not_draw_the_same_again(path):
    study = open_study(path)
    first = study.ask()
    x = first.suggest_float("x", 0.0, 1.0)
    study.screen(first, Screened(reason="duplicate", message=""))
    assert open_study(path).ask().suggest_float("x", 0.0, 1.0) != x


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_conditional_parameters_and_every_state_work_with_every_sampler(path, sampler):
    study = open_study(path, sampler=sampler)
    for number in range(40):
        trial = study.ask()
        x = trial.suggest_int("x", 0, 9)
        if trial.suggest_int("recover", 0, 1):
            trial.suggest_float("rate", 1e-4, 1e-2, log=True)
        if number % 5 == 3:
            study.screen(trial, Screened(reason="size", message="", excess=0.1))
        elif number % 5 == 4:
            study.fail(trial, Failure(trial=number, stage="run", kind="crash", message="", retryable=True))
        else:
            study.store(trial, point(number))
            study.finish(trial, objectives(x / 9, 1 - x / 9, 0.5, drop=x - 7.0))
    assert len(study.points()) == 24


def test_a_damaged_file_is_a_run_directory_error(path):
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(RunDirectoryError, match=r"cannot be used .*--fresh"):
        open_study(path)


def test_an_unknown_sampler_is_named_with_the_choices():
    with pytest.raises(InputError, match="no sampler 'cma': choose front, tpe, nsga2, gp, random"):
        make_sampler("cma", 0)


def test_two_running_trials_are_both_adopted(path):
    study = open_study(path)
    numbers = [study.ask({"x": value}).number for value in (0, 1)]
    assert [trial.number for trial in open_study(path).adopt(never).first] == numbers


@pytest.mark.parametrize("version", ["v1.3.0.a", "v99.0.0.a"], ids=["older", "newer"])
def test_the_study_of_another_optuna_is_named_as_such(path, version):
    completed(open_study(path), point(0))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(
        RunDirectoryError, match=r"of another version of Optuna than .*`optuna storage upgrade"
    ):
        open_study(path)
