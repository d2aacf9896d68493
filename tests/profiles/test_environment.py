"""Environments are compared by what decides a latency."""

import json
from dataclasses import replace

import pytest
from autocompress.profiles.environment import Environment
from autocompress.tests.profiles.records import ENVIRONMENT


def test_load_and_clock_do_not_change_the_fingerprint() -> None:
    assert replace(ENVIRONMENT, load_1m=9.0, clock_mhz=None).fingerprint == ENVIRONMENT.fingerprint


@pytest.mark.parametrize(
    "change", [{"threads": 2}, {"cores": (0,)}, {"flags": ()}, {"governor": "powersave"}], ids=str
)
def test_what_decides_a_latency_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(ENVIRONMENT, **change).fingerprint != ENVIRONMENT.fingerprint  # type: ignore[arg-type]


def test_json_and_back_is_equal() -> None:
    assert Environment.from_json(json.loads(json.dumps(ENVIRONMENT.to_json()))) == ENVIRONMENT


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="gpu"):
        Environment.from_json({**ENVIRONMENT.to_json(), "gpu": "none"})


def test_environments_differ_by_what_decides_a_latency() -> None:
    other = replace(ENVIRONMENT, threads=2, load_1m=3.0)
    assert ENVIRONMENT.differences(other) == {"threads": (1, 2)}
