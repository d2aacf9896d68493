"""A secret comes from the environment; a run that does not store it asks for it again."""

import pytest
from autocompress.errors import TaskError
from autocompress.tasks.arguments import resolved
from autocompress.text.secrets import stored_arguments, without_secrets


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch):
    monkeypatch.setattr("autocompress.text.secrets._hidden", set())


def test_a_value_comes_from_the_environment_and_no_message_repeats_it(monkeypatch):
    monkeypatch.setenv("HUB", "open sesame")
    assert resolved({"hub": "env:HUB", "size": "3"}) == {"hub": "open sesame", "size": "3"}
    assert without_secrets("no entry with open sesame") == "no entry with <kept out: secret>"


def test_no_message_repeats_a_secret_that_was_given_as_it_is():
    assert resolved({"token": "swordfish", "data": "swordfishes"})["token"] == "swordfish"
    assert without_secrets("wrong: swordfish") == "wrong: <kept out: secret>"


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("HUB", raising=False)
    with pytest.raises(TaskError, match=r"hub=env:HUB names the environment variable HUB, which is not set"):
        resolved({"hub": "env:HUB"})


def test_a_run_that_does_not_store_a_secret_asks_for_it():
    stored = stored_arguments({"token": "swordfish", "data": "here"})
    with pytest.raises(
        TaskError, match=r"The run does not store the value of token: give --task-arg token=…"
    ):
        resolved(stored)
