"""What a night calls a regression, what it names as the cause, and what it does not call one."""

from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.nightly.records.event import exit_code, reasons
from autocompress.nightly.records.seen import EnvironmentChange
from autocompress.nightly.steps import compare_step, turns_step
from autocompress.nightly.steps.in_turns import Turns
from autocompress.nightly.steps.verifying import together
from autocompress.nightly.telling import cause_of
from autocompress.tests.nightly.stand_in import (
    CONFIG,
    SMALL,
    StandIn,
    a_night,
    configured,
    verification,
    with_environment,
    with_options,
)
from autocompress.tests.results.sample_run import with_measured

LESS = replace(SMALL, points=SMALL.points[:2], failures=())  # the original and uniform int8


@pytest.fixture
def made(tmp_path):
    """A configuration and commands after a first night, which deployed a bundle."""
    config, commands = configured(tmp_path), StandIn(tmp_path)
    a_night(config, commands)
    return config, commands


def bad(night) -> list:
    return [event for event in night.all_events if event.severity == "bad"]


def in_turns_by(monkeypatch, *ratios: float, spread: float = 0.005) -> list:
    """Every measurement in turns gives the next ratio; the settings that were asked for."""
    asked, left = [], list(ratios)

    def measured(model, target, old, new, *, timing):
        asked.append((old, new))
        ratio = left.pop(0)
        return Turns(old_version="1.23.2", new_version="1.24.0", ratios=(ratio, ratio + spread / 10))

    monkeypatch.setattr("autocompress.nightly.steps.other_runtimes.measure_in_turns", measured)
    monkeypatch.setattr("autocompress.nightly.steps.other_runtimes._target", lambda compared: None)
    monkeypatch.setattr(turns_step, "python_with", lambda *_, **__: "/old/python")
    monkeypatch.setattr(turns_step, "version_in", lambda *_: "1.24.0")
    subject = turns_step.Subject(
        target="cpu", runtime="onnxruntime", model=Path(__file__), batch=1, sizes=None
    )
    monkeypatch.setattr(turns_step, "_subjects", lambda *_: iter([subject]))
    monkeypatch.setattr("autocompress.nightly.steps.other_runtimes.digest_of_file", lambda path: "a" * 64)
    return asked


def test_half_a_point_of_quality_is_found_in_the_first_night(made):
    config, commands = made
    commands.verified = [verification(quality=0.975)]
    night = a_night(config, commands)
    (event,) = bad(night)
    assert exit_code(night.all_events) == 4
    assert "lost 0.50 pp" in event.sentence
    assert event.cause is None
    assert reasons(night.all_events).startswith("digits on cpu: What is deployed")


def test_one_look_is_no_regression(made):
    config, commands = made
    commands.verified = [verification(ratio=0.6), verification(ratio=0.5)]
    assert bad(a_night(config, commands)) == []
    assert commands.count("verify") == 2


def test_a_slower_artifact_is_a_regression_with_what_changed_as_its_cause(made):
    config, commands = made
    commands.found = lambda task: with_environment(SMALL, os="Linux-9.9")
    commands.verified = [verification(ratio=0.56)]
    (event,) = bad(a_night(config, commands))
    assert "slower by 12.0 %" in event.sentence
    assert event.cause.startswith("system ")
    assert event.cause.endswith("→ Linux-9.9")


def test_a_difference_within_the_tolerance_is_none(made):
    config, commands = made
    commands.verified = [verification(ratio=0.52)]
    assert bad(a_night(config, commands)) == []


def test_other_answers_are_a_regression(made):
    config, commands = made
    commands.verified = [verification(parity={"error": 0.4, "tolerance": 0.05, "samples": 8})]
    (event,) = bad(a_night(config, commands))
    assert "its answers differ" in event.sentence


def test_a_damaged_bundle_is_a_regression(made):
    config, commands = made
    commands.ends["verify"] = [2, 2]
    (event,) = bad(a_night(config, commands))
    assert "it cannot be run: it says 2" in event.sentence


def test_later_nights_are_compared_with_what_the_first_ones_measured(made):
    config, commands = made
    for ratio in (0.52, 0.525, 0.52):
        commands.verified = [verification(ratio=ratio)]
        check = a_night(config, commands).models[0].checks[0]
    assert check.stated_ratio == pytest.approx(0.5225)


def test_an_upgrade_that_made_the_same_artifact_slower_is_found_and_named(made, monkeypatch):
    config, commands = made
    asked = in_turns_by(monkeypatch, 1.05, 1.051)
    environment = SMALL.facts.targets[0].environment
    commands.found = lambda task: with_environment(SMALL, runtime_version="9.0.0")
    night = a_night(config, commands)
    (event,) = bad(night)
    assert environment is not None
    assert event.cause == f"onnxruntime {environment.runtime_version} → 9.0.0"
    assert "% slower in onnxruntime" in event.sentence
    assert (len(asked), asked[0][0].python) == (2, "/old/python")


def test_an_upgrade_that_changes_nothing_is_noted_only(made, monkeypatch):
    config, commands = made
    in_turns_by(monkeypatch, 1.001)
    commands.found = lambda task: with_environment(SMALL, runtime_version="9.0.0")
    night = a_night(config, commands)
    assert bad(night) == []
    assert [event.kind for event in night.all_events].count("environment") == 2


def test_another_runtime_option_is_measured_apart_and_named(made, monkeypatch):
    config, commands = made
    asked = in_turns_by(monkeypatch, 1.2, 1.2)
    name = "session.set_denormal_as_zero"
    commands.found = lambda task: with_options(SMALL, **{name: "0"})
    (event,) = bad(a_night(config, commands))
    assert event.cause == f"onnxruntime {name} = 1 → {name} = 0"
    assert asked[0][0].options({name: "0", "other": "2"}) == {name: "1", "other": "2"}


def test_the_next_version_is_tried_beforehand_and_nobody_is_called(tmp_path, monkeypatch):
    config, commands = configured(tmp_path, CONFIG + '[canary]\nonnxruntime = "latest"\n'), StandIn(tmp_path)
    in_turns_by(monkeypatch, 1.08, 1.08)
    monkeypatch.setattr(turns_step, "installed", lambda package: "1.23.2")
    night = a_night(config, commands)
    (event,) = [event for event in night.all_events if event.kind == "canary"]
    assert (event.severity, exit_code(night.all_events)) == ("warning", 0)
    assert event.sentence.endswith("Do not upgrade yet.")


def test_a_search_that_found_less_calls_nobody_while_a_bundle_is_deployed(made, monkeypatch):
    config, commands = made
    commands.found = lambda task: LESS
    monkeypatch.setattr(compare_step, "beside", lambda *_, **__: (1.2, 1.3))
    night = a_night(config, commands)
    assert bad(night) == []
    assert "found-less" in [event.kind for event in night.all_events]


def test_a_search_that_found_less_is_a_regression_where_nothing_is_deployed(tmp_path, monkeypatch):
    text = CONFIG.replace("budget", "deploy = false\nbudget")
    config, commands = configured(tmp_path, text), StandIn(tmp_path)
    a_night(config, commands)
    commands.found = lambda task: LESS
    monkeypatch.setattr(compare_step, "beside", lambda *_, **__: (1.2, 1.3))
    assert exit_code(a_night(config, commands).all_events) == 4
    monkeypatch.setattr(compare_step, "beside", lambda *_, **__: (0.98, 1.01))
    commands.found = lambda task: SMALL
    assert exit_code(a_night(config, commands).all_events) == 0


def test_a_search_whose_points_are_worth_less_is_a_warning_with_both_hypervolumes(made):
    config, commands = made
    commands.found = lambda task: LESS
    events = [event for event in a_night(config, commands).all_events if "hypervolume" in event.sentence]
    (event,) = events
    assert (event.kind, event.severity, event.target) == ("found-less", "warning", "cpu")
    commands.found = lambda task: SMALL
    assert "hypervolume" not in str(a_night(config, commands).all_events)


def test_a_pick_that_lost_quality_is_a_regression_without_a_second_look(tmp_path, monkeypatch):
    text = CONFIG.replace("budget", "deploy = false\nbudget").replace(
        '"fastest within 1pp", "smallest within 1pp"', '"fastest within 5pp"'
    )
    config, commands = configured(tmp_path, text), StandIn(tmp_path)
    first = a_night(config, commands)
    taken = first.models[0].picks[0].trial
    worse = SMALL.point(taken).measured["cpu"].drop + 0.03
    commands.found = lambda task: with_measured(
        SMALL, taken, drop=worse, drop_interval=(worse - 0.005, worse + 0.005)
    )
    monkeypatch.setattr(compare_step, "beside", lambda *_, **__: pytest.fail("a loss is exact"))
    (change,) = a_night(config, commands).models[0].policies
    assert (change.quantity, change.verdict) == ("drop", "worse")
    assert change.interval[0] > 0.02


def test_a_model_that_was_trained_anew_is_the_first_cause_and_an_upgrade_the_next():
    changes = [
        EnvironmentChange(target="cpu", what="system", before="a", now="b", kind="environment"),
        EnvironmentChange(target="cpu", what="runtime version", before="1", now="2", kind="environment"),
        EnvironmentChange(target="", what="original model", before="c", now="d", kind="original"),
        EnvironmentChange(target="edge", what="threads", before="1", now="2", kind="environment"),
    ]
    assert cause_of(changes, "cpu") == "another original model, runtime version 1 → 2, system a → b"


def test_nights_that_differ_widen_the_reference():
    assert together([1.0, 1.0], [(0.98, 1.02), (0.98, 1.02)])[1][0] == pytest.approx(1 - 0.02 / 2**0.5)
    mean, interval = together([1.0, 1.1, 1.2], [(0.99, 1.01), (1.09, 1.11), (1.19, 1.21)])
    assert mean == pytest.approx(1.1)
    assert interval[0] < 0.9
