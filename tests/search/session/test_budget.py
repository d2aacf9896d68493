"""Where the time goes, and what is asked for that cannot be."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from autocompress.errors import InputError
from autocompress.results.run_directory import RunDirectory
from autocompress.search.request import SearchRequest
from autocompress.search.session.budget import BESIDE, Ledger
from autocompress.tests.search.fakes import CONFIG


def test_stages_on_further_targets_are_timing_loops_and_starting_a_measurement_is_other(tmp_path):
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        ledger = Ledger.open(directory, SimpleNamespace(elapsed_s=20.0))
        ledger.add_stages(
            {"prune": 1.0, "timing loop": 2.0, "on cpu-2t": 3.0, "measure": 4.0, "inspect": 5.0}
        )
        ledger.add_beside({"recover": 50.0})
        assert ledger.to_json() == {"build": 1.0, "timing loops": 5.0, BESIDE: 50.0, "other": 14.0}
        assert Ledger.open(directory, ledger.clock).seconds == ledger.seconds


def test_a_warm_start_with_a_sampler_that_cannot_use_it_is_an_error_with_a_remedy():
    with pytest.raises(InputError, match=r"--from needs the sampler 'front'; 'tpe' cannot.*leave out one"):
        SearchRequest(task="digits", sampler="tpe", warm_start=Path("runs/before"))
    assert SearchRequest(task="digits", warm_start=Path("runs/before")).sampler == "front"
