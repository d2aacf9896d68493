"""REST: what a client gets, and what is refused, over a real server."""

import io
import json
import zipfile

import pytest
from autocompress.cli.commands import app
from autocompress.results.run_directory import write_run
from autocompress.service.access.rates import Rates
from autocompress.service.client import Client
from autocompress.service.config import read_serve_config
from autocompress.service.web.routes import operations
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.service.served import served
from typer.testing import CliRunner

ORDER = {"task": "digits", "trials": 3}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(tmp_path_factory.mktemp("service")) as site:
        yield site


@pytest.fixture(scope="module")
def token(site):
    return site.token()


@pytest.fixture(scope="module")
def found(site, token):
    """The path of a search that has a run."""
    search = site.ask("POST", "/v1/searches", ORDER, token=token).json["id"]
    folder = site.service.runs / search
    folder.mkdir(parents=True)
    (folder / "run.toml").touch()
    write_run(folder, sample_run())
    return f"/v1/searches/{search}"


def test_a_search_is_submitted_read_and_listed(site, token):
    made = site.ask("POST", "/v1/searches", ORDER, token=token)
    assert made.status == 201 and made.json["state"] == "queued"
    got = site.ask("GET", made.headers["Location"], token=token)
    assert got.json == made.json
    listed = site.ask("GET", "/v1/searches?limit=1", token=token).json
    assert listed["searches"] == [made.json] and listed["next"] == made.json["id"]


def test_an_unchanged_search_is_not_sent_again(site, token):
    path = site.ask("POST", "/v1/searches", ORDER, token=token).headers["Location"]
    tag = site.ask("GET", path, token=token).headers["ETag"]
    assert site.ask("GET", path, token=token, If_None_Match=tag).status == 304
    site.ask("POST", f"{path}/pause", token=token)
    assert site.ask("GET", path, token=token, If_None_Match=tag).json["state"] == "paused"


@pytest.mark.parametrize(("words", "target"), [([], "jetson-orin-nano"), (["--target", "cpu"], "cpu")])
def test_the_command_submit_takes_a_recipe_and_options_replace_its_own(
    site, token, monkeypatch, words, target
):
    monkeypatch.setenv("AUTOCOMPRESS_TOKEN", token)
    asked = ["submit", "digits", "--server", site.url, "--recipe", "jetson-30fps", "--trials", "2", "--json"]
    result = CliRunner().invoke(app, [*asked, *words])
    order = json.loads(result.stdout)["order"]
    assert (order["target"], order["trials"]) == (target, 2)
    assert (order["max_latency"], order["policy"]) == (["33ms"], "most accurate within 33ms")


def test_the_same_key_submits_once(site, token):
    answers = [site.ask("POST", "/v1/searches", ORDER, token=token, Idempotency_Key="k1") for _ in range(2)]
    assert [one.status for one in answers] == [201, 200]
    assert answers[0].json["id"] == answers[1].json["id"]
    other = site.ask("POST", "/v1/searches", {"trials": 9}, token=token, Idempotency_Key="k1")
    assert other.status == 409 and "take a new one" in other.json["detail"]


def test_a_search_is_paused_resumed_given_another_budget_and_cancelled(site, token):
    path = site.ask("POST", "/v1/searches", ORDER, token=token).headers["Location"]
    assert site.ask("POST", f"{path}/pause", token=token).json["state"] == "paused"
    assert site.ask("POST", f"{path}/resume", token=token).json["state"] == "queued"
    changed = site.ask("PUT", f"{path}/budget", {"budget": "20m"}, token=token)
    assert changed.json["order"]["budget"] == "20m"
    assert site.ask("POST", f"{path}/cancel", token=token).json["state"] == "cancelled"
    assert site.ask("POST", f"{path}/pause", token=token).status == 409


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"task": "/etc/passwd.py:make"}, "no registered task"),
        ({"task": "timm:resnet18"}, "no registered task"),
        ({"target": "cpu@root@10.0.0.1"}, "no board of this service"),
        ({"target": "/tmp/x.toml"}, "is a file"),
        ({"arguments": {"code": "x"}}, "Unknown task argument 'code'"),
        ({"arguments": {"seed": "env:HOME"}}, "variable of the worker"),
        ({"budget": "3"}, "write it like 20m"),
        ({"trials": 0}, "trials"),
        ({"bugdet": "3m"}, "bugdet"),
        ({"trials": "3"}, "trials"),
    ],
)
def test_an_order_that_is_wrong_is_a_problem_with_a_sentence(site, token, order, words):
    answer = site.ask("POST", "/v1/searches", order, token=token)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.json["detail"] and answer.json["status"] == 422


def test_a_recipe_fills_in_what_is_not_given_and_its_policy_picks(site, token, found):
    names = [one["name"] for one in site.ask("GET", "/v1/recipes", token=token).json]
    assert {"jetson-30fps", "smallest-within-1pp"} <= set(names)
    asked = {"recipe": "smallest-within-1pp", "max_drop": "2pp", "trials": 3}
    order = site.ask("POST", "/v1/searches", asked, token=token).json["order"]
    assert (order["max_drop"], order["policy"], order["trials"]) == ("2pp", "smallest within 1pp", 3)
    wrong = site.ask("POST", "/v1/searches", {"recipe": "x"}, token=token)
    assert wrong.status == 422 and "choose fastest-within-1pp" in wrong.json["detail"]
    client = Client(site.url, token=token)
    search = client.submit(recipe="smallest-within-1pp", max_drop="2pp", trials=3)
    assert search.refresh()["order"] == order
    jetson = client.submit(recipe="jetson-30fps", trials=2).refresh()["order"]
    here = client.submit(recipe="jetson-30fps", target="cpu", trials=2).refresh()["order"]
    assert (jetson["target"], here["target"]) == ("jetson-orin-nano", "cpu")
    picked = site.ask("GET", f"{found}/pick?policy=smallest+within+1pp", token=token).json["trial"]
    points = {one.trial: one.measured["cpu"] for one in sample_run().points}
    within = {trial: one.artifact.size_bytes for trial, one in points.items() if one.drop <= 0.01}
    assert within[picked] == min(within.values())


def test_nothing_is_open_without_a_token_that_holds(site, found):
    paths = site.ask("GET", "/v1/openapi.json").json["paths"]
    for path, methods in paths.items():
        for method in methods:
            real = (
                path.replace("{search_id}", found[-22:])
                .replace("{trial}", "0")
                .replace("{name}", "0" * 16 + ".zip")
            )
            status = site.ask(method.upper(), real, {}).status
            assert status == 401 or path in ("/healthz", "/readyz"), (method, path, status)
            assert site.ask(method.upper(), real, {}, token="acp_wrong").status in (401, 200)


def test_a_scope_that_is_too_small_is_refused(site):
    reader, worker = site.token("ben", "read"), site.token("w", "work")
    assert site.ask("POST", "/v1/searches", ORDER, token=reader).status == 403
    assert site.ask("GET", "/v1/searches", token=worker).status == 403
    assert site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=reader).status == 403


def test_another_users_search_is_not_there(site, found):
    eve = site.token("eve")
    for path in ("", "/front", "/points", "/points/1/layers", "/pick", "/report", "/log", "/events"):
        assert site.ask("GET", found + path, token=eve).status == 404, path
    for path in ("/pause", "/cancel", "/resume"):
        assert site.ask("POST", found + path, token=eve).status == 404
    assert site.ask("POST", f"{found}/bundles", {"trial": 1}, token=eve).status == 404
    assert site.ask("GET", f"{found}/bundles/{'0' * 16}.zip", token=eve).status == 404


def test_front_points_layers_and_picks_are_those_of_the_run(site, token, found):
    run = sample_run()
    front = site.ask("GET", f"{found}/front", token=token).json
    assert [point["trial"] for point in front["front"]] == [point.trial for point in run.front]
    points = site.ask("GET", f"{found}/points", token=token).json
    assert [point["trial"] for point in points] == [point.trial for point in run.points]
    layers = site.ask("GET", f"{found}/points/1/layers", token=token).json
    assert layers and layers[0]["name"]
    failures = site.ask("GET", f"{found}/failures", token=token).json
    assert failures == [failure.to_json() for failure in run.failures] != []
    picked = site.ask("GET", f"{found}/pick?max_drop=1pp", token=token).json
    assert picked["trial"] in [point.trial for point in run.front]
    nothing = site.ask("GET", f"{found}/pick?max_size=1B", token=token)
    assert nothing.status == 409 and "nearest misses" in nothing.json["detail"]
    assert "no unit" in site.ask("GET", f"{found}/pick?max_drop=1", token=token).json["detail"]


def test_the_report_runs_in_a_sandbox(site, token, found):
    report = site.ask("GET", f"{found}/report", token=token)
    assert "Trade-offs" in report.text
    assert report.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")


@pytest.mark.parametrize("name", ["../../serve.lock", "..%2f..%2fservice.db", "x.zip", "0000.zip"])
def test_no_file_outside_leaves(site, token, found, name):
    assert site.ask("GET", f"{found}/bundles/{name}", token=token).status in (404, 422)


@pytest.mark.parametrize(
    "name",
    ["../../service.db", "%2e%2e/x", "study.db", "artifacts/../run.toml", "crash.txt", "artifacts/.x.part"],
)
def test_workers_send_and_fetch_files_of_runs_alone(site, name):
    worker, ana = site.token("w", "work"), site.token()
    site.ask("POST", "/v1/searches", {"trials": 5, "priority": 9}, token=ana)
    job = site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json
    path = f"/v1/work/{job['id']}/files/{name}?attempt={job['attempt']}"
    assert site.ask("PUT", path, b"x", token=worker, X_SHA256="0" * 64).status in (403, 404)
    assert site.ask("GET", path, token=worker).status in (403, 404)


def test_a_file_that_arrives_damaged_is_not_kept(site):
    worker, ana = site.token("w", "work"), site.token()
    site.ask("POST", "/v1/searches", {"trials": 5, "priority": 9}, token=ana)
    job = site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json
    path = f"/v1/work/{job['id']}/files/front.json?attempt="
    assert site.ask("PUT", f"{path}{job['attempt']}", b"x", token=worker, X_SHA256="0" * 64).status == 422
    assert site.ask("PUT", f"{path}9", b"x", token=worker, X_SHA256="0" * 64).status == 409
    assert site.ask("GET", f"{path}{job['attempt']}", token=worker).status == 404


def test_events_tell_the_state_and_the_log_and_end(site):
    ana, worker = site.token(), site.token("w", "work")
    search = site.ask("POST", "/v1/searches", {"trials": 5, "priority": 99}, token=ana).json["id"]
    job = site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json
    assert job["id"] == search
    line = {"number": 1, "at": 1.0, "kind": "trial", "text": "trial 0 <b>"}
    told = {"attempt": job["attempt"], "lines": [line], "progress": {"stage": "levels", "measured": 1}}
    assert site.ask("POST", f"/v1/work/{search}/beat", told, token=worker).json == {"wanted": "run"}
    site.ask("POST", f"/v1/work/{search}/end", {**told, "exit_code": 0}, token=worker)
    text = site.ask("GET", f"/v1/searches/{search}/events", token=ana).text
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert kinds == ["log", "state", "end"]
    assert '"stage":"levels"' in text and "trial 0 <b>" in text
    number = next(line for line in text.splitlines() if line.startswith("id: "))[4:]
    again = site.ask("GET", f"/v1/searches/{search}/events", token=ana, Last_Event_ID=number).text
    assert "event: log" not in again


def test_oversized_bodies_strange_hosts_and_too_many_requests_are_refused(site, token, tmp_path):
    large = json.dumps({"task": "x" * (1 << 20)})
    assert site.ask("POST", "/v1/searches", large, token=token, Content_Type="application/json").status == 413
    chunks = iter([b"x" * 70_000] * 20)
    assert site.ask("POST", "/v1/searches", chunks, token=token).status == 413
    assert site.ask("GET", "/v1/tasks", token=token, Host="evil.example").status == 400
    with served(tmp_path, rates=Rates(0.01, 2)) as other:
        statuses = [other.ask("GET", "/v1/searches", token="t").status for _ in range(3)]
    assert statuses == [401, 401, 429]


def test_a_body_that_comes_too_slowly_is_refused(tmp_path):
    def slow():
        yield b'{"task"'
        import time

        time.sleep(1.5)
        yield b': "digits"}'

    with served(tmp_path, slow_s=0.3) as site:
        answer = site.ask("POST", "/v1/searches", slow(), token=site.token(), Content_Type="application/json")
    assert answer.status == 408


def test_machines_show_which_search_a_worker_runs_to_its_owner_alone(tmp_path):
    with served(tmp_path) as site:
        ana, worker = site.token("ana"), {"worker": "w1", "labels": ["gpu"]}
        search = site.ask("POST", "/v1/searches", ORDER, token=ana).json["id"]
        assert site.ask("POST", "/v1/work/claim", worker, token=site.token("w", "work")).status == 200
        seen = [Client(site.url, token=one).machines() for one in (ana, site.token("eve"))]
    assert [one["workers"][0]["search"] for one in seen] == [search, None]
    assert all(one["workers"][0]["busy"] and one["workers"][0]["labels"] == ["gpu"] for one in seen)
    assert seen[0]["devices"] == [] and 0 < seen[0]["free_bytes"] < seen[0]["total_bytes"]


def test_health_and_metrics_tell_how_it_is(site, token):
    assert site.ask("GET", "/healthz").text == "ok\n"
    assert site.ask("GET", "/readyz").text == "ok\n"
    metrics = site.ask("GET", "/metrics", token=token).text
    assert 'autocompress_searches{state="queued"}' in metrics


def test_a_full_disk_is_not_ready_and_says_so(site, monkeypatch):
    monkeypatch.setattr(operations, "NEEDED_BYTES", 1 << 62)
    answer = site.ask("GET", "/readyz")
    assert answer.status == 503 and "is full: free" in answer.json["detail"]
    assert site.ask("GET", "/healthz").status == 200


def test_the_files_of_a_search_that_is_over_are_removed_by_its_owner(site):
    ana, worker = site.token("dora"), site.token("w", "work")
    search = site.ask("POST", "/v1/searches", {"trials": 5, "priority": 999}, token=ana).json["id"]
    folder = site.service.runs / search
    folder.mkdir(parents=True)
    (folder / "run.toml").touch()
    write_run(folder, sample_run())
    job = site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json
    path = f"/v1/searches/{search}/files"
    assert job["id"] == search and site.ask("DELETE", path, token=ana).status == 409
    site.ask("POST", f"/v1/work/{search}/end", {"attempt": 1, "exit_code": 0}, token=worker)
    assert site.ask("DELETE", path, token=site.token("eve")).status == 404 and folder.is_dir()
    assert site.ask("DELETE", path, token=ana).status == 200 and not folder.exists()
    assert site.ask("GET", f"/v1/searches/{search}/front", token=ana).status == 404


def test_every_answer_has_the_headers_that_protect_a_browser(site):
    headers = site.ask("GET", "/healthz").headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_arguments_lead_only_to_the_folders_for_data(tmp_path):
    (tmp_path / "task.py").write_text(
        "from pathlib import Path\ndef make(data: Path, size: int = 3, names: tuple[str, ...] = ()): ...\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "serve.toml").write_text('data = ["data"]\n[task.mine]\ntask = "task.py:make"\n')
    (tmp_path / "service").mkdir()
    with served(tmp_path / "service", read_serve_config(tmp_path / "serve.toml")) as site:
        token = site.token()

        def submit(**arguments):
            return site.ask("POST", "/v1/searches", {"task": "mine", "arguments": arguments}, token=token)

        assert submit(data=f"{tmp_path}/data/x").status == 201
        assert "not below a folder for data" in submit(data=f"{tmp_path}/data/../x").json["detail"]
        assert "not below a folder for data" in submit(data="data/x").json["detail"]
        assert "size='a' is no int" in submit(data=f"{tmp_path}/data", size="a").json["detail"]
        assert "Missing task argument 'data'" in submit().json["detail"]
        listed = site.ask("GET", "/v1/tasks", token=token).json
    assert [one["name"] for one in listed] == ["digits", "mine"]


def test_a_point_is_deployed_by_who_may_to_a_registry_that_is_listed(tmp_path):
    (tmp_path / "serve.toml").write_text(f'[registry.models]\naddress = "dir:{tmp_path}/models/digits"\n')
    (tmp_path / "data").mkdir()
    with served(tmp_path / "data", read_serve_config(tmp_path / "serve.toml")) as site:
        ana, deployer = site.token("ana"), site.token("ana", "deploy")
        search = site.ask("POST", "/v1/searches", ORDER, token=ana).json["id"]
        folder = site.service.runs / search
        folder.mkdir(parents=True)
        (folder / "run.toml").touch()
        write_run(folder, small_run(folder))
        path = f"/v1/searches/{search}/deployments"
        wanted = {"trial": 1, "registry": "models", "alias": "champion"}
        assert site.ask("POST", path, wanted, token=ana).status == 403
        assert site.ask("POST", path, {**wanted, "registry": "dir:/etc"}, token=deployer).status == 404
        assert site.ask("POST", path, wanted, token=site.token("eve", "deploy")).status == 404
        made = site.ask("POST", path, wanted, token=deployer)
        assert made.status == 201 and made.json["version"] == 1, made.json
        assert json.loads((tmp_path / "models/digits/index.json").read_text())["aliases"] == {"champion": 1}
        marked = site.ask("POST", path, {"trial": 0}, token=deployer).json
        assert (marked["registry"], marked["version"]) == (None, None)
        assert [one["trial"] for one in site.ask("GET", path, token=ana).json] == [0, 1]


def test_a_bundle_comes_as_a_zip_in_parts_and_with_its_checksum(site, token, tmp_path):
    search = site.ask("POST", "/v1/searches", ORDER, token=token).json["id"]
    folder = site.service.runs / search
    folder.mkdir(parents=True)
    (folder / "run.toml").touch()
    write_run(folder, small_run(folder))
    made = site.ask("POST", f"/v1/searches/{search}/bundles", {"trial": 1}, token=token)
    assert made.status == 201, made.json
    whole = site.ask("GET", made.json["url"], token=token)
    part = site.ask("GET", made.json["url"], token=token, Range="bytes=10-19")
    assert part.status == 206 and part.body == whole.body[10:20]
    assert whole.headers["Repr-Digest"].startswith("sha-256=:")
    names = zipfile.ZipFile(io.BytesIO(whole.body)).namelist()
    assert {"bundle/manifest.json", "bundle/run.py", "bundle/SHA256SUMS"} <= set(names)
    assert (
        "no measured trial 99"
        in site.ask("POST", f"/v1/searches/{search}/bundles", {"trial": 99}, token=token).json["detail"]
    )
