"""The command line: every bad input is one sentence and exit code 2, results are on stdout, help is fast."""

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest
from autocompress.results.run_directory import write_run
from autocompress.tests.restless import measuring, restless
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from autocompress.tests.targets.models import linear
from autocompress.tests.waiting import comes_true, computed, start_up_ratio

TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from autocompress import Metric, Task, accuracy


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                                  nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def make(seed: int = 0, broken: bool = False, unit: str = "fraction"):
    torch.manual_seed(seed)
    model, data = Net().eval(), torch.randn(256, 3, 8, 8)
    with torch.no_grad():
        labels = model(data).argmax(1)
    labels[:40] = 0
    splits = [TensorDataset(data[a:b], labels[a:b]) for a, b in ((0, 96), (96, 176), (176, 256))]
    metric = Metric(name="accuracy", function=accuracy, unit=unit)
    example = torch.randn(2, 5 if broken else 3, 8, 8)
    return Task(name="tiny", model=model, train=splits[0], validation=splits[1], test=splits[2],
                loss=nn.functional.cross_entropy, metric=metric, example_inputs=(example,))
"""


def autocompress(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autocompress", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=240, check=False)


@pytest.fixture
def task(tmp_path):
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    return tmp_path


@pytest.fixture
def run(tmp_path):
    """A run directory with a sample front.json and files for its artifacts."""
    directory = tmp_path / "runs" / "sample"
    directory.mkdir(parents=True)
    write_run(directory, sample_run())
    return directory


def test_help_teaches_with_examples_and_starts_fast():
    command = [sys.executable, "-m", "autocompress", "search", "--help"]
    assert "autocompress search examples/cifar10.py:resnet20" in computed(command)[0]
    assert start_up_ratio(command, python=sys.executable) < 5  # half a second


def test_version_is_that_of_the_package():
    shown = autocompress("--version")
    assert shown.returncode == 0 and shown.stdout == f"autocompress {version('autocompress')}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["search", "--max-size", "200"], "has no unit: write it like 200KB", id="no-unit"),
        pytest.param(
            ["search", "task.py:make", "--task-arg", "broken=true"], "model failed", id="broken-example"
        ),
        pytest.param(["front", "nowhere"], "nowhere is no run directory", id="no-run"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(task, arguments, told):
    seen = autocompress(*arguments, cwd=task)
    assert seen.returncode == 2 and told in seen.stderr and seen.stdout == ""
    assert "Traceback" not in seen.stderr
    assert sorted(path.name for path in task.iterdir() if path.name != "__pycache__") == ["task.py"]


BOARD = """
inherits = "cpu"
architecture = "{architecture}"
[datasheet]
peak_flops = {{ float32 = 1e9, int8 = 4e9 }}
memory_bytes_per_s = 1e9
source = "a leaflet"
"""


def board(folder: Path) -> Path:
    """The profile of a board that this machine is not."""
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    (folder / "board.toml").write_text(BOARD.format(architecture=other))
    return folder / "board.toml"


def test_a_board_that_is_not_attached_is_exit_code_3_and_names_the_flag(task):
    seen = autocompress("search", "task.py:make", "--target", board(task), cwd=task)
    assert seen.returncode == 3 and "--allow-predicted" in seen.stderr and "board@user@host" in seen.stderr
    assert not (task / "runs").exists()


def test_measure_says_that_a_foreign_file_is_measured_with_the_runtimes_defaults(tmp_path):
    model = linear(tmp_path / "foreign.onnx")
    seen = measuring("measure", model, "--json")
    said = " ".join(seen.stderr.split())
    assert seen.returncode == 0 and "foreign.onnx was not written by autocompress" in said
    assert "without optimization.disable_specified_optimizers, session.set_denormal_as_zero" in said
    assert json.loads(seen.stdout)["details"]["options_left_out"]["model"]


@pytest.mark.parametrize(
    "command", [["measure", "m.onnx", "--target"], ["targets", "doctor"]], ids=["measure", "doctor"]
)
def test_measure_and_doctor_do_not_take_this_machine_for_a_board_without_address(command, tmp_path):
    (tmp_path / "pi.toml").write_text('inherits = "raspberry-pi-5"\nthreads = 1\ndevice = "Raspberry Pi 99"')
    seen = autocompress(*command, tmp_path / "pi.toml")
    assert seen.returncode == 3 and "give its address, like pi@user@host" in seen.stderr + seen.stdout


def test_a_runtime_option_that_the_runtime_does_not_take_is_exit_code_2(tmp_path):
    (tmp_path / "own.toml").write_text(
        'inherits = "cpu"\n[runtime_options]\n"session.dynamic_block_base" = "many"'
    )
    seen = autocompress("targets", "doctor", tmp_path / "own.toml")
    assert seen.returncode == 2 and "session.dynamic_block_base = 'many'" in seen.stderr
    assert "remove it from runtime_options" in " ".join(seen.stderr.split())


@pytest.mark.serial
@pytest.mark.slow
def test_a_board_that_is_not_attached_is_predicted_picked_and_verified(task):
    command = (
        "search",
        "task.py:make",
        "--target",
        board(task),
        "--allow-predicted",
        "--no-recovery",
        "--trials",
        "3",
    )
    seen = measuring(*command, cwd=task)
    assert seen.returncode == 0, seen.stderr
    assert "are predicted, not measured" in seen.stderr and "latency ~" in seen.stderr
    assert "~1.00 " in seen.stdout and "± 95 %" in seen.stdout
    run = task / "runs" / "tiny-board"
    picked = autocompress("pick", run, "--max-drop", "50pp", "--out", task / "bundle", cwd=task)
    assert picked.returncode == 0 and ", ~" in picked.stdout, picked.stderr
    assert ", drop " in picked.stdout and " pp, meets 50pp with " in picked.stdout
    again = measuring("verify", run, "--target", "board.toml", cwd=task)
    assert again.returncode == 3  # the board is not attached still
    given = ("--target", "cpu", "--task", "task.py:make")
    verified = measuring("verify", run, *given, "--json", cwd=task)
    found = json.loads(verified.stdout)
    assert (
        verified.returncode == 0 and found["targets"][0]["points"][0]["predicted"] and not found["regressed"]
    ), verified.stderr
    assert autocompress("verify", task / "nothing").returncode == 2
    (task / "bundle" / "manifest.json").write_text("{}")
    damaged = autocompress("verify", task / "bundle", cwd=task)
    assert damaged.returncode == 2 and "copy the bundle again" in damaged.stderr


def test_an_unknown_option_is_exit_code_2():
    assert autocompress("search", "--bugdet", "3m").returncode == 2


def test_front_prints_a_table_json_and_csv(run):
    shown = autocompress("front", run).stdout
    assert "original" in shown and "--max-drop 1pp binds: without it trial 25" in shown
    assert json.loads(autocompress("front", run, "--json").stdout)["baseline"]["trial"] == 0
    assert autocompress("front", run, "--csv").stdout.startswith("trial,")


def test_an_original_without_error_needs_a_limit_before_anything_is_written(task):
    text = TASK.replace("labels = model(data).argmax(1)\n    labels[:40] = 0", "labels = model(data)")
    text = text.replace("nn.functional.cross_entropy", "nn.functional.mse_loss")
    error = "function=lambda a, b: float((a - b).square().mean()), direction='lower', unit=''"
    text = text.replace("function=accuracy, unit=unit", error)
    (task / "task.py").write_text(text)
    for more in ([], ["--dry-run"]):
        seen = autocompress("search", "task.py:make", "--trials", "2", *more, cwd=task)
        assert seen.returncode == 2 and seen.stdout == "", seen.stderr
        assert "so that no share of it says what a large drop is" in seen.stderr
        assert not (task / "runs").exists()


def test_pick_without_a_fitting_point_is_exit_code_1_and_writes_nothing(run, tmp_path):
    seen = autocompress("pick", run, "--max-latency", "1ns", "--out", tmp_path / "bundle")
    assert seen.returncode == 1 and "nearest misses" in seen.stderr
    assert not (tmp_path / "bundle").exists()


def test_pick_tells_an_unknown_objective(run):
    seen = autocompress("pick", run, "--minimize", "cost")
    assert seen.returncode == 2 and "choose latency, size or drop" in seen.stderr


def test_report_writes_the_file(run):
    seen = autocompress("report", run)
    assert seen.returncode == 0 and (run / "report.html").stat().st_size > 100_000


def test_targets_lists_shows_and_refuses():
    assert "cpu-2t" in autocompress("targets").stdout
    assert json.loads(autocompress("targets", "show", "cpu", "--json").stdout)["threads"] == 1
    shown = json.loads(autocompress("targets", "show", "jetson@ann@10.0.0.5:22", "--json").stdout)
    assert shown["address"] == {"profile": "jetson", "user": "ann", "host": "10.0.0.5", "port": 22}
    several = json.loads(autocompress("targets", "show", "jetson@left+ann@right", "--json").stdout)
    assert several["address"]["others"] == ["ann@right"]
    assert "int8 activations without a zero point" in autocompress("targets", "show", "jetson").stdout


@pytest.mark.serial
@pytest.mark.slow
def test_targets_calibrate_keeps_a_table_and_tells_its_error(task, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(task / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(task / "cache"))
    command = ("targets", "calibrate", "cpu", "task.py:make", "--budget", "3s", "--check", "2")
    seen = measuring(*command, "--json", cwd=task)
    assert seen.returncode == 0, seen.stderr
    report = json.loads(seen.stdout)
    assert report["before"]["count"] == 2 and report["calibration"]["measured"] >= 1
    again = measuring(*command[:-2], cwd=task)
    assert (
        f"{report['calibration']['measured'] + 2} known before" in again.stdout and "Table: " in again.stdout
    )


def test_dry_run_tells_the_space_and_writes_nothing(task):
    seen = autocompress("search", "task.py:make", "--dry-run", "--json", cwd=task)
    plan = json.loads(seen.stdout)
    assert plan["space_size"] == 2 * 2 * 11**2 * 12 * 6 and plan["excluded"][0]["name"] == "head"
    assert not (task / "runs").exists() and plan["continues"] is False


def test_dry_run_tells_what_a_target_rules_out_and_why_without_its_device(task):
    seen = autocompress(
        "search", "task.py:make", "--dry-run", "--target", "jetson@nobody@127.0.0.1:1", cwd=task
    )
    assert seen.returncode == 0 and "fp8: target 'jetson' has no fp8 tensor cores" in seen.stdout
    assert "int6, int4, int3, int2: TensorRT does not expand packed weights" in seen.stdout
    assert "Target 'jetson' is away: the plan holds without it" in seen.stderr


@pytest.fixture
def run_of_two(run):
    """The same with two targets."""
    write_run(run, sample_run_of_two())
    return run


def test_front_of_several_targets_is_the_joint_one_and_each_targets_own(run_of_two):
    text = autocompress("front", run_of_two).stdout
    assert [line for line in text.splitlines() if line.strip() in ("all targets", "cpu", "edge")]
    own = json.loads(autocompress("front", run_of_two, "--target", "edge", "--json").stdout)
    everywhere = text.partition("\non all targets\n")[2].splitlines()
    assert everywhere and all(text.splitlines().count(line) == 1 for line in everywhere), (
        "what holds on all is said once"
    )
    assert own["target"]["name"] == "edge" and "targets" not in own
    assert json.loads(autocompress("front", run_of_two, "--json").stdout)["fronts"].keys() == {"cpu", "edge"}


def test_a_target_that_the_run_does_not_have_is_exit_code_2(run_of_two):
    for command in ("front", "pick"):
        seen = autocompress(command, run_of_two, "--target", "egde")
        assert seen.returncode == 2 and "choose 'cpu' or 'edge'" in seen.stderr


def test_pick_tells_the_limits_of_each_target_when_nothing_meets_them(run_of_two, tmp_path):
    seen = autocompress("pick", run_of_two, "--max-latency", "edge=1us", "--out", tmp_path / "bundle")
    assert (
        seen.returncode == 1
        and "latency ≤ 0.001 ms on edge" in seen.stderr
        and not (tmp_path / "bundle").exists()
    )


@pytest.mark.serial
@pytest.mark.slow
def test_a_search_on_two_targets_from_the_task_to_a_bundle_for_each(task):
    (task / "edge.toml").write_text(
        'inherits = "cpu"\nmemory_limit_bytes = 536870912\nstorage_bits = [4]\nopset = 22\n'
    )
    command = ("search", "task.py:make", "--target", "cpu,edge.toml", "--trials", "2", "--json")
    seen = measuring(*command, "--max-latency", "cpu=1s,edge=2s", cwd=task)
    assert seen.returncode == 0, seen.stderr
    value, directory = json.loads(seen.stdout.splitlines()[-1]), task / "runs" / "tiny-cpu-edge"
    assert [target["constraints"]["max_latency_s"] for target in value["targets"]] == [1.0, 2.0]
    entries = value["baseline"]["targets"]
    assert all(entry["latency"]["latency_s"] > 0 and entry["finalist"] for entry in entries.values())
    assert (
        len({entry["artifact"]["digest"] for entry in entries.values()}) == 2
    )  # another opset is another file
    picked = autocompress(
        "pick", directory, "--max-drop", "50pp", "--minimize", "size", "--out", task / "bundle"
    )
    assert picked.returncode == 0, picked.stderr
    manifests = [
        json.loads((task / "bundle" / name / "manifest.json").read_text()) for name in ("cpu", "edge")
    ]
    assert [manifest["target"]["name"] for manifest in manifests] == ["cpu", "edge"]
    assert manifests[0]["recipe"] == manifests[1]["recipe"]


@pytest.mark.serial
def test_a_search_from_the_task_to_the_bundle(task):
    command = ("search", "task.py:make", "--trials", "2", "--max-drop", "5pp", "--json")
    seen = measuring(*command, cwd=task)
    assert seen.returncode == 0, seen.stderr
    told = [json.loads(line) for line in seen.stdout.splitlines()]
    assert [event["trial"] for event in told if event["event"] == "trial"] == [0, 1]
    assert told[0]["event"] == "stage" and told[-1]["event"] == "result" and seen.stderr.count("\n") == 2
    assert told[-1]["uniform_int8"]["trial"] == 1 and "began" in {event["event"] for event in told}
    directory = task / "runs" / "tiny-cpu"
    assert {
        "run.toml",
        "study.db",
        "measurements.db",
        "artifacts",
        "front.json",
        "report.html",
        "log.jsonl",
    } <= {path.name for path in directory.iterdir()}
    picked = autocompress(
        "pick", directory, "--max-drop", "50pp", "--minimize", "size", "--out", task / "bundle"
    )
    assert picked.returncode == 0 and (task / "bundle" / "manifest.json").is_file()
    again = measuring(*command, cwd=task)
    assert json.loads(again.stdout.splitlines()[-1])["trials"] == told[-1]["trials"]
    events = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("started") == 2
    assert [event["resumed"] for event in events if event["event"] == "opened"] == [False, True]


def events_of(directory: Path) -> list[dict[str, object]]:
    log = directory / "log.jsonl"
    return (
        [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        if log.exists()
        else []
    )


def numbers(directory: Path, kind: str) -> list[object]:
    return [event["trial"] for event in events_of(directory) if event["event"] == kind]


@pytest.mark.serial
@pytest.mark.slow  # tests/explore/test_search.py kills with -9, too
def test_kill_9_in_a_real_trial_and_the_same_command_goes_on(task):
    arguments, directory = ["search", "task.py:make", "--trials", "4"], task / "runs" / "tiny-cpu"
    command, quiet = restless(*arguments), subprocess.DEVNULL
    killed = subprocess.Popen(command, cwd=task, stdout=quiet, stderr=quiet, start_new_session=True)
    assert comes_true(lambda: killed.poll() is not None or in_a_trial(killed.pid, directory), timeout_s=120)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = numbers(directory, "started")
    assert before[-1] in (2, 3) and numbers(directory, "finished") == before[:-1]
    again = measuring(*arguments, cwd=task)
    assert again.returncode == 0, again.stderr
    assert numbers(directory, "started") == [*before, *range(before[-1], 4)] and numbers(
        directory, "finished"
    ) == [0, 1, 2, 3]


def in_a_trial(search: int, directory: Path) -> bool:
    """Stops a search, with its workers, in the middle of a trial behind the first two; one that is elsewhere
    goes on.
    """
    if len(numbers(directory, "started")) <= 2:
        return False
    os.killpg(search, signal.SIGSTOP)
    if numbers(directory, "started")[-1] not in numbers(directory, "finished"):
        return True
    os.killpg(search, signal.SIGCONT)
    return False
