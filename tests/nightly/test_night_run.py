"""A night as a whole: order, window, tries, what is deployed; and that a killed one goes on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from autocompress.errors import InputError
from autocompress.nightly.places import Places, working_in
from autocompress.nightly.records.event import exit_code
from autocompress.nightly.steps.deploying import roll_back
from autocompress.tests.nightly.stand_in import CONFIG, SMALL, StandIn, a_night, configured, verification
from autocompress.tests.results.sample_run import with_latency

TWO = CONFIG + '[model.words]\ntask = "digits"\ntrials = 3\npriority = 2\n'


class Killed(BaseException):
    """As if by kill -9: nothing handles it."""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_first_night_deploys_and_the_second_keeps(tmp_path):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    first, second = a_night(config, commands), a_night(config, commands)
    assert [first.models[0].deployment.action, second.models[0].deployment.action] == ["deployed", "kept"]
    assert (tmp_path / "nightly" / "deployed" / "digits" / "model.onnx").is_file()
    assert (first.models[0].reference, second.models[0].reference) == (None, first.name)
    assert [exit_code(night.all_events) for night in (first, second)] == [0, 0]
    assert [call[0] for call in commands.calls] == ["search", "pick", "search", "verify"]


def test_the_second_night_starts_from_the_first(tmp_path):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    first = a_night(config, commands)
    a_night(config, commands)
    searches = [call for call in commands.calls if call[0] == "search"]
    assert "--from" not in searches[0]
    assert searches[1][searches[1].index("--from") + 1] == str(config.folder / first.models[0].run)


def test_a_night_that_is_killed_anywhere_goes_on_to_the_same_files(tmp_path, monkeypatch):
    whole, commands = configured(tmp_path / "whole", TWO), StandIn(tmp_path)
    a_night(whole, commands)
    expected, write = files(tmp_path / "whole"), Places.write_night
    for killed_at in range(1, 14):
        config = configured(tmp_path / f"killed-{killed_at}", TWO)
        commands, writes = StandIn(config.place), iter(range(1, 100))

        def dying(self, night, *, writes=writes, killed_at=killed_at):
            number = next(writes)
            if number == killed_at and number % 2:  # every other time the write is lost
                raise Killed
            write(self, night)
            if number == killed_at:
                raise Killed

        monkeypatch.setattr(Places, "write_night", dying)
        with pytest.raises(Killed):
            a_night(config, commands)
        monkeypatch.setattr(Places, "write_night", write)
        night = a_night(config, commands)
        assert (night.status, files(config.place)) == ("finished", expected)
        assert [len(model.steps) for model in night.models] == [5, 5]
        assert (commands.count("pick"), len(Places(folder=config.folder).read_nights())) == (2, 1)


def test_models_of_a_higher_priority_come_first(tmp_path):
    config = configured(tmp_path, 'order = "priority"\n' + TWO)
    night = a_night(config, StandIn(tmp_path))
    assert [model.name for model in night.models] == ["words", "digits"]


def test_a_target_that_is_away_is_tried_again_in_the_same_night(tmp_path):
    config, commands = configured(tmp_path, "retry = 0\n" + TWO), StandIn(tmp_path)
    commands.ends["search"] = [3]
    night = a_night(config, commands)
    assert (night.status, exit_code(night.all_events)) == ("waiting", 3)
    assert [model.state for model in night.models] == ["away", "done"]
    again = a_night(config, commands)
    assert (again.name, again.status, exit_code(again.all_events)) == (night.name, "finished", 0)
    assert commands.count("search") == 3


def test_a_crash_is_tried_again_and_a_wrong_input_is_not(tmp_path):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    commands.ends["search"] = [-9, 0]
    assert a_night(config, commands).models[0].state == "done"
    commands.ends["search"] = [2, 0]
    night = a_night(config, commands)
    assert (night.models[0].state, night.status) == ("failed", "finished")
    assert "it says 2" in night.models[0].events[0].sentence
    assert exit_code(night.all_events) == 1


def test_what_is_deployed_is_verified_although_the_search_failed(tmp_path):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    a_night(config, commands)
    commands.ends["search"], commands.verified = [2], [verification(quality=0.97)]
    night = a_night(config, commands)
    assert [check.quality for check in night.models[0].checks] == [0.97]
    assert exit_code(night.all_events) == 4


def test_no_search_begins_that_would_not_end_in_the_window(tmp_path):
    config, commands = configured(tmp_path, 'until = "07:00"\n' + TWO), StandIn(tmp_path)
    now = datetime.now().astimezone().replace(hour=6, minute=58, second=0)
    night = a_night(config, commands, clock=lambda: now)
    assert [model.state for model in night.models] == ["skipped", "done"]
    assert (night.models[0].events[0].kind, exit_code(night.all_events)) == ("window", 0)


def test_a_night_of_yesterday_is_not_continued(tmp_path):
    config, commands = configured(tmp_path, "retry = 0\n" + CONFIG), StandIn(tmp_path)
    commands.ends["search"] = [3]
    yesterday = datetime.now(UTC) - timedelta(hours=21)
    first = a_night(config, commands, clock=lambda: yesterday)
    assert a_night(config, commands).name != first.name


def test_a_better_point_is_deployed_and_can_be_rolled_back_for_good(tmp_path, monkeypatch):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    places, first = Places(folder=config.folder), a_night(config, commands).models[0]
    better = next(point.trial for point in SMALL.front if point.trial not in (first.picks[0].trial, 0, 1))
    latency = {"latency_s": 1e-5, "interval_s": (9e-6, 2e-5), "ratio": 0.01, "ratio_interval": (0.009, 0.02)}
    commands.found = lambda task: with_latency(SMALL, better, **latency)
    monkeypatch.setattr("autocompress.nightly.steps.deploy_step.beside", lambda *_, **__: (0.02, 0.03))
    assert a_night(config, commands).models[0].deployment.action == "deployed"
    assert (places.link("digits") / "model.onnx").read_text() == str(better)
    assert roll_back(places, "digits", None).current == first.deployment.version
    assert (places.link("digits") / "model.onnx").read_text() == str(first.picks[0].trial)
    assert "rolled back" in a_night(config, commands).models[0].deployment.reason


def test_a_point_that_is_only_faster_in_another_night_is_not_deployed(tmp_path, monkeypatch):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    first = a_night(config, commands).models[0]
    better = next(point.trial for point in SMALL.front if point.trial not in (first.picks[0].trial, 0, 1))
    latency = {"latency_s": 1e-5, "interval_s": (9e-6, 2e-5), "ratio": 0.01, "ratio_interval": (0.009, 0.02)}
    commands.found = lambda task: with_latency(SMALL, better, **latency)
    monkeypatch.setattr("autocompress.nightly.steps.deploy_step.beside", lambda *_, **__: (0.97, 1.01))
    deployment = a_night(config, commands).models[0].deployment
    assert (deployment.action, deployment.version) == ("kept", first.deployment.version)
    assert "-3.0 to +1.0 %" in deployment.reason


def test_rolling_back_needs_an_earlier_version(tmp_path):
    config, commands = configured(tmp_path), StandIn(tmp_path)
    places = Places(folder=config.folder)
    with pytest.raises(InputError, match="Nothing of the model 'digits' is deployed"):
        roll_back(places, "digits", None)
    a_night(config, commands)
    with pytest.raises(InputError, match="there is no earlier version"):
        roll_back(places, "digits", None)
    with pytest.raises(InputError, match="the versions are"):
        roll_back(places, "digits", "other")


def test_two_nights_do_not_run_at_once(tmp_path):
    config = configured(tmp_path)
    with (
        working_in(Places(folder=config.folder), command="nightly"),
        pytest.raises(InputError, match="in use"),
    ):
        a_night(config, StandIn(tmp_path))
