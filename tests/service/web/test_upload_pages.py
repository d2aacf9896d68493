"""Files with the form of a new search, and the page of one's uploads; in a real Chromium, too."""

import http.client
import re
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from autocompress.files import digest_of_file
from autocompress.service.client import Client
from autocompress.service.config import read_serve_config
from autocompress.service.web.pages import forms
from autocompress.tests.browser import NEEDS_BROWSER
from autocompress.tests.chromium_pages import chromium_page
from autocompress.tests.service.served import Answer, served
from autocompress.tests.service.web.test_pages import axe, log_in
from safetensors.numpy import save_file

TASKS = """
from pathlib import Path
from autocompress.tasks import Task

def classifier(weights: Path, seed: int = 0) -> Task:
    raise NotImplementedError
"""
FIELD = "weights@mine"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "tasks.py").write_text(TASKS)
    limits = '[limits]\nupload = "2MB"\nuploads = "5MB"\nbody = "64KB"\n'
    tasks = '[task.mine]\ntask = "tasks.py:classifier"\n[task.onnx]\ntask = "onnx"\n[task.old]\ntask = "exported"\n'
    (folder / "serve.toml").write_text(tasks + limits)
    (folder / "data").mkdir()
    with served(folder / "data", read_serve_config(folder / "serve.toml")) as site:
        yield site


def weights_file(folder: Path, numbers: int = 300_000, seed: int = 0) -> Path:
    path = folder / f"weights-{numbers}-{seed}.safetensors"
    save_file({"w": np.random.default_rng(seed).normal(size=numbers).astype(np.float32)}, path)
    return path


def send(
    site, cookie: str, *fields: tuple[str, str | bytes], end: bytes = b"--XX--\r\n", **headers: str
) -> Answer:
    """Sends a form with files as a browser does: bytes are files."""
    body = b""
    for name, value in fields:
        file = '; filename="a.bin"' if isinstance(value, bytes) else ""
        body += f'--XX\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    kind = "multipart/form-data; boundary=XX"
    return site.ask("POST", "/searches", body + end, Cookie=cookie, **{"Content_Type": kind, **headers})


def uploads(site, token: str) -> list[str]:
    return [one["name"] for one in site.ask("GET", "/v1/weights", token=token).json]


def arriving(site) -> list[Path]:
    return list((site.service.data / "weights").rglob("*.part"))


def test_a_file_comes_with_the_form_and_is_the_argument_of_the_search(site, tmp_path):
    token, file = site.token("ana"), weights_file(tmp_path)
    cookie, csrf = log_in(site, token)
    first = (("csrf", csrf), ("task", "mine"), ("trials", "3"), ("arguments", "seed=3\r\n"))
    answer = send(site, cookie, *first, (FIELD, file.read_bytes()), ("model@onnx", ""))
    assert answer.status == 303, answer.text
    search = answer.headers["Location"].removeprefix("/searches/")
    order = site.ask("GET", f"/v1/searches/{search}", token=token).json["order"]
    name = f"upload:{digest_of_file(file)}"
    assert order["arguments"] == {"seed": "3", "weights": name}
    assert uploads(site, token) == [name]
    form = urlencode({"csrf": csrf, "task": "mine", "trials": "3", "arguments": f"weights={name}"})
    kind = "application/x-www-form-urlencoded"
    assert site.ask("POST", "/searches", form, Cookie=cookie, Content_Type=kind).status == 303
    listed = site.ask("GET", "/uploads", Cookie=cookie).text
    assert (
        name in listed
        and "1,172.0 KB of 5,120.0 KB are taken" in listed
        and not re.search(r"<script(?![^>]*\bsrc=)", listed)
    )
    remove = f"/uploads/{name.removeprefix('upload:')}/remove"
    other, their_csrf = log_in(site, site.token("eve"))
    for who, proof, status in ((other, their_csrf, 404), (cookie, "", 403), (cookie, csrf, 303)):
        form = urlencode({"csrf": proof})
        assert site.ask("POST", remove, form, Cookie=who, Content_Type=kind).status == status
    assert uploads(site, token) == [] and name not in site.ask("GET", "/uploads", Cookie=cookie).text


def test_nothing_of_a_file_is_kept_before_the_form_proves_where_it_comes_from(site, tmp_path):
    token, data = site.token("ben"), weights_file(tmp_path).read_bytes()
    cookie, csrf = log_in(site, token)
    order = (("task", "mine"), ("trials", "3"))
    assert send(site, cookie, *order, (FIELD, data)).status == 403
    assert send(site, cookie, *order, (FIELD, data), ("csrf", csrf)).status == 403
    assert send(site, cookie, ("csrf", csrf[:-1]), *order, (FIELD, data)).status == 403
    assert (
        send(site, cookie, ("csrf", csrf), *order, (FIELD, data), Sec_Fetch_Site="cross-site").status == 403
    )
    assert send(site, "", ("csrf", csrf), *order, (FIELD, data)).status == 401
    reader, _ = log_in(site, site.token("dora"))
    narrow = site.service.access.log_in(site.token("fay", "read"))
    assert send(site, f"autocompress_session={narrow.cookie}", *order, (FIELD, data)).status == 403
    assert send(site, reader, ("csrf", csrf), *order, (FIELD, data)).status == 403
    assert uploads(site, token) == [] and arriving(site) == []


def test_what_is_wrong_with_a_file_is_said_and_nothing_is_left(site, tmp_path):
    token, data = site.token("cleo"), weights_file(tmp_path).read_bytes()
    cookie, csrf = log_in(site, token)
    order = (("csrf", csrf), ("task", "mine"), ("trials", "3"))

    def refusal(*fields, status=422, **options) -> str:
        answer = send(site, cookie, *fields, **options)
        assert answer.status == status, answer.text
        return str(answer.json["detail"])

    assert "no whole file of safetensors" in refusal(*order, (FIELD, data[:-4]))
    assert "no whole file of ONNX" in refusal(*order, (FIELD, b"\x80\x04" + bytes(300)))
    assert "at most 2,048.0 KB" in refusal(*order, (FIELD, bytes(3 << 20)))
    assert "choose that task" in refusal(*order, ("model@onnx", data))
    assert "choose that task" in refusal(*order, ("model@old", data))
    assert "as a whole" in refusal(*order, (FIELD, data), end=b"")
    assert "no form" in refusal(*order, (FIELD, data), Content_Type="multipart/form-data")
    assert "at most 500 fields" in refusal(*order, *[("x", "")] * 600)
    assert "at most 256 KB" in refusal(*order, ("arguments", "x" * 300_000), status=413)
    assert uploads(site, token) == [] and arriving(site) == []
    assert "soon" in refusal(*order, (FIELD, data), ("budget", "soon"))
    assert len(uploads(site, token)) == 1  # the file was right


def test_all_that_arrives_at_the_same_time_counts_for_the_room_of_a_user(site, tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.service.uploads._CHECKED_EACH", 1 << 18)
    token, parts = site.token("gil"), urlsplit(site.url)
    sending = []
    for number in range(2):
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        connection.putrequest("PUT", f"/v1/weights/{number:064x}")
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Length", str(2_000_000))
        connection.endheaders(bytes(1_900_000))
        sending.append(connection)
    deadline = time.monotonic() + 20
    while sum(path.stat().st_size for path in arriving(site)) < 3_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    cookie, csrf = log_in(site, token)
    answer = send(site, cookie, ("csrf", csrf), ("task", "mine"), (FIELD, bytes(2_000_000)))
    assert answer.status == 429 and "is the limit" in answer.json["detail"]
    for connection in sending:
        connection.close()
    while arriving(site):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_refused_body_is_read_on_for_a_while_only(site, tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "_DRAINED", 1 << 20)
    cookie, csrf = log_in(site, site.token("hal"))
    with pytest.raises((ConnectionError, AssertionError)):
        assert send(site, cookie, ("csrf", csrf), ("task", "mine"), (FIELD, bytes(40 << 20))).status == 303
    assert arriving(site) == []


def choose(page, selector: str, file: Path) -> None:
    """Chooses a file as a person does."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


@NEEDS_BROWSER
@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without"])
def test_a_file_is_chosen_in_the_browser_sent_listed_and_removed(site, tmp_path, scripts):
    token, file = site.token(f"ida-{scripts}"), weights_file(tmp_path, seed=1 + scripts)
    with chromium_page(tmp_path) as page:
        page.go(f"{site.url}/login")
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.submit(
            f"document.querySelector('[name=token]').value = '{token}';"
            "document.querySelector('main form').requestSubmit()"
        )
        shown = (
            "[...document.querySelectorAll('#new input[type=file]')].filter((one) => one.offsetParent).length"
        )
        assert page.run(shown) == (0 if scripts else 2)  # digits takes none; `exported` never one
        page.run(
            "const task = document.querySelector('#new [name=task]'); task.value = 'mine';"
            "task.dispatchEvent(new Event('change')); document.querySelector('#new [name=trials]').value = '3'"
        )
        assert page.run(shown) == (1 if scripts else 2)
        for width in (1280, 390):
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=900,
                deviceScaleFactor=1,
                mobile=False,
            )
            page.picture(tmp_path / f"new-{width}.png")
            assert page.run("document.documentElement.scrollWidth") <= width
            assert not scripts or axe(page) == []
        choose(page, f"#new [name='{FIELD}']", file)
        page.submit("document.getElementById('new').requestSubmit()")
        assert page.run("location.pathname").startswith("/searches/")
        for width in (1280, 390):
            page.go(f"{site.url}/uploads", width=width)
            assert page.run("document.documentElement.scrollWidth") <= width
            assert not scripts or axe(page) == []
            page.picture(tmp_path / f"uploads-{width}.png")
        assert digest_of_file(file) in page.run("document.body.innerText")
        page.submit("document.querySelector('main button').click()")
        assert "There is none yet" in page.run("document.body.innerText")
        assert page.errors == []


@NEEDS_BROWSER
def test_a_file_that_is_refused_is_told_beside_the_form_which_stays(site, tmp_path):
    token = site.token("jan")
    (tmp_path / "wrong.safetensors").write_bytes(b"\x80\x04" + bytes(1_000_000))
    (tmp_path / "large.safetensors").write_bytes(bytes(3 << 20))
    with chromium_page(tmp_path) as page:
        page.go(f"{site.url}/login")
        page.submit(
            f"document.querySelector('[name=token]').value = '{token}';"
            "document.querySelector('main form').requestSubmit()"
        )
        page.run(
            "const task = document.querySelector('#new [name=task]'); task.value = 'mine';"
            "task.dispatchEvent(new Event('change')); document.querySelector('#new [name=budget]').value = '3m'"
        )
        for name, said in (("wrong", "no whole file"), ("large", "larger than the service takes")):
            choose(page, f"#new [name='{FIELD}']", tmp_path / f"{name}.safetensors")
            page.run("document.getElementById('new').requestSubmit()")
            page.until(f"document.querySelector('#new [role=alert]').innerText.includes('{said}')")
        assert page.run("document.querySelector('#new [name=budget]').value") == "3m"
        assert page.run("document.querySelector('#new button').disabled") is False
    assert Client(site.url, token=token).connection.get("/v1/weights") == []
