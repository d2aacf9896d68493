"""The pages: a login, a search that is followed and picked from, what is refused; in a real Chromium."""

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import pytest
from autocompress.results.run_directory import write_run
from autocompress.service.config import read_serve_config
from autocompress.tests.browser import NEEDS_BROWSER
from autocompress.tests.chromium_pages import chromium_page
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.service.served import served

FORM = "application/x-www-form-urlencoded"
HTML = "text/html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "nightly.toml").write_text('at = "02:00"\n[model.digits]\ntask = "digits"\ntrials = 3\n')
    (folder / "serve.toml").write_text(
        f'[nightly.team]\nfile = "nightly.toml"\n[registry.models]\naddress = "dir:{folder}/registry/digits"\n'
    )
    (folder / "data").mkdir()
    with served(folder / "data", read_serve_config(folder / "serve.toml")) as site:
        yield site


def log_in(site, token: str) -> tuple[str, str]:
    """The cookie and the CSRF token of a session."""
    answer = site.ask("POST", "/login", urlencode({"token": token, "next": "/searches"}), Content_Type=FORM)
    assert (answer.status, answer.headers["Location"]) == (303, "/searches"), answer.text
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    page = site.ask("GET", "/searches", Cookie=cookie)
    return cookie, present(re.search(r'name="csrf" value="([^"]+)"', page.text))[1]


def found_search(site, token: str, folder: Path | None = None, *, end: bool = True) -> str:
    """A search with a run."""
    search = site.ask("POST", "/v1/searches", {"task": "digits", "priority": 500}, token=token).json["id"]
    run = site.service.runs / search
    run.mkdir(parents=True)
    (run / "run.toml").touch()
    write_run(run, sample_run())
    if end:
        worker = site.token("w", "work")
        job = site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json
        line = {"number": 1, "at": 1.0, "kind": "note", "text": "<script>alert(1)</script>"}
        told = {"attempt": job["attempt"], "lines": [line], "exit_code": 0}
        assert site.ask("POST", f"/v1/work/{search}/end", told, token=worker).status == 204
    return search


def test_pages_need_a_login_and_its_cookie_is_kept_from_scripts_and_other_sites(site):
    away = site.ask("GET", "/searches", Accept=HTML)
    assert (away.status, away.headers["Location"]) == (303, "/login?next=%2Fsearches")
    answer = site.ask("POST", "/login", urlencode({"token": site.token("ben")}), Content_Type=FORM)
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    wrong = site.ask("POST", "/login", urlencode({"token": "acp_wrong"}), Content_Type=FORM)
    assert wrong.status == 403 and "no such token" in wrong.text


@pytest.mark.parametrize(
    "following", ["https://evil.example", "//evil.example", "/\\evil.example", "/v1/searches"]
)
def test_a_login_leads_to_pages_of_the_service_alone(site, following):
    form = urlencode({"token": site.token("ben"), "next": following})
    assert site.ask("POST", "/login", form, Content_Type=FORM).headers["Location"] == "/searches"


def test_forms_without_proof_of_their_page_are_refused(site):
    cookie, csrf = log_in(site, site.token("ben"))
    form = {"task": "digits", "target": "cpu"}

    def submit(values, **headers):
        return site.ask(
            "POST", "/searches", urlencode(values), Content_Type=FORM, Cookie=cookie, **headers
        ).status

    assert submit(form) == 403
    assert submit({**form, "csrf": csrf[:-1]}) == 403
    assert submit({**form, "csrf": csrf}, Sec_Fetch_Site="cross-site") == 403
    assert submit({**form, "csrf": csrf}) == 303
    assert site.ask("POST", "/v1/searches", {"task": "digits"}, Cookie=cookie).status == 403
    assert site.ask("POST", "/login", "token=x", Content_Type=FORM, Sec_Fetch_Site="cross-site").status == 403


def test_a_session_is_of_no_use_after_a_logout(site):
    cookie, csrf = log_in(site, site.token("ben"))
    out = site.ask("POST", "/logout", urlencode({"csrf": csrf}), Content_Type=FORM, Cookie=cookie)
    assert out.status == 303
    assert site.ask("GET", "/searches", Cookie=cookie).status == 401


def test_a_wrong_form_comes_back_as_a_page_with_its_sentence(site):
    cookie, csrf = log_in(site, site.token("ben"))
    form = urlencode({"csrf": csrf, "task": "digits", "target": "cpuu"})
    answer = site.ask("POST", "/searches", form, Content_Type=FORM, Cookie=cookie, Accept=HTML)
    assert answer.status == 422 and "There is no target" in answer.text


def test_what_others_wrote_is_text_and_no_script_stands_in_a_page(site):
    token = site.token("ana")
    search, (cookie, _) = found_search(site, token), log_in(site, token)
    for path in ("/searches", f"/searches/{search}", "/machines", f"/compare?old={search}&new={search}"):
        page = site.ask("GET", path, Cookie=cookie)
        assert page.status == 200, (path, page.text)
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)|\son\w+=|https?://(?!127)", page.text), path
    assert "&lt;script&gt;alert(1)" in site.ask("GET", f"/searches/{search}", Cookie=cookie).text


def test_other_users_see_neither_the_page_nor_its_parts(site):
    search = found_search(site, site.token("ana"))
    cookie, csrf = log_in(site, site.token("eve"))
    for path in ("", "/part/front", "/part/progress", "/charts", "/picked"):
        assert site.ask("GET", f"/searches/{search}{path}", Cookie=cookie).status == 404, path
    for action in ("pause", "cancel", "resume", "bundle", "budget"):
        form = urlencode({"csrf": csrf, "trial": "1", "budget": "3m"})
        answer = site.ask("POST", f"/searches/{search}/{action}", form, Content_Type=FORM, Cookie=cookie)
        assert answer.status == 404, action


def axe(page) -> list[str]:
    """The serious violations that axe-core finds on a page."""
    spec = find_spec("axe_core_python")
    assert spec is not None and spec.submodule_search_locations
    script = next(Path(spec.submodule_search_locations[0]).glob("axe.min.js")).read_text()
    page.run(script + "; 0")
    result = json.loads(page.run("axe.run().then((result) => JSON.stringify(result.violations))"))
    return [
        f"{one['id']}: {[node['target'] for node in one['nodes']]}"
        for one in result
        if one["impact"] in ("serious", "critical")
    ]


@NEEDS_BROWSER
def test_a_nightly_file_is_edited_on_its_page_and_a_point_is_deployed_from_the_pick(site, tmp_path):
    token = site.token("root", "admin")
    search = found_search(site, token)
    write_run(site.service.run_folder(search), small_run(site.service.run_folder(search)))
    with chromium_page(tmp_path) as page:
        page.go(f"{site.url}/nights")
        page.submit(
            f"document.querySelector('[name=token]').value = '{token}';"
            "document.querySelector('main form').requestSubmit()"
        )
        page.go(f"{site.url}/nights")
        page.run("document.querySelector('details').open = true")
        page.submit(
            "const text = document.querySelector('textarea'); text.value = text.value.replace('02:00', '04:45');"
            "text.form.requestSubmit()"
        )
        assert "04:45" in page.run("document.body.innerText")
        page.go(f"{site.url}/searches/{search}")
        page.until("document.querySelectorAll('#picked [name=deploy]').length > 0")
        page.run("document.querySelector('#picked [name=registry]').value = 'models'")
        page.submit("document.querySelector('#picked .chosen [name=deploy]').click()")
        page.until("document.getElementById('deployed')?.parentElement.innerText.includes('models')")
        assert page.errors == []
    (row,) = site.ask("GET", f"/v1/searches/{search}/deployments", token=token).json
    assert (row["registry"], row["version"], row["by"]) == ("models", 1, "root")


@NEEDS_BROWSER
def test_a_search_is_submitted_followed_picked_from_and_its_pages_serve_everybody(site, tmp_path):
    token, worker = site.token("cleo", "admin"), site.token("w", "work")
    with chromium_page(tmp_path) as page:
        page.go(f"{site.url}/")
        assert axe(page) == []
        page.submit(
            f"document.querySelector('[name=token]').value = '{token}';"
            "document.querySelector('main form').requestSubmit()"
        )
        page.submit("document.querySelector('.new form').requestSubmit()")
        search = page.run("document.getElementById('search').dataset.id")
        jobs = [site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json for _ in range(9)]
        job = next(one for one in jobs if one and one["id"] == search)
        run = site.service.runs / search
        run.mkdir(parents=True)
        (run / "run.toml").touch()
        write_run(run, sample_run())
        line = {"number": 1, "at": 1.0, "kind": "trial", "text": "trial 7 <b>is here</b>"}
        progress = {"stage": "levels of conv1", "share": 0.4, "left_s": 70.0, "front": [{"trial": 1}]}
        told = {"attempt": job["attempt"], "lines": [line], "progress": progress}
        site.ask("POST", f"/v1/work/{search}/beat", told, token=worker)
        page.until("document.getElementById('progress').innerText.includes('levels of conv1')")
        page.until("document.getElementById('lines').innerText.includes('trial 7 <b>is here</b>')")
        page.until("document.querySelectorAll('#picked tbody tr').length > 0")
        page.until("document.querySelectorAll('.main-svg').length >= 3")
        before = page.run("document.querySelector('#picked tr.chosen').innerText")
        page.run(
            "const size = document.querySelector('[data-name=max_size]'); size.value = 12;"
            "size.dispatchEvent(new Event('input', { bubbles: true })); 0"
        )
        page.until(f"document.querySelector('#picked tr.chosen').innerText !== {json.dumps(before)}")
        site.ask("POST", f"/v1/work/{search}/end", {"attempt": job["attempt"], "exit_code": 0}, token=worker)
        page.until("document.querySelector('#progress .status').innerText === 'finished'")
        other = found_search(site, token)
        for width in (1280, 390):
            for path in (
                "/searches",
                f"/searches/{search}",
                "/machines",
                "/nights",
                f"/compare?old={other}&new={search}",
            ):
                page.go(site.url + path, width=width)
                time.sleep(0.3)
                assert page.run("document.documentElement.scrollWidth") <= width, (path, width)
                assert axe(page) == [], (path, width)
        assert page.errors == []
