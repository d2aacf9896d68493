"""What the deployed bundle logged in use is an event of the night when a claim no longer holds."""

import json
from dataclasses import replace

import pytest
from autocompress.errors import InputError
from autocompress.nightly.records.event import exit_code
from autocompress.tests.nightly.stand_in import CONFIG, StandIn, a_night, configured

WITH_LOGS = CONFIG.replace("[model.digits]", '[model.digits]\ndrift = "logs"')


class InUse(StandIn):
    """`drift` says what `broken` holds."""

    broken = ("accuracy", "latency")

    def _drift(self, words):
        return {}

    def run(self, words, *, log, seconds=None):
        ended = super().run(words, log=log, seconds=seconds)
        printed = json.dumps({"broken": self.broken})
        return replace(ended, output=printed) if words[0] == "drift" else ended


def second_night(tmp_path, code):
    """The night after the first bundle was deployed, in which `drift` ends with a code."""
    config, commands = configured(tmp_path, WITH_LOGS), InUse(tmp_path)
    a_night(config, commands)
    commands.ends["drift"] = [code]
    night = a_night(config, commands)
    assert commands.count("drift") == 1 and commands.calls[-1][0] != "search"
    return night, [event for event in night.all_events if "n use" in event.sentence]


def test_a_claim_that_no_longer_holds_in_use_is_a_regression(tmp_path):
    night, (event,) = second_night(tmp_path, 4)
    assert exit_code(night.all_events) == 4 and event.kind == "regression"
    assert event.sentence.endswith("claims no longer holds: accuracy, latency.")


def test_claims_that_hold_are_no_event(tmp_path):
    night, events = second_night(tmp_path, 0)
    assert events == [] and exit_code(night.all_events) == 0


def test_where_nothing_was_logged_yet_a_note_says_so(tmp_path):
    night, (event,) = second_night(tmp_path, 2)
    assert exit_code(night.all_events) == 0 and event.kind == "not-checked"
    assert event.sentence.endswith("could not be compared: it says 2")


def test_logs_of_a_model_of_several_targets_are_refused(tmp_path):
    text = WITH_LOGS.replace("[model.digits]", '[model.digits]\ntarget = "cpu,cpu-2t"')
    with pytest.raises(InputError, match="several targets, and drift is for a model of one"):
        configured(tmp_path, text)
