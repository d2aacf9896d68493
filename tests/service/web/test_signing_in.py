"""Logging in by an OpenID provider: a real one in a process of its own, with its pages, keys and signatures."""

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from autocompress.errors import InputError
from autocompress.service.access.oidc import SignIn
from autocompress.service.access.provider import ProviderConfig, is_secure
from autocompress.service.config import read_serve_config
from autocompress.tests.browser import NEEDS_BROWSER
from autocompress.tests.chromium_pages import chromium_page
from autocompress.tests.service.served import served
from autocompress.tests.waiting import comes_true

GROUPS = 'groups = { "ml" = "submit", "ml-leads" = "admin" }'


@pytest.fixture(scope="module")
def provider():
    """The address of a provider."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    address = f"http://127.0.0.1:{port}"
    try:
        assert comes_true(lambda: is_up(address), timeout_s=60)
        for name, claims in {
            "ana": {"email": "ana@example.org", "email_verified": True, "groups": ["ml", "other"]},
            "leo": {"email": "leo@example.org", "email_verified": True, "groups": ["ml", "ml-leads"]},
            "max": {"email": "max@example.org", "email_verified": True, "groups": ["sales"]},
            "eve": {"email": "ana@example.org", "email_verified": False, "groups": ["ml-leads"]},
        }.items():
            httpx.put(f"{address}/users/{name}", json=claims).raise_for_status()
        yield address
    finally:
        process.kill()
        process.wait()


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/.well-known/openid-configuration").is_success
    except httpx.HTTPError:
        return False


@contextmanager
def serving(folder: Path, provider: str, *lines: str):
    table = [
        "[oidc]",
        f'issuer = "{provider}"',
        'client_id = "autocompress"',
        'client_secret = "env:OIDC_SECRET"',
    ]
    (folder / "serve.toml").write_text("\n".join([*table, *lines]))
    (folder / "data").mkdir()
    secret = mock.patch.dict(os.environ, OIDC_SECRET="a secret of the client")
    with secret, served(folder / "data", read_serve_config(folder / "serve.toml")) as site:
        yield site


def provider_answers(address: str, user: str) -> str:
    """Where the provider sends a browser whose user logs in there."""
    answer = httpx.post(address, data={"sub": user})
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["Location"]


def begun(site, following: str = "/searches") -> tuple[str, str]:
    """The provider's address, and the cookie of this browser."""
    answer = site.ask("GET", f"/login/oidc?{urlencode({'next': following})}")
    assert answer.status == 303, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "Path=/login/oidc"))
    return answer.headers["Location"], cookie.partition(";")[0]


def finished(site, user: str, **begin):
    """What the service answers when the user comes back."""
    address, cookie = begun(site, **begin)
    back = urlsplit(provider_answers(address, user))
    return site.ask("GET", f"{back.path}?{back.query}", Cookie=cookie)


def session_of(answer) -> str:
    cookies = answer.headers.get_all("Set-Cookie")
    (session,) = (one for one in cookies if one.startswith("autocompress_session="))
    assert "HttpOnly" in session and "SameSite=strict" in session
    return session.partition(";")[0]


def test_who_logs_in_there_is_logged_in_here_with_the_scope_of_their_groups(tmp_path, provider):
    with serving(tmp_path, provider, GROUPS) as site:
        login = site.ask("GET", "/login", Accept="text/html")
        assert "Log in with 127.0.0.1" in login.text
        answer = finished(site, "ana", following="/searches/x")
        assert answer.status == 200 and 'content="0;url=/searches/x"' in answer.text
        page = site.ask("GET", "/searches", Cookie=session_of(answer))
        assert page.status == 200 and "ana@example.org" in page.text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
        form = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": session_of(answer)}
        order = urlencode({"csrf": csrf, "task": "digits", "trials": "3"})
        assert site.ask("POST", "/searches", order, **form).status == 303
        mine = site.ask("GET", "/searches", Cookie=session_of(answer)).text
        leads = site.ask("GET", "/searches", Cookie=session_of(finished(site, "leo"))).text
        assert mine.count("digits") and "ana@example.org" in leads  # an administrator sees those of all


def test_without_groups_everybody_has_one_scope_and_the_audit_log_says_who_came(tmp_path, provider):
    with serving(tmp_path, provider, 'scope = "read"') as site:
        session = session_of(finished(site, "max"))
        page = site.ask("GET", "/searches", Cookie=session)
        assert page.status == 200
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
        body = urlencode({"csrf": csrf, "task": "digits"})
        form = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": session}
        assert site.ask("POST", "/searches", body, **form).status == 403
        with site.service.database.reading() as database:
            from autocompress.service.database.tables import AuditEntry
            from sqlalchemy import select

            entries = database.scalars(select(AuditEntry)).all()
        assert [(one.who, one.what, one.subject) for one in entries] == [
            ("max@example.org", "log in", "read")
        ]


@pytest.mark.parametrize(
    ("user", "words"),
    [("max", "None of your groups"), ("eve", "has not verified the address ana@example.org")],
)
def test_who_may_not_is_told_why(tmp_path, provider, user, words):
    with serving(tmp_path, provider, GROUPS) as site:
        answer = finished(site, user)
        assert answer.status == 403 and words in answer.text
        assert "autocompress_session" not in str(answer.headers)


def test_an_answer_counts_once_in_the_browser_that_asked_for_it(tmp_path, provider):
    with serving(tmp_path, provider, GROUPS) as site:
        address, cookie = begun(site)
        _, of_another = begun(site)
        back = urlsplit(provider_answers(address, "ana"))
        path = f"{back.path}?{back.query}"
        assert "not begun in this browser" in site.ask("GET", path).text
        assert "belongs to another login" in site.ask("GET", path, Cookie=of_another).text
        assert site.ask("GET", path, Cookie=cookie).status == 200
        assert "not begun in this browser" in site.ask("GET", path, Cookie=cookie).text
        address, cookie = begun(site)
        state = parse_qs(urlsplit(address).query)["state"][0]
        refused = site.ask(
            "GET", f"/login/oidc/done?{urlencode({'state': state, 'error': 'access_denied'})}", Cookie=cookie
        )
        assert refused.status == 403 and "access_denied" in refused.text
        address, cookie = begun(site)
        state = parse_qs(urlsplit(address).query)["state"][0]
        guessed = site.ask(
            "GET", f"/login/oidc/done?{urlencode({'state': state, 'code': 'guessed'})}", Cookie=cookie
        )
        assert guessed.status == 403 and "did not give a token" in guessed.text


def test_a_stolen_code_is_worth_nothing_without_the_verifier(provider):
    config = ProviderConfig(issuer=provider, client_id="autocompress")
    ours, theirs = SignIn(config, None), SignIn(config, None)
    address, _ = ours.begin("/searches", redirect="http://127.0.0.1:1/login/oidc/done")
    code = parse_qs(urlsplit(provider_answers(address, "ana")).query)["code"][0]
    other, their_cookie = theirs.begin("/searches", redirect="http://127.0.0.1:1/login/oidc/done")
    state = parse_qs(urlsplit(other).query)["state"][0]
    with pytest.raises(InputError, match="did not give a token"):
        theirs.finish(their_cookie, {"state": state, "code": code})


def test_what_was_signed_for_another_client_or_login_does_not_hold(provider):
    config = ProviderConfig(issuer=provider, client_id="autocompress")
    sign_in = SignIn(config, None)
    for strange in ("another", "nonce"):
        address, cookie = sign_in.begin("/searches", redirect="http://127.0.0.1:1/done")
        query = parse_qs(urlsplit(provider_answers(address, "ana")).query)
        answer = {name: values[0] for name, values in query.items()}
        begun_here = sign_in._begun[cookie]
        if strange == "nonce":
            sign_in._begun[cookie] = replace(begun_here, nonce="another")
        else:
            sign_in.config = ProviderConfig(issuer=provider, client_id="another")
        with pytest.raises(InputError, match=r"does not hold|did not give a token"):
            sign_in.finish(cookie, answer)
        sign_in.config = config


def test_a_login_that_takes_too_long_begins_again(provider):
    now = [0.0]
    sign_in = SignIn(ProviderConfig(issuer=provider, client_id="autocompress"), None, clock=lambda: now[0])
    address, cookie = sign_in.begin("/searches", redirect="http://127.0.0.1:1/done")
    now[0] = 601.0
    state = parse_qs(urlsplit(address).query)["state"][0]
    with pytest.raises(InputError, match="too old"):
        sign_in.finish(cookie, {"state": state, "code": "x"})


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_told(tmp_path, provider):
    with serving(tmp_path, "http://127.0.0.1:9") as site:
        answer = site.ask("GET", "/login/oidc")
        assert answer.status == 403 and "is away" in answer.text
    other = provider.replace("127.0.0.1", "localhost")
    with pytest.raises(InputError, match="calls itself"):
        SignIn(ProviderConfig(issuer=f"{other}/", client_id="a"), None).begin(
            "/", redirect="http://127.0.0.1/"
        )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['issuer = "http://login.example"', 'client_id = "a"'], "oidc.issuer is 'http://login.example'"),
        (['issuer = "https://login.example"'], "client_id"),
        (['issuer = "https://l.example"', 'client_id = "a"', 'client_secret = "s3cret"'], "in the clear"),
        (['issuer = "https://l.example"', 'client_id = "a"', 'scope = "work"'], "choose read, submit"),
        (
            ['issuer = "https://l.example"', 'client_id = "a"', 'scope = "read"', GROUPS],
            "oidc has scope and groups",
        ),
        (['issuer = "https://l.example"', 'client_id = "a"', 'group = "x"'], "did you mean 'groups'?"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, lines, words):
    (tmp_path / "serve.toml").write_text("\n".join(["[oidc]", *lines]))
    with pytest.raises(InputError, match=re.escape(words)):
        read_serve_config(tmp_path / "serve.toml")


def test_only_tls_and_this_machine_are_secure():
    assert all(
        map(is_secure, ("https://a.example/x", "http://127.0.0.1:9", "http://localhost/x", "http://[::1]/"))
    )
    assert not any(
        map(is_secure, ("http://a.example", "ftp://localhost", "https://u@a.example", "https://", "x"))
    )


@NEEDS_BROWSER
def test_a_browser_goes_there_and_comes_back_to_the_page_that_it_wanted(tmp_path, provider):
    with serving(tmp_path, provider, GROUPS) as site, chromium_page(tmp_path) as page:
        page.go(f"{site.url}/searches")
        page.submit("document.querySelector('a[href^=\"/login/oidc\"]').click()")
        assert "Authorize Client" in page.run("document.body.innerText")
        page.run(
            "document.querySelector('[name=sub]').value = 'ana'; document.querySelector('form').requestSubmit()"
        )
        page.until("location.pathname === '/searches' && document.body.innerText.includes('ana@example.org')")
        page.until("document.readyState === 'complete'")
        assert [one for one in page.errors if "Failed to load" not in one] == []  # the provider's own pages
