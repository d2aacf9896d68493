"""Where the time goes, and what is asked for that cannot be."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.errors import InputError
from autocompress.results.activity import BESIDE
from autocompress.results.run_directory import RunDirectory
from autocompress.search.preparation.request import SearchRequest
from autocompress.search.session.budget import Budget, Ledger
from autocompress.search.session.clock import Clock
from autocompress.tests.search.fakes import CONFIG


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


def test_a_warm_start_with_a_sampler_that_cannot_use_it_is_an_error_with_a_remedy():
    with pytest.raises(InputError, match=r"--from needs the sampler 'front'; 'tpe' cannot.*leave out one"):
        SearchRequest(task="digits", sampler="tpe", warm_start=Path("runs/before"))
    assert SearchRequest(task="digits", warm_start=Path("runs/before")).sampler == "front"
