"""Requests to a real service."""

from types import SimpleNamespace

import pytest
from autocompress.service.access.rates import Rates
from autocompress.service.work import connection
from autocompress.service.work.connection import Connection, RefusedError
from autocompress.tests.service.served import served


def test_who_asks_too_often_waits_as_the_service_says_and_not_for_ever(tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(connection, "time", SimpleNamespace(sleep=waits.append))
    with served(tmp_path, rates=Rates(1e-6, 2)) as site:
        asking = Connection(site.url, site.token())
        assert [asking.get("/v1/searches")["searches"] for _ in range(2)] == [[], []]
        with pytest.raises(RefusedError, match="Too many requests"):
            asking.get("/v1/searches")
    assert waits == [10.0] * 5  # it says a million seconds


def test_who_waited_is_answered(tmp_path):
    with served(tmp_path, rates=Rates(4.0, 1)) as site:
        asking = Connection(site.url, site.token())
        assert [asking.get("/v1/searches")["searches"] for _ in range(3)] == [[], [], []]
