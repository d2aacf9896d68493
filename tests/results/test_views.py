"""A run with several targets as one of them sees it."""

import pytest
from autocompress.errors import InputError
from autocompress.results.pick import measured_points, pick
from autocompress.results.table import front_records
from autocompress.results.views import run_on, targets_of
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two


def test_a_run_with_one_target_is_its_own_view():
    run = sample_run()
    assert targets_of(run) == ["cpu"] and run_on(run, None) == run_on(run, "cpu") == run


def test_a_view_is_a_run_with_one_target_and_its_numbers():
    run = sample_run_of_two(max_latency_s=1e-3)
    view = run_on(run, "edge")
    assert view["target"]["name"] == "edge" and "targets" not in view and "fronts" not in view
    assert view["constraints"]["max_latency_s"] == 1e-3
    assert view["baseline"]["latency"]["latency_s"] == pytest.approx(
        4 * run["baseline"]["latency"]["latency_s"]
    )
    assert [point["trial"] for point in view["front"]] == run["fronts"]["edge"]
    assert len(measured_points(view)) == len(measured_points(run))
    assert front_records(view)[0]["latency_s"] == min(record["latency_s"] for record in front_records(view))


def test_what_is_missing_on_a_target_is_left_out_of_its_view_only():
    trial = sample_run()["front"][0]["trial"]
    run = sample_run_of_two(missing=trial)
    assert trial not in {point["trial"] for point in measured_points(run_on(run, "edge"))}
    assert trial in {point["trial"] for point in measured_points(run_on(run, "cpu"))}


def test_picking_on_a_view_picks_by_the_numbers_of_that_target():
    run = sample_run_of_two()
    limit = run["baseline"]["targets"]["edge"]["latency"]["latency_s"] / 2
    assert pick(run_on(run, "edge"), max_latency=limit)["latency"]["latency_s"] <= limit


def test_an_unknown_target_is_told_with_the_choices():
    with pytest.raises(InputError, match="no target 'egde': choose 'cpu' or 'edge'"):
        run_on(sample_run_of_two(), "egde")
