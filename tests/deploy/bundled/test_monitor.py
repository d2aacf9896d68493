"""monitor.py of a bundle: what it counts, what it writes, and that it never stops the program."""

import json
import math
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from autocompress.deploy.bundled import monitor
from autocompress.tests.deploy.bundled.program import imported
from autocompress.tests.deploy.drift.used import bundle_of, used


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("used"))


def test_a_line_counts_every_inference_and_every_value_that_was_looked_at(bundle, tmp_path):
    (line,) = used(bundle, tmp_path / "log.jsonl", count=300)
    assert (line["schema_version"], line["calls"], line["looks"]) == (1, 300, 300)
    assert sum(count for _, count in line["latency_s"]["bins"]) == 300
    assert [sum(channel) for channel in line["inputs"]["x"]] == [300] * 4
    assert sum(line["top"]["y"]) == 300 and len(line["outputs"]["y"]) == 3


def test_the_counts_are_those_of_numpy_between_the_edges_of_the_manifest(bundle, tmp_path):
    values = np.random.default_rng(2).standard_normal((200, 4)).astype(np.float32)
    rows = iter(values)
    (line,) = used(bundle, tmp_path / "log.jsonl", lambda _: next(rows)[None], count=200)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for channel, counts in enumerate(line["inputs"]["x"]):
        edges = manifest["statistics"]["inputs"][0]["channels"][channel]["edges"]
        expected, _ = np.histogram(values[:, channel], [-np.inf, *edges, np.inf])
        assert counts == expected.tolist()


def test_the_percentiles_are_within_one_percent():
    times = np.random.default_rng(0).lognormal(-7, 0.5, 20_000)
    bins: dict[int, int] = {}
    for seconds in times:
        place = int(math.log(seconds) // math.log(monitor.STEP))
        bins[place] = bins.get(place, 0) + 1
    for share in (0.5, 0.9, 0.99):
        assert monitor._percentile(bins, share) == pytest.approx(np.quantile(times, share), rel=0.015)


def test_the_log_has_no_input_and_without_the_monitor_there_is_none(bundle, tmp_path):
    text = json.dumps(used(bundle, tmp_path / "log.jsonl", lambda _: np.full((1, 4), 0.8765432, np.float32)))
    assert "0.87654" not in text
    imported(bundle).predict(np.zeros((1, 4), np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]


def test_looks_take_only_a_share_of_the_time_of_the_model(bundle, tmp_path):
    script = imported(bundle)
    watching = script.monitor(str(tmp_path / "log.jsonl"))
    watching._first_looks = 3
    feeds, answers = {"x": np.zeros((1, 4), np.float32)}, {"y": np.zeros((1, 3), np.float32)}
    for _ in range(2000):
        watching.took.append(1e-6)  # a model of 1 µs: hardly more than the first may be looked at
        if len(watching.took) >= watching.due:
            watching.look(feeds, answers)
    watching.close()
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["calls"] == 2000 and 3 <= line["looks"] <= 6


def test_run_py_writes_a_line_for_one_inference(bundle, tmp_path):
    command = [sys.executable, "-I", str(bundle / "run.py"), "--monitor", str(tmp_path / "logs/log.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "logs/log.jsonl").read_text())["calls"] == 1


def test_a_log_that_cannot_be_written_stops_the_monitor_and_not_the_program(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    script = imported(bundle)
    watching = script.monitor(str(tmp_path / "file/log.jsonl"), every_s=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(6):
            assert script.predict(np.ones((1, 4), np.float32))["y"].shape == (1, 3)
    assert [str(one.message).count("the monitor has stopped") for one in told] == [1]
    watching.close()


def test_a_full_log_becomes_an_older_one_and_few_of_them_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "LARGEST_LOG_BYTES", 100)
    for number in range(60):
        monitor.append(tmp_path / "log", f'{{"number":{number},"text":"{"x" * 20}"}}')
    files = sorted(path.name for path in tmp_path.iterdir())
    assert set(files) <= {"log", "log.1", "log.2", "log.3", "log.4"} and "log.4" in files
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5 * 200
    assert '"number":59' in "".join(path.read_text() for path in tmp_path.iterdir())


def test_half_a_line_of_a_killed_process_spoils_no_other_line(tmp_path):
    (tmp_path / "log").write_text('{"calls":1}\n{"calls":')
    monitor.append(tmp_path / "log", '{"calls":2}')
    assert (tmp_path / "log").read_text().splitlines() == ['{"calls":1}', '{"calls":', '{"calls":2}']


def test_processes_write_to_one_log_and_every_line_is_whole(tmp_path):
    program = "import monitor, pathlib, sys\nfor number in range(40):\n"
    program += "    monitor.append(pathlib.Path(sys.argv[1]), sys.argv[2] + str(number) + 'x' * 500)\n"
    folder = Path(monitor.__file__).parent
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log"), name], cwd=folder)
        for name in "ab"
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{name}{number}{'x' * 500}" for name in "ab" for number in range(40))


def test_threads_count_together(bundle, tmp_path):
    script = imported(bundle)
    watching = script.monitor(str(tmp_path / "log.jsonl"))
    image = np.zeros((1, 4), np.float32)
    script.predict(image)
    threads = [threading.Thread(target=lambda: [script.predict(image) for _ in range(100)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watching.close()
    assert json.loads((tmp_path / "log.jsonl").read_text())["calls"] == 301


@pytest.mark.parametrize(("layout", "axis"), [("NCHW", 1), ("NHWC", 3)])
def test_channels_are_those_of_the_layout(layout, axis):
    from autocompress.evaluation.sample_statistics import tensor_statistics

    means = np.array([-5.0, 0.0, 5.0])
    images = np.random.default_rng(0).standard_normal((50, 6, 7, 3)) + means
    images = (images if layout == "NHWC" else np.moveaxis(images, 3, 1)).astype(np.float32)
    tensor = tensor_statistics([images], layout=layout)
    assert tensor is not None and (tensor.axis, tensor.samples) == (axis, 50)
    middles = [channel.edges[10] for channel in tensor.channels]
    assert middles == pytest.approx(means, abs=0.2)
    sample = monitor.channels_of(images[0], tensor.axis)
    assert sample.shape == (3, 42) and sample.mean(1) == pytest.approx(means, abs=0.8)
