"""Building in a process of its own: the same artifact as here, its failures, its end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from autocompress.compress.compressor import BuildResult, Compressor
from autocompress.compress.graph.network import Network
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Recipe, Recovery
from autocompress.errors import StageError
from autocompress.explore.beside import process as process_module
from autocompress.explore.beside.messages import BuilderConfig
from autocompress.explore.beside.process import BuilderProcess
from autocompress.tasks.load import load_task
from autocompress.tests.explore.beside.configs import digits_config
from autocompress.tests.present import present
from autocompress.tests.waiting import comes_true, ended

SHORT = Recovery(steps=3, learning_rate=1e-3, temperature=4.0, weight=0.9)


@pytest.fixture
def config(tmp_path):
    for name in ("cache", "levels", "out"):
        (tmp_path / name).mkdir()
    return digits_config(
        cache_dir=tmp_path / "cache",
        checks_dir=tmp_path / "run" / "cache",  # a new run has no such folder
        levels_dir=tmp_path / "levels",
        out_dir=tmp_path / "out",
        cores=sorted(os.sched_getaffinity(0))[:1],
    )


@pytest.fixture
def process(config):
    with BuilderProcess(config, only_recoveries=True) as process:
        yield process


@pytest.fixture
def building(config):
    with BuilderProcess(config, only_recoveries=False) as process:
        yield process


def result_of(process: BuilderProcess) -> BuildResult | StageError:
    end = time.monotonic() + 200
    while (found := process.poll(wait_s=1.0)) is None:
        assert time.monotonic() < end, process.stage
    assert found.result is not None
    return found.result


def test_the_child_reads_the_configuration_that_the_search_wrote(process):
    config = replace(process.config, dynamic=((0, 1, "tokens"),))
    assert BuilderConfig.from_json(config.to_json()) == config


def test_it_builds_what_would_be_built_here_and_goes_on_after_a_failure(process, tmp_path):
    process.start(Recipe(skip=("nowhere",)))
    failed = result_of(process)
    assert isinstance(failed, StageError) and failed.stage == "prune" and process.free == 1
    process.start(Recipe(recovery=SHORT))
    assert process.free == 0
    built = result_of(process)
    assert (
        isinstance(built, BuildResult) and built.seconds["recover"] > 0 and built.only.artifact.path.is_file()
    )
    assert [*process.config.checks_dir.glob("check-*")] == []
    task = load_task("digits", {})
    here = Compressor(
        task,
        Network.trace(task.model, task.example_inputs),
        CompressorOptions(seed=0),
        levels_dir=tmp_path / "levels",
    )
    again = here.build(Recipe(recovery=SHORT), tmp_path / "out").only
    assert again.artifact.precision == built.only.artifact.precision
    assert again.check.inputs[0].shape == built.only.check.inputs[0].shape


INT8 = Recipe(precision={"linear": "int8"})


def test_it_tells_the_kl_that_the_probe_here_tells_and_builds(building, tmp_path):
    did = []

    kls = building.kls([INT8, Recipe()], meanwhile=lambda: did.append("own work"))

    task = load_task("digits", {})
    here = Compressor(task, Network.trace(task.model, task.example_inputs), levels_dir=tmp_path / "here")
    assert kls == [pytest.approx(here.probe.kl(INT8), rel=1e-6), None] and did == ["own work"]
    building.start(INT8)
    assert isinstance(result_of(building), BuildResult)


def test_a_recipe_that_cannot_be_looked_at_says_why(building):
    (failed,) = building.kls([Recipe(skip=("nowhere",))], meanwhile=lambda: None)
    assert isinstance(failed, StageError) and "nowhere" in str(failed) and building.free == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_kl_of_a_lost_child_is_left_to_the_search(building, monkeypatch, number):
    monkeypatch.setattr(process_module, "LOOK_S", 0.01)
    kls = building.kls([INT8], meanwhile=lambda: os.kill(building._process.pid, number))
    assert kls == [None] and building.free == 1
    assert building.kls([INT8], meanwhile=lambda: None) != [None]  # a fresh one tells it


def test_what_interrupts_the_search_meanwhile_ends_the_child(building):
    with pytest.raises(KeyboardInterrupt):
        building.kls([INT8], meanwhile=interrupted)
    assert building.free == 1 and building._process is None


def interrupted():
    raise KeyboardInterrupt


def test_recoveries_alone_leave_the_kls_to_the_search(process):
    did = []
    assert process.kls([INT8], meanwhile=lambda: did.append(1)) == [None] and did == [1]
    assert process._process is None


def test_a_child_that_is_killed_or_stopped_is_replaced_and_builds_the_same(process, monkeypatch):
    monkeypatch.setattr(process_module, "LOOK_S", 0.01)
    process.start(Recipe(recovery=SHORT))
    for number in (signal.SIGKILL, signal.SIGSTOP):
        child = process._process.pid
        os.kill(child, number)
        while process._process.pid == child:
            assert process.poll(wait_s=0.01) is None
    assert isinstance(result_of(process), BuildResult)


def test_a_recipe_that_loses_every_child_is_taken_for_the_cause(process):
    process.start(Recipe(recovery=SHORT))
    children = set()
    while (ready := process.poll(wait_s=0.01)) is None:
        if process._process.pid not in children:
            children.add(process._process.pid)
            os.kill(process._process.pid, signal.SIGKILL)
    failed = ready.result
    assert isinstance(failed, StageError)
    assert (failed.stage, failed.kind, len(children)) == ("recover", "crash", 3)
    assert "3 times in a row" in str(failed) and process.free == 1


def test_a_crash_of_the_childs_own_is_a_failure_at_once(process):
    process.start(Recipe(recovery=SHORT))
    child = process._process.pid
    os.kill(child, signal.SIGSEGV)
    failed = result_of(process)
    assert isinstance(failed, StageError)
    assert (failed.stage, failed.kind, failed.retryable) == ("recover", "crash", False)


def told(process, *lines):
    """The process as if its child had written these lines to begin with."""
    process.recipe = Recipe()
    for line in lines:
        process._replies.put(line)


def test_looking_takes_no_longer_than_it_may_though_progress_is_told_all_the_time(process):
    told(process, '{"progress": "step"}\n')
    done = threading.Event()

    def talk():
        while not done.wait(0.02):
            process._replies.put('{"progress": "step"}\n')

    talker = threading.Thread(target=talk)
    talker.start()
    start = time.monotonic()
    assert process.poll(wait_s=0.3) is None and process.stage == "step"
    assert time.monotonic() - start < 60.0
    done.set()
    talker.join()


ANSWER = {"seconds": {}, "builds": [{"check": "/nowhere/check.npz"}]}


@pytest.mark.parametrize(
    "line", ['{"seconds": {"bui', json.dumps(ANSWER)], ids=["half-a-line", "no-check-file"]
)
def test_an_answer_that_cannot_be_read_is_a_crash(process, line):
    told(process, line)
    failed = present(process.poll()).result
    assert isinstance(failed, StageError) and failed.kind == "crash" and process.free == 1


def test_its_end_is_that_of_the_processes_which_it_started(process):
    code = (
        "import subprocess, time; print(subprocess.Popen(['sleep', '100']).pid, flush=True); time.sleep(100)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    grandchild = int(present(child.stdout).readline())
    process._process = child
    process.cancel()
    assert comes_true(lambda: ended(grandchild))


def test_a_cancelled_recipe_leaves_no_process(process):
    process.start(Recipe(recovery=SHORT))
    child = process._process
    process.cancel()
    assert child.poll() is not None and process.free == 1 and process.poll() is None
