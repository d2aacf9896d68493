"""A worker with a disk of its own: what it measured arrives, and another one goes on from it."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from autocompress.service.client import Client
from autocompress.service.order import Order
from autocompress.service.work.child import environment
from autocompress.service.work.said import Said
from autocompress.service.work.syncing import files_of, may_be_sent
from autocompress.tests.service.served import served
from autocompress.tests.waiting import SEARCH_PATIENCE_S, comes_true


@contextmanager
def working(site, data, name, *, token):
    """An `autocompress worker` with its own folder."""
    command = [sys.executable, "-m", "autocompress", "worker", "--server", site.url, "--name", name]
    with (data.parent / f"{name}.err").open("w") as err:
        process = subprocess.Popen(
            [*command, "--data", str(data)], stderr=err, env={**os.environ, "AUTOCOMPRESS_TOKEN": token}
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_another_machine_goes_on_where_a_lost_one_was(tmp_path):
    (tmp_path / "service").mkdir()
    with served(tmp_path / "service", lease_s=5.0) as site:
        client, token = Client(site.url, token=site.token()), site.token("w", "work")
        search = client.submit_order(Order(trials=4, recovery=False))
        with working(site, tmp_path / "one", "one", token=token) as one:
            front = site.service.runs / search.id / "front.json"
            assert comes_true(front.is_file, timeout_s=SEARCH_PATIENCE_S)
            before = {point["trial"]: point["latency_s"] for point in search.points()}
            one.send_signal(signal.SIGKILL)
            one.wait()
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        with working(site, tmp_path / "two", "two", token=token):
            assert comes_true(lambda: search.refresh()["state"] == "finished", timeout_s=SEARCH_PATIENCE_S), (
                search.refresh()
            )
        assert search.refresh()["worker"] == "two"
        after = {point["trial"]: point["latency_s"] for point in search.points()}
        assert len(after) >= 4
        assert set(before) <= set(after)
        assert search.bundle(max(after), tmp_path / "bundle.zip").stat().st_size > 1000


def test_a_search_gets_what_it_needs_of_the_environment_and_no_secret():
    given = {
        "PATH": "/bin",
        "AUTOCOMPRESS_TOKEN": "acp_x",
        "PGPASSWORD": "x",
        "OMP_NUM_THREADS": "1",
        "HF_TOKEN": "h",
    }
    assert environment(given, ()) == {"PATH": "/bin", "OMP_NUM_THREADS": "1"}
    assert environment(given, ("HF_TOKEN",))["HF_TOKEN"] == "h"


def test_half_a_line_waits_for_its_end_and_what_is_no_event_is_passed_over(tmp_path):
    file = tmp_path / "events"
    file.write_text('{"event": "stage", "text": "one", "left_s": 3.0}\nno json\n[]\n{"event": "no')
    said = Said(file, clock=lambda: 1.0)
    said.read()
    assert said.progress == {"stage": "one", "left_s": 3.0} and said.next_lines == []
    with file.open("a") as more:
        more.write('te", "text": "two"}\n')
    said.read()
    assert said.next_lines == [{"number": 1, "at": 1.0, "kind": "note", "text": "two"}]
    said.sent(1)
    assert said.next_lines == []


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("front.json", True),
        ("artifacts/0a.onnx", True),
        ("statistics/x.json", True),
        ("study.db", False),
        ("../front.json", False),
        ("artifacts/../front.json", False),
        ("artifacts/a/b.onnx", False),
        ("/etc/passwd", False),
        ("artifacts/.1.part", False),
        ("", False),
    ],
)
def test_files_go_between_machines_by_their_names_alone(name, allowed):
    assert may_be_sent(name) is allowed


def test_no_link_of_a_run_is_sent(tmp_path):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "front.json").write_text("{}")
    (tmp_path / "run.toml").symlink_to("/etc/passwd")
    (tmp_path / "artifacts" / "a.onnx").symlink_to("/etc/passwd")
    assert list(files_of(tmp_path)) == ["front.json"]
