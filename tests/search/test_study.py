"""The study on disk: what a killed coordinator leaves, and how it is taken up."""

import sqlite3
from contextlib import closing

import optuna
import pytest
from autocompress.errors import InputError, RunDirectoryError
from autocompress.results.evaluation import Failure, Screened
from autocompress.search.study import MAX_ATTEMPTS, Correction, SearchStudy, make_sampler
from autocompress.tests.search.fakes import evaluation
from optuna.trial import TrialState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


def open_study(path, *, sampler="random", seed=0):
    return SearchStudy.open(path, sampler=sampler, seed=seed)


def never(trial):
    raise AssertionError("told")


def test_an_evaluation_survives_on_disk(path):
    study = open_study(path)
    trial, seen = study.ask({"x": 1}), evaluation(0)
    trial.suggest_int("x", 0, 3)
    study.store(trial, seen)
    study.finish(trial, values=[0.0, 1.0, 1.0], constraints={"worth": -1.0})
    assert open_study(path).evaluations() == [seen]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_corrected_trial_says_for_everybody_what_is_known_now(path, sampler):
    study, seen, later = open_study(path, sampler=sampler), evaluation(0, ratio=0.5), evaluation(0, ratio=0.7)
    trial, beside = study.ask({"x": 1}), study.ask({"x": 2})
    for each in (trial, beside):
        each.suggest_int("x", 0, 3)
    study.store(trial, seen)
    study.finish(trial, values=[0.1, 0.2, 0.5], constraints={"worth": -1.0})
    study.correct(
        [Correction(evaluation=later, values=(0.2, 0.2, 0.7), constraints={"worth": -0.5, "latency": 0.1})]
    )
    other = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")  # as Optuna's tools open it
    for trials in (study.trials, open_study(path).trials, other.trials):
        found = trials[0]
        assert (found.values, found.constraints) == ([0.2, 0.2, 0.7], {"worth": -0.5, "latency": 0.1})
        assert found.user_attrs["values_told_first"] == [0.1, 0.2, 0.5]
    assert study.evaluations() == [later]
    study.correct([Correction(evaluation=later, values=(0.3, 0.2, 0.7), constraints={})])
    assert study.trials[0].user_attrs["values_told_first"] == [0.1, 0.2, 0.5], "the first stays"
    study.store(beside, evaluation(1))  # a trial that went on meanwhile
    study.finish(beside, values=[0.0, 1.0, 1.0], constraints={})
    study.ask().suggest_int("x", 0, 3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]


def test_what_another_process_wrote_or_reads_beside_a_trial_outlives_its_correction(path):
    study = open_study(path)
    trial = study.ask()
    study.store(trial, evaluation(0))
    study.finish(trial, values=[0.1, 0.2, 0.5], constraints={})
    study.correct([Correction(evaluation=evaluation(0), values=(0.2, 0.2, 0.6), constraints={})])
    with closing(sqlite3.connect(path)) as dashboard:
        dashboard.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'note', '\"old\"')"
        )
        dashboard.commit()
        assert study.trials  # which knows the old note now
        dashboard.execute("UPDATE trial_user_attributes SET value_json = '\"new\"' WHERE key = 'note'")
        dashboard.commit()
        dashboard.execute("BEGIN")
        dashboard.execute("SELECT * FROM trial_values").fetchall()  # it reads while the correction is written
        study.correct([Correction(evaluation=evaluation(0), values=(0.2, 0.2, 0.7), constraints={})])
    found = open_study(path).trials[0]
    assert (found.user_attrs["note"], found.user_attrs["values_told_first"], found.values[2]) == (
        "new",
        [0.1, 0.2, 0.5],
        0.7,
    )


def test_corrections_are_written_all_together_or_not_at_all(path):
    study = open_study(path)
    for number in (0, 1):
        trial = study.ask()
        study.store(trial, evaluation(number))
        study.finish(trial, values=[0.1, 0.2, 0.5], constraints={})
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM trial_values WHERE trial_id = 2 AND objective = 2")
    corrections = [
        Correction(evaluation=evaluation(number), values=(0.2, 0.2, 0.7), constraints={}) for number in (0, 1)
    ]
    with pytest.raises(RunDirectoryError, match="does not hold the values of trial 1"):
        study.correct(corrections)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM trial_values WHERE trial_id = 1").fetchall() == [
            (0.1,),
            (0.2,),
            (0.5,),
        ]


def test_a_running_trial_is_adopted_with_its_number_and_its_parameters(path):
    study = open_study(path)
    first = study.ask()
    value = first.suggest_float("x", 0.0, 1.0)
    (adopted,) = open_study(path, seed=5).adopt(never)
    assert adopted.number == first.number
    assert adopted.suggest_float("x", 0.0, 1.0) == value


def test_a_trial_killed_before_its_first_parameter_keeps_those_it_was_queued_with(path):
    open_study(path).ask({"x": 2})
    (adopted,) = open_study(path).adopt(never)
    assert adopted.suggest_int("x", 0, 3) == 2


def test_a_trial_queued_but_not_started_is_started_and_not_queued_again(path):
    study = open_study(path)
    study._study.enqueue_trial({"x": 2})  # what a kill between the two steps of `ask` leaves
    trial = open_study(path).ask({"x": 2})
    assert trial.number == 0 and trial.suggest_int("x", 0, 3) == 2
    assert len(open_study(path).trials) == 1


def test_a_stored_evaluation_is_told_and_not_repeated(path):
    study = open_study(path)
    study.store(study.ask(), evaluation(0))
    told = []
    reopened = open_study(path)
    assert (
        reopened.adopt(
            lambda trial: (
                told.append(trial.number),
                reopened.finish(trial, values=[0, 0, 0], constraints={}),
            )
        )
        == []
    )
    assert told == [0] and reopened.trials[0].state == TrialState.COMPLETE


def test_a_trial_that_ends_the_search_again_and_again_fails(path):
    study = open_study(path)
    study.ask({"x": 0})
    study.ask({"x": 1}).suggest_int("x", 0, 3)
    study._study.tell(0, values=[0, 0, 0])
    for _ in range(MAX_ATTEMPTS - 1):
        assert len(open_study(path).adopt(never)) == 1
    last = open_study(path)
    assert last.adopt(never) == []
    assert last.failures()[0].trial == 1 and "ended 3 times" in last.failures()[0].message


def test_a_trial_that_the_user_interrupted_is_not_counted_against(path):
    open_study(path).ask({"x": 0})
    open_study(path)._study.tell(0, values=[0, 0, 0])
    open_study(path).ask({"x": 1})
    for _ in range(2 * MAX_ATTEMPTS):
        study = open_study(path)
        (trial,) = study.adopt(never)
        study.release(trial)


def test_failures_and_screened_trials_have_their_states(path):
    study = open_study(path)
    failure = Failure(trial=0, stage="export", kind="error", message="no", retryable=False)
    study.fail(study.ask(), failure)
    study.screen(study.ask(), Screened(reason="size", message="too large", excess=0.5))
    reopened = open_study(path)
    assert (
        reopened.failures() == [failure] and reopened.screened_count() == 1 and reopened.evaluations() == []
    )
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
            study.store(trial, evaluation(number))
            study.finish(trial, values=[x / 9, 1 - x / 9, 0.5], constraints={"drop": x - 7.0})
    assert len(study.evaluations()) == 24


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
    assert [trial.number for trial in open_study(path).adopt(never)] == numbers
