"""Where the time goes, and what is asked for that cannot be."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.errors import InputError
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.budget import Budget, Ledger, larger_budget, look_s
from autocompress.explore.session.clock import Clock
from autocompress.results.activity import BESIDE
from autocompress.results.run_directory import RunDirectory
from autocompress.tests.explore.fakes import CONFIG
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run, with_points


def test_stages_are_counted_by_activity_and_starting_a_measurement_is_other(tmp_path):
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        ledger = Ledger.open(directory, cast(Clock, SimpleNamespace(elapsed_s=20.0)))
        ledger.add_stages({"prune": 1.0, "timing loop": 5.0, "measure": 4.0, "inspect": 5.0})
        ledger.add_beside({"recover": 50.0})
        assert ledger.to_json() == {"build": 1.0, "timing loops": 5.0, BESIDE: 50.0, "other": 14.0}
        assert Ledger.open(directory, ledger.clock).seconds == ledger.seconds


def test_a_budget_without_finalists_leaves_all_the_time_to_candidates():
    whole = Budget(total_s=100.0, search_share=1.0)
    assert (whole.search_s, whole.to_json()["finalists_s"]) == (100.0, 0.0)
    assert Budget(total_s=100.0).search_s == 85.0


def test_a_small_budget_leaves_time_for_the_least_finalists():
    assert Budget(total_s=1000.0).candidates_s(12.0) == 850.0
    assert Budget(total_s=120.0).candidates_s(12.0) == 120.0 - 36.0
    assert Budget(total_s=90.0).candidates_s(60.0) == 60.0
    assert Budget(total_s=90.0, search_share=1.0).candidates_s(60.0) == 90.0
    assert Budget(total_s=None).candidates_s(60.0) is None


def test_a_look_at_a_finalist_measures_three_times_as_long_as_a_candidate_and_scores_a_split():
    point = replace(
        sample_run().points[0],
        seconds={"measure": 2.0, "timing loop": 3.0, "validate": 10.0, "recover": 70.0},
    )
    assert look_s([point, point]) == 3 * 5.0 + 10.0
    assert look_s([]) == 0.0


def test_a_warm_start_with_a_sampler_that_cannot_use_it_is_an_error_with_a_remedy():
    with pytest.raises(InputError, match=r"--from needs the sampler 'front'; 'tpe' cannot.*leave out one"):
        SearchRequest(task="digits", sampler="tpe", warm_start=Path("runs/before"))
    assert SearchRequest(task="digits", warm_start=Path("runs/before")).sampler == "front"


def test_a_budget_for_nothing_but_the_original_says_what_would_have_been_enough():
    original = replace(sample_run().points[0], elapsed_s=100.0, seconds={"measure": 20.0, "validate": 10.0})
    told = larger_budget(with_points(sample_run(), [original]))
    assert "with it 1 min 40 s of the budget had passed" in told
    enough = Budget(total_s=6 * 60.0)
    assert "About 6 min would have been enough: the same command with --budget 6m" in told
    left_s = present(enough.search_s) - enough.sensitivity_s - enough.latency_s
    assert 100 + 3 * 30 <= left_s < 100 + 3 * 30 + 60 * 0.85


def test_tables_take_less_than_15_percent_of_the_budget_where_candidates_are_cheap():
    budget = Budget(total_s=600.0)
    both = budget.sensitivity_s + budget.latency_s
    assert budget.of_tables(5.0) * both < 0.15 * 600 < budget.of_tables(30.0) * both
    assert budget.of_tables(12.0) == 1.0 and budget.of_tables(30.0) == pytest.approx(0.75)
    assert budget.of_tables(60.0) == 0.5  # ten candidates are all that there is time for
    assert Budget(total_s=None).of_tables(0.1) == 1.0
    assert [budget.is_dear(seconds) for seconds in (5.0, 12.5)] == [False, True]
    assert not Budget(total_s=None).is_dear(1e9)
