"""The command `compare` and `report --against`: exit codes, JSON, pages, bundles, and what strangers wrote."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.deploy.bundle import write_bundle
from autocompress.files import digest_of_file
from autocompress.results.records.run import Run
from autocompress.results.run_directory import write_run
from autocompress.results.view import RunOn
from autocompress.tests.results.compare.later import measured_again
from autocompress.tests.results.sample_run import sample_run, with_facts, with_measured
from typer.testing import CliRunner, Result

RUN = sample_run()


def written(folder: Path, **runs: Run) -> None:
    for name, run in runs.items():
        (folder / name).mkdir()
        write_run(folder / name, run)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three nights: the first, one that differs by noise, and one whose models are slower."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, mon=RUN, tue=measured_again(RUN), wed=measured_again(RUN, latency=1.15))
    return tmp_path


def compared(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


def test_noise_ends_with_0_and_a_loss_with_4(folder: Path) -> None:
    quiet, worse = compared("mon", "tue"), compared("mon", "wed")
    assert (quiet.exit_code, worse.exit_code) == (0, 4)
    assert quiet.stdout.startswith("Nothing got worse")
    assert worse.stdout.startswith("Worse: fastest within 1pp on cpu since mon: worse latency")


def test_a_tolerance_forgives_and_a_policy_of_ones_own_is_judged(folder: Path) -> None:
    assert compared("mon", "wed", "--tolerance", "latency=20%").exit_code == 0
    ended = compared("mon", "wed", "--policy", "phone: smallest within 1pp and 0.38ms")
    assert ended.exit_code == 4 and "phone on cpu since mon" in ended.stdout


def test_json_says_the_same_to_programs(folder: Path) -> None:
    ended = compared("mon", "tue", "wed", "--json")
    value = json.loads(ended.stdout)
    assert ended.exit_code == 4 and value["worse"] is True and value["schema_version"] == 1
    assert [pair["old"] for pair in value["comparisons"]] == ["mon", "tue"]
    change = value["comparisons"][0]["policies"][0]["changes"]["latency"]
    assert change["verdict"] == "worse" and change["interval"][0] > change["tolerance"] == 0.05


def test_more_than_two_runs_are_a_table_in_the_order_of_time(folder: Path) -> None:
    shown = compared("mon", "tue", "wed").stdout
    first, *rest = shown.splitlines()
    assert first.startswith("Worse: ")
    assert [line.split()[0] for line in rest if line.split()[:1] in (["mon"], ["tue"], ["wed"])][:3] == [
        "mon",
        "tue",
        "wed",
    ]


def test_the_page_is_one_file_without_a_script(folder: Path) -> None:
    ended = compared("mon", "wed", "--html", "week.html")
    page = (folder / "week.html").read_text(encoding="utf-8")
    assert ended.exit_code == 4 and "week.html" in ended.stdout
    assert page.count("<svg") == 2 and "<script" not in page and "worse latency" in page


def test_a_report_shows_the_run_against_an_earlier_one(folder: Path) -> None:
    ended = CliRunner().invoke(app, ["report", "wed", "--against", "mon"])
    assert ended.exit_code == 0
    page = (folder / "wed" / "report.html").read_text(encoding="utf-8")
    assert "Against mon" in page and 'class="verdict worse"' in page


def test_a_bundle_is_compared_with_a_run(folder: Path) -> None:
    artifact = _model(folder)
    facts = replace(
        RUN.point(4).measured["cpu"].artifact,
        digest=digest_of_file(artifact),
        size_bytes=artifact.stat().st_size,
    )
    searched = with_measured(RUN, 4, artifact=facts)
    write_bundle(RunOn.of(searched, "cpu").on(searched.point(4)), artifact, folder / "bundle")
    written(folder, thu=measured_again(searched), fri=measured_again(searched, latency=1.15))
    ended = compared("bundle", "thu", "--json")
    value = json.loads(ended.stdout)
    assert ended.exit_code == 0 and value["sides"][0] == {"label": "bundle", "kind": "bundle"}
    assert value["comparisons"][0]["policies"][0]["verdict"] == "same"
    worse = compared("bundle", "fri", "--policy", "fastest within 1pp")
    assert worse.exit_code == 4 and "the bundle: drop 0.84 ±0.41 pp" in worse.stdout


def test_names_from_outside_do_not_act(folder: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[2J"
    task = replace(RUN.facts.task, name=hostile)
    written(folder, odd=with_facts(RUN, task=task))
    ended = compared("mon", "odd", "--html", "odd.html")
    page = (folder / "odd.html").read_text(encoding="utf-8")
    assert "\x1b" not in ended.stdout + page and "<img" not in page and "&lt;img src=x" in page


def _model(folder: Path) -> Path:
    """A real ONNX file, whatever the made-up run says of it."""
    from onnx import TensorProto, helper, save

    node = helper.make_node("Relu", ["x"], ["y"])
    shape: list[str | int | None] = ["batch", 4]
    graph = helper.make_graph(
        [node],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")
    return folder / "model.onnx"
