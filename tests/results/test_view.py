"""A run as one of its targets sees it."""

from dataclasses import replace

import pytest
from autocompress.errors import InputError
from autocompress.results.records.point import Missing
from autocompress.results.table import front_table, missing_note, shown_points
from autocompress.results.view import RunOn
from autocompress.tests.results.records import TARGET, point, run_of
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two


def test_a_run_with_one_target_is_its_own_view():
    run = sample_run()
    assert run.target_names == ("cpu",) and RunOn.of(run, "cpu").run is run


def test_a_view_is_a_run_with_one_target_and_its_numbers():
    run = sample_run_of_two(max_latency_s=1e-3)
    view = RunOn.of(run, "edge")
    assert view.run.target_names == ("edge",) and view.limits.latency_s == 1e-3
    assert view.baseline.latency.seconds == pytest.approx(4 * run.baseline.measured["cpu"].latency.seconds)
    assert tuple(point.trial for point in view.front) == run.fronts["edge"]
    assert len(view.points) == len(run.points)


def test_what_is_missing_on_a_target_is_left_out_of_its_view_only():
    trial = sample_run().front[0].trial
    run = sample_run_of_two(missing=trial)
    assert trial not in {point.trial for point in RunOn.of(run, "edge").points}
    assert trial in {point.trial for point in RunOn.of(run, "cpu").points}
    assert trial not in {point.trial for point in shown_points(run)}
    assert missing_note(run).startswith("1 point could not be measured on edge")


def test_an_unknown_target_is_told_with_the_choices():
    with pytest.raises(InputError, match="no target 'egde': choose 'cpu' or 'edge'"):
        RunOn.of(sample_run_of_two(), "egde")


def test_a_target_that_was_away_from_the_start_asks_nothing_of_a_point_and_is_named():
    run = sample_run_of_two(missing=4)
    failure = run.point(4).missing["edge"].failure
    points = []
    for one in run.points:
        away = Missing(artifact=one.measured["cpu"].artifact, failure=replace(failure, trial=one.trial))
        points.append(replace(one, outcomes={"cpu": one.measured["cpu"], "edge": away}))
    run = replace(run, points=tuple(points))
    assert run.target_names == ("cpu",) and run.waiting == {"edge": len(points)}
    assert "edge was away, 26 measurements are queued" in missing_note(run)
    assert run.front and front_table(run).row_count == len(shown_points(run))


def test_drops_are_alike_within_their_intervals_together():
    view = RunOn.of(
        run_of(
            point(0),
            point(1, drop=0.001, drop_interval=(-0.001, 0.003)),
            point(2, drop=0.0035, drop_interval=(0.0015, 0.0055)),
            point(3, drop=0.006, drop_interval=(0.004, 0.008)),
            point(4, drop=0.001),
        ),
        TARGET,
    )
    original, *points = view.points
    assert points[0].same_drop_as(points[1]) and not points[0].same_drop_as(points[2])
    assert original.same_drop_as(points[0]) and not points[1].same_drop_as(original)
    assert not points[3].same_drop_as(points[0])  # nobody knows
