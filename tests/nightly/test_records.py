"""Records of nights: written and read again, strictly, and what follows from them."""

import json
from dataclasses import replace
from datetime import datetime

import pytest
from autocompress.errors import InputError, RunDirectoryError
from autocompress.nightly.places import Places, working_in
from autocompress.nightly.records.event import exit_code, reasons
from autocompress.tests.nightly.sample_nights import deployed, event, model_night, night, version


def test_a_night_is_read_as_it_was_written(tmp_path):
    places = Places(folder=tmp_path)
    places.write_night(night())
    assert places.read_nights() == (night(),)


def test_nights_come_in_the_order_in_which_they_began(tmp_path):
    places = Places(folder=tmp_path)
    for name in ("2026-11-29.10", "2026-11-29.9", "2026-11-30", "2026-11-29"):
        places.write_night(night(name))
    names = [one.name for one in places.read_nights()]
    assert names == ["2026-11-29", "2026-11-29.9", "2026-11-29.10", "2026-11-30"]
    assert places.new_name(datetime(2026, 11, 29)) == "2026-11-29.11"
    assert places.new_name(datetime(2026, 12, 1)) == "2026-12-01"


def test_a_damaged_night_is_named(tmp_path):
    places = Places(folder=tmp_path)
    places.write_night(night())
    file = tmp_path / "nights" / "2026-11-29" / "night.json"
    file.write_text(file.read_text().replace("It is slower", "It is faster"))
    with pytest.raises(RunDirectoryError, match=r"night\.json.*digest"):
        places.read_nights()


def test_a_night_of_a_newer_version_is_refused(tmp_path):
    places = Places(folder=tmp_path)
    places.write_night(night())
    file = tmp_path / "nights" / "2026-11-29" / "night.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 2}))
    with pytest.raises(RunDirectoryError, match="schema_version"):
        places.read_nights()


def test_a_night_that_is_not_finished_does_not_say_that_nothing_got_worse():
    fine = night(models=(), status="finished")
    assert fine.reason == "Nothing got worse."
    assert replace(fine, status="running").reason == "Nothing got worse so far: the night is not finished."
    assert "Nothing" not in replace(fine, status="running", events=(event(),)).reason


def test_the_gravest_event_gives_the_exit_code():
    away = event("target-away", sentence="cpu is away.", model="a")
    worse = event(model="b", target="cpu", cause="runtime version 1 → 2")
    failed = event("search-failed", sentence="It failed.")
    assert [exit_code(events) for events in ((), (failed,), (failed, away), (away, worse))] == [0, 1, 3, 4]
    assert exit_code([event("canary", "warning")]) == 0
    line = "b on cpu: It is slower. Likely cause: runtime version 1 → 2. a: cpu is away."
    assert reasons([away, worse]) == line
    assert reasons([event("deployed", "note")]) == "Nothing got worse."


def test_an_event_keeps_no_secret():
    told = event(sentence="Refused hf_0123456789abcdefghij\nby the server.")
    assert "hf_0123" not in told.sentence
    assert "\n" not in told.sentence


def test_deployed_versions_are_read_as_they_were_written(tmp_path):
    places = Places(folder=tmp_path)
    assert places.read_deployed("digits") == deployed()
    places.write_deployed(deployed("a", "b"))
    assert places.read_deployed("digits") == deployed("a", "b")


def test_rolling_back_refuses_the_artifact_that_was_current():
    before = deployed("a", "b", "c")
    after = before.rolled_back(before.versions[1])
    assert (before.earlier, after.version) == (before.versions[1], before.versions[1])
    assert after.refused == ("2" * 64,)
    assert after.earlier == before.versions[0]
    assert after.with_version(version("d", digest="3" * 64)).earlier == before.versions[1]
    assert deployed("a").earlier is None


def test_a_model_without_a_finished_search_waits():
    assert not model_night(state="away").finished
    assert model_night(state="skipped").finished
    assert model_night().has_done("search")
    assert not model_night().has_done("verify")


def test_two_cannot_work_in_one_folder(tmp_path):
    places = Places(folder=tmp_path / "new")
    with (
        working_in(places, command="nightly"),
        pytest.raises(InputError, match="in use by autocompress nightly"),
        working_in(places, command="gc"),
    ):
        pass
    with working_in(places, command="gc"):
        pass
