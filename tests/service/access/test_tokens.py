"""Tokens are known by their hashes, end when they should, and allow what their scope says."""

import pytest
from autocompress.errors import InputError
from autocompress.service.access.rates import Rates
from autocompress.service.access.tokens import Access
from autocompress.service.database.tables import BrowserSession, Token
from sqlalchemy import select


@pytest.fixture
def access(database, clock):
    return Access(database, clock=clock)


def test_a_token_has_256_bits_and_is_stored_as_its_hash(access, database):
    token = access.make("ana", "submit")
    assert len(token.removeprefix("acp_")) == 43
    with database.reading() as session:
        stored = session.scalars(select(Token)).one()
        assert token not in str(vars(stored))
    assert access.by_token(token).name == "ana"
    assert access.by_token(token + "x") is None


def test_a_token_ends_when_it_expires_or_is_revoked(access, clock):
    short, revoked = access.make("ana", "read", lasts_s=60), access.make("ana", "read")
    clock.now += 61
    access.revoke(revoked)
    assert access.by_token(short) is None
    assert access.by_token(revoked) is None


def test_a_session_ends_with_its_token_its_time_and_a_logout(access, clock, database):
    token = access.make("ana", "submit")
    first, second, third = (access.log_in(token).cookie for _ in range(3))
    assert access.by_cookie(first).csrf
    with database.reading() as session:
        assert first not in session.scalars(select(BrowserSession.digest)).all()
    access.log_out(first)
    assert access.by_cookie(first) is None
    clock.now += 13 * 3600
    assert access.by_cookie(second) is None
    clock.now -= 13 * 3600
    access.revoke(token)
    assert access.by_cookie(third) is None


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read", {"read"}),
        ("submit", {"read", "submit"}),
        ("admin", {"read", "submit", "admin", "work"}),
        ("work", {"work"}),
    ],
)
def test_a_scope_allows_what_it_says(access, scope, allowed):
    caller = access.by_token(access.make("ana", scope))
    assert {one for one in ("read", "submit", "admin", "work") if caller.may(one)} == allowed


def test_a_workers_token_logs_nobody_in(access):
    assert access.log_in(access.make("worker", "work")) is None
    assert access.log_in("acp_wrong") is None


@pytest.mark.parametrize(("user", "scope"), [("", "read"), ("a b", "read"), ("ana", "root")])
def test_names_and_scopes_that_are_none_are_refused(access, user, scope):
    with pytest.raises(InputError):
        access.make(user, scope)


def test_requests_beyond_the_rate_wait(clock):
    rates = Rates(2.0, 3.0, clock=clock)
    assert [rates.wait_s("ana") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.wait_s("ben") == 0
    clock.now += 0.5
    assert rates.wait_s("ana") == 0
