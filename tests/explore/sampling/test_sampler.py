"""The front sampler in an Optuna study: whose parameters win, what is learned, and resuming."""

from typing import cast

import numpy as np
import optuna
import pytest
from autocompress.compress.recipe import Recipe
from autocompress.explore.sampling.losses import LossTable
from autocompress.explore.sampling.proposals import Proposer
from autocompress.explore.sampling.sampler import FrontSampler
from autocompress.explore.state import Objectives
from autocompress.explore.study import SearchStudy
from autocompress.profiles import PredictedLatency
from autocompress.results.records.latency import Predicted
from autocompress.results.records.point import ArtifactFacts, Measured, Point, Quality
from autocompress.tests.explore.sampling.problems import chain
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState

PROBLEM = chain(6, 4)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def sampler(seed=0):
    losses = {slot.name: [0.0, 0.001, 0.01, 0.1] for slot in PROBLEM.slots}
    return FrontSampler(lambda: Proposer(PROBLEM, LossTable(PROBLEM, losses), seed=seed), seed=seed)


def study_of(made=None, storage=None):
    return optuna.create_study(
        directions=["minimize"] * 3,
        sampler=made or sampler(),
        storage=storage,
        study_name="s",
        load_if_exists=True,
    )


def suggest(trial):
    levels = tuple(trial.suggest_int(slot.name, 0, slot.levels - 1) for slot in PROBLEM.slots)
    if trial.suggest_int("recover", 0, 1):
        trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return levels


def tell(study, trial, levels, kl):
    trial.set_user_attr("kl", kl)
    study.tell(trial, (kl / 0.3, PROBLEM.size(levels), PROBLEM.latency(levels)))


def test_trials_have_new_levels_and_the_other_parameters_within_their_range():
    study = study_of()
    for number in range(15):
        trial = study.ask()
        tell(study, trial, suggest(trial), 0.01 * (number + 1))
    levels = [PROBLEM.levels_of(trial.params) for trial in study.trials]
    assert len(set(levels)) == 15
    assert all(1e-4 <= t.params["learning_rate"] <= 1e-2 for t in study.trials if t.params["recover"])
    assert {trial.params["recover"] for trial in study.trials} == {0, 1}


def test_a_corrected_trial_counts_with_its_new_values_as_if_it_had_had_them_from_the_start():
    learned = []
    for values in ((0.4, 0.5, 0.9), (0.1, 0.5, 0.3)):
        made = sampler()
        study = study_of(made)
        made.proposer(study)
        for number in range(6):
            trial = study.ask()
            suggest(trial)
            trial.set_user_attr("kl", 0.01 * (number + 1))
            study.tell(trial, values if number == 3 else (0.2, 0.6, 0.6))
        made.correct(study.trials[3], (0.4, 0.5, 0.9))
        proposer = made.proposer(study)
        learned.append((proposer._observations.measured().tolist(), proposer.curve._pairs))
    from_start, corrected = learned
    assert corrected == from_start and [0.4, 0.5, 0.9] in from_start[0]


def test_the_sampler_of_a_running_search_hears_of_a_correction(tmp_path):
    made, study = sampler(), SearchStudy.open(tmp_path / "study.db", sampler="front", seed=0)
    study.use_sampler(made)
    trial = study.ask()
    suggest(trial)
    outcome = Measured(
        artifact=ArtifactFacts(file="a.onnx", digest="d", size_bytes=1, macs=1, parameters=1),
        quality=Quality(validation=0.9),
        drop=0.0,
        latency=Predicted(latency=PredictedLatency(seconds=1e-3, source="a test"), ratio=1.0),
    )
    point = Point(trial=0, recipe=Recipe(), outcomes={"cpu": outcome})
    study.store(trial, point)
    study.finish(trial, Objectives(values=(0.1, 0.5, 0.3), constraints={}))
    study.correct([(point, Objectives(values=(0.4, 0.5, 0.9), constraints={}))])
    assert made.proposer(study)._observations.measured().tolist() == [[0.4, 0.5, 0.9]]


def test_an_enqueued_trial_keeps_its_parameters_and_takes_no_proposal():
    made = sampler()
    study = study_of(made)
    fixed = {**PROBLEM.parameters((1, 2, 3, 0, 1, 2)), "recover": 1}
    study.enqueue_trial(fixed)
    proposals = made.proposer(study)
    proposals.propose = lambda: pytest.fail("an enqueued trial needs no proposal")
    trial = study.ask()
    assert suggest(trial) == (1, 2, 3, 0, 1, 2)
    assert trial.params["learning_rate"] > 0


def test_some_fixed_parameters_win_over_the_proposal():
    study = study_of()
    study.enqueue_trial({"precision/2": 3})
    assert suggest(study.ask())[2] == 3


def test_a_complete_trial_teaches_the_table_and_a_pruned_one_only_the_loss():
    made = sampler()
    study = study_of(made)
    seen = []
    made.proposer(study).observe = lambda levels, **what: seen.append((levels, what))
    trial = study.ask({})
    levels = suggest(trial)
    tell(study, trial, levels, 0.02)
    pruned = study.ask()
    other = suggest(pruned)
    pruned.set_user_attr("kl", 0.5)
    study.tell(pruned, state=TrialState.PRUNED)
    failed = study.ask()
    suggest(failed)
    study.tell(failed, state=TrialState.FAIL)
    assert [levels for levels, _ in seen] == [levels, other]
    assert seen[0][1]["loss"] == 0.02 and seen[0][1]["vector"] == study.trials[0].values
    assert seen[0][1]["recovered"] == (study.trials[0].params["recover"] == 1)
    assert seen[1][1] == {"loss": 0.5, "vector": None, "recovered": False}


def test_a_resumed_study_learns_every_trial_once_and_repeats_none(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = study_of(storage=storage)
    for number in range(5):
        trial = study.ask()
        tell(study, trial, suggest(trial), 0.01 * (number + 1))
    made = sampler(seed=1)
    resumed = study_of(made, storage)
    trial = resumed.ask()
    levels = suggest(trial)
    assert levels not in [PROBLEM.levels_of(t.params) for t in study.trials[:5]]
    learned = made.proposer(resumed).losses.loss((2,) * 6)
    tell(resumed, trial, levels, 0.03)
    assert made.proposer(resumed).losses.loss((2,) * 6) != learned
    assert made._learned == set(range(6))


def test_trials_of_other_parameters_are_ignored():
    made = sampler()
    study = study_of(made)
    other = dict.fromkeys(("width", "precision/0"), cast(BaseDistribution, IntDistribution(0, 9)))
    study.add_trial(
        optuna.create_trial(
            params={"width": 3, "precision/0": 9}, distributions=other, values=[0.1, 0.2, 0.3]
        )
    )
    assert suggest(study.ask())
    assert made._learned == set()


def test_an_exhausted_space_goes_on_at_random():
    made = sampler()
    study = study_of(made)
    made.proposer(study).propose = lambda: None
    assert np.all(np.array(suggest(study.ask())) < 4)
