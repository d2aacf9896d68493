"""A real search of a task whose names attack, and which gets secrets: what each command prints, and each file."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from dataclasses import replace

import pytest
import typer
from autocompress.cli.support import errors
from autocompress.errors import TargetUnavailable
from autocompress.results.run_directory import read_run
from autocompress.tests.browser import NEEDS_BROWSER
from autocompress.tests.restless import measuring
from autocompress.tests.results.test_report_in_browser import seen_in_browser

pytestmark = pytest.mark.slow  # the search alone takes a minute of a slow machine

ATTACK = "\x1b]0;owned\x07\x9b31m[/x][b]:smile:</script><img src=x onerror=window['owned']=1>\u202e|`"
TASK = f"""
import torch
from torch import nn
from torch.utils.data import TensorDataset
from autocompress import Metric, Task, accuracy

ATTACK = {ATTACK!r}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.add_module(ATTACK, nn.Linear(16, 4))

    def forward(self, x):
        return getattr(self, ATTACK)(self.body(x).mean((2, 3)))


def make(token: str, hub: str, url: str, fail: bool = False):
    if fail:
        raise ValueError(f"cannot log in with {{token}}, {{hub}} at {{url}}" + ATTACK)
    torch.manual_seed(0)
    model, data = Net().eval(), torch.randn(192, 3, 8, 8)
    labels = model(data).argmax(1).detach()
    splits = [TensorDataset(data[a:b], labels[a:b]) for a, b in ((0, 64), (64, 128), (128, 192))]
    return Task(name="=tiny" + ATTACK, model=model, train=splits[0], validation=splits[1], test=splits[2],
                loss=nn.functional.cross_entropy, metric=Metric(name="acc[/x]" + ATTACK, function=accuracy),
                example_inputs=(torch.randn(2, 3, 8, 8),))
"""
SECRETS = {
    "token": "open-sesame-123",
    "hub": "correct horse battery",
    "url": "https://me:hunter2hunter2@host/x",
}
ARGUMENTS = (
    "--task-arg",
    f"token={SECRETS['token']}",
    "--task-arg",
    "hub=env:HUB_PASS",
    f"--task-arg=url={SECRETS['url']}",
)
SEARCH = ("search", "task.py:make", *ARGUMENTS, "--sampler", "random", "--trials", "2", "--no-recovery")
RUN = "a run's $(x)\x1b[31m"


def autocompress(folder, *arguments):
    return measuring(*arguments, cwd=folder, env={**os.environ, "HUB_PASS": SECRETS["hub"]})


def acting(text):
    """The characters that a terminal obeys, or that change how their neighbours are shown."""
    return {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def assert_nothing_acts_and_no_secret_is_told(done):
    text = done.stdout + done.stderr
    assert acting(text) == set(), text
    assert [name for name, secret in SECRETS.items() if secret in text] == []
    assert "Traceback" not in text


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of the task, its run in RUN and a bundle of it, and what the two commands printed."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "task.py").write_text(TASK, encoding="utf-8")
    search = autocompress(folder, *SEARCH, "--out", RUN)
    pick = autocompress(folder, "pick", RUN, "--out", "bundle")
    return folder, search, pick


def test_a_search_shows_names_as_text(searched):
    _, search, pick = searched
    assert (search.returncode, pick.returncode) == (0, 0), search.stderr + pick.stderr
    for done in (search, pick):
        assert_nothing_acts_and_no_secret_is_told(done)
    assert "acc[/x]\\x1b]0;owned\\x07\\x9b31m[/x][b]:smile:</script>" in search.stdout  # the table's heading
    assert f"autocompress pick {shlex.quote(RUN)}".replace("\x1b", "\\x1b") in search.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(("front", RUN), 0, id="front"),
        pytest.param(("front", RUN, "--json"), 0, id="front-json"),
        pytest.param(("front", RUN, "--csv"), 0, id="front-csv"),
        pytest.param(("report", RUN, "--out", "r.html"), 0, id="report"),
        pytest.param(("pick", RUN, "--max-latency", "1us", "--out", "none"), 1, id="nothing-meets"),
        pytest.param(("pick", RUN, "--packed", "--out", "packed"), 0, id="pick-packed"),
        pytest.param(("search", "task.py:make", *ARGUMENTS, "--dry-run", "--json"), 0, id="dry-run-json"),
        pytest.param(("search", "task.py:make", *ARGUMENTS, "--task-arg", "fail=1"), 2, id="task-fails"),
        pytest.param(("measure", f"{ATTACK[:30]}.onnx"), 2, id="no-model"),
        pytest.param(("targets", "show", f"{ATTACK[:30]}.toml"), 2, id="no-target"),
        pytest.param(("targets", "doctor", "evil.toml"), 0, id="doctor"),
        pytest.param(("targets", "show", "evil.toml"), 0, id="show"),
        pytest.param(("targets", "show", "evil.toml", "--json"), 0, id="show-json"),
    ],
)
def test_a_command_shows_text_from_outside_as_text(searched, arguments, code):
    folder, _, _ = searched
    described = json.dumps("evil" + ATTACK).replace("\\u009b", "")
    (folder / "evil.toml").write_text(f'inherits = "cpu"\ndescription = {described}\n', encoding="utf-8")
    done = autocompress(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert_nothing_acts_and_no_secret_is_told(done)


@pytest.mark.serial
@pytest.mark.parametrize("path", [RUN, "bundle"])
def test_verify_shows_text_from_outside_as_text_and_stores_no_secret(searched, path):
    done = autocompress(searched[0], "verify", path, "--task", "task.py:make", *ARGUMENTS)
    assert done.returncode in (0, 4), done.stderr
    assert_nothing_acts_and_no_secret_is_told(done)
    assert leaks(searched[0]) == []


def test_a_front_on_a_terminal_is_styled_and_nothing_else(searched, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = autocompress(searched[0], "front", RUN)
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert plain != done.stdout and acting(plain) == set()


def test_json_keeps_a_name_as_it_is(searched):
    value = json.loads(autocompress(searched[0], "front", RUN, "--json").stdout)
    assert value["task"]["name"] == "=tiny" + ATTACK and value["task"]["metric"]["name"] == "acc[/x]" + ATTACK
    assert value["task"]["arguments"] == {
        "token": "<kept out: token>",
        "hub": "env:HUB_PASS",
        "url": "<kept out: url>",
    }


def test_csv_keeps_numbers_as_numbers(searched):
    rows = list(csv.DictReader(io.StringIO(autocompress(searched[0], "front", RUN, "--csv").stdout)))
    assert len(rows) > 1
    assert all(
        float(row["latency_s"]) > 0 and float(row["drop"]) <= 1 and int(row["trial"]) >= 0 for row in rows
    )


def leaks(folder):
    """The files below the run and the bundle that hold a secret, with its name."""
    files = [path for name in (RUN, "bundle") for path in (folder / name).rglob("*") if path.is_file()]
    parts = {**SECRETS, "password": "hunter2hunter2"}
    return [
        (path.name, name)
        for path in files
        for name, secret in parts.items()
        if secret.encode() in path.read_bytes()
    ]


def test_no_file_of_a_run_or_bundle_holds_a_secret(searched):
    folder, _, _ = searched
    files = {path.name for path in (folder / RUN).iterdir()} | {
        path.name for path in (folder / "bundle").iterdir()
    }
    assert {
        "run.toml",
        "front.json",
        "log.jsonl",
        "task.json",
        "study.db",
        "report.html",
        "manifest.json",
    } <= files
    assert leaks(folder) == []


def test_the_text_files_of_a_run_and_bundle_show_no_control_character(searched):
    folder, _, _ = searched
    files = [path for name in (RUN, "bundle") for path in (folder / name).rglob("*")]
    texts = [path for path in files if path.suffix in (".json", ".jsonl", ".toml", ".py")]
    assert len(texts) > 5
    acts = {path.name: acting(path.read_text(encoding="utf-8")) for path in texts}
    assert {name for name, characters in acts.items() if characters} == set()


def test_the_same_search_with_another_token_continues_the_run(searched):
    folder, _, _ = searched
    arguments = [word.replace(SECRETS["token"], "a-new-token-456") for word in SEARCH]
    plan = autocompress(folder, *arguments, "--out", RUN, "--dry-run")
    assert "would be continued" in plan.stdout, plan.stdout + plan.stderr
    assert_nothing_acts_and_no_secret_is_told(plan)


def test_a_token_that_the_run_does_not_store_is_asked_for(searched):
    tune = ("pick", RUN, "--trial", "1", "--allow-slower", "--finetune", "1s", "--out", "tuned")
    done = autocompress(searched[0], *tune)
    asked = "--task task.py:make --task-arg token=… --task-arg hub=… --task-arg url=…"
    assert done.returncode == 2 and asked in done.stderr
    stored = ("--task", "task.py:make", "--task-arg", "token=<kept out: token>")
    done = autocompress(searched[0], *tune, *stored)
    assert done.returncode == 2
    assert "The run does not store the value of token: give --task-arg token=…" in done.stderr


def test_the_program_of_a_bundle_prints_names_as_text(searched):
    folder, _, _ = searched
    manifest = folder / "bundle" / "manifest.json"
    done = subprocess.run(
        [sys.executable, "run.py"], capture_output=True, text=True, cwd=manifest.parent, check=False
    )
    assert done.returncode == 0 and acting(done.stdout) == set()
    value = json.loads(manifest.read_text(encoding="utf-8"))
    value["inputs"][0]["name"] = ATTACK
    (folder / "evil").mkdir()
    for file in ("run.py", "model.onnx"):
        (folder / "evil" / file).write_bytes((folder / "bundle" / file).read_bytes())
    (folder / "evil" / "manifest.json").write_text(json.dumps(value), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "run.py"], capture_output=True, text=True, cwd=folder / "evil", check=False
    )
    assert done.returncode == 2 and acting(done.stderr) == set() and "owned" in done.stderr


def test_the_message_of_a_board_is_one_line(capsys):
    with pytest.raises(typer.Exit) as ended, errors():
        raise TargetUnavailable("board: said \x1b[2J\nError: all is well")
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err == "Error: board: said \\x1b[2J\\nError: all is well\n"


def test_a_warning_of_a_library_is_text():
    code = "import logging, warnings; from autocompress.cli.console.streams import warnings_as_text; warnings_as_text(); "
    code += r"logging.getLogger('x').warning('at %s', 'a\x1b]0;b'); warnings.warn('c\x1b[2J')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert acting(done.stderr) == set()
    assert done.stderr.startswith("at a\\x1b]0;b\n") and "UserWarning: c\\x1b[2J" in done.stderr


def test_a_search_of_a_file_that_no_text_can_name_is_refused(tmp_path):
    done = autocompress(tmp_path, "search", b"caf\xe9.py:make")
    assert done.returncode == 2 and "is no UTF-8" in done.stderr


LOOK = """<script>setTimeout(() => {
  document.querySelector("tr[data-trial='1']").click();
  for (const row of document.querySelectorAll("tr[data-trial]")) row.click();
  const titles = [...document.querySelectorAll("#chart-latency .ytitle")].map((title) => title.textContent);
  parent.postMessage({
    errors: seen, owned: window.owned ?? null, ready: document.documentElement.dataset.ready, titles,
    images: document.querySelectorAll("img").length, links: document.querySelectorAll("main a").length,
    heading: document.querySelector("h1").textContent,
    layers: [...document.querySelectorAll("#layer-rows code")].map((code) => code.textContent),
  }, "*");
}, 3000);</script>"""


@NEEDS_BROWSER
def test_no_name_acts_in_the_report(searched, tmp_path):
    """In a real browser: the heading, the layers and the axes show the names, and nothing of them ran."""
    run = read_run(searched[0] / RUN)
    link = '<a href="javascript:x">y</a>'  # which a label of Plotly would follow
    metric = replace(run.facts.task.metric, name=link)
    run = replace(run, facts=replace(run.facts, task=replace(run.facts.task, metric=metric)))
    seen = seen_in_browser(tmp_path, width=1280, run=run, tell=LOOK)
    assert (seen["errors"], seen["owned"], seen["ready"]) == ([], None, "true")
    assert (seen["images"], seen["links"]) == (0, 0)
    assert seen["heading"].startswith("=tiny\\x1b]0;owned\\x07")
    assert any(name.startswith("\\x1b]0;owned\\x07") for name in seen["layers"])
    assert seen["titles"] == [f"{link}, %"]
