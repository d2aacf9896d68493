"""Building on a real Ray cluster of two nodes on this machine; one of them dies in the middle."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from autocompress.compress.compressor import BuildResult, Compressor
from autocompress.compress.graph.network import Network
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Recipe, Recovery
from autocompress.errors import InputError, StageError
from autocompress.explore.beside.ray_builders import ClusterPlan, RayBuilders
from autocompress.explore.beside.ray_cluster import require_cluster
from autocompress.results.run_directory import read_run
from autocompress.tasks.load import load_task
from autocompress.tests.explore.beside.configs import digits_config
from autocompress.tests.present import present

SHORT = Recovery(steps=3, learning_rate=1e-3, temperature=4.0, weight=0.9)
LONG = replace(SHORT, steps=80)


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, which is this machine's node, and two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "cache" / "autocompress"
    for folder in (own / "levels", own / "templates", tmp_path / "out", tmp_path / "own"):
        folder.mkdir(parents=True)
    return digits_config(
        cache_dir=own / "templates",
        checks_dir=tmp_path / "checks",
        levels_dir=own / "levels",
        out_dir=tmp_path / "out",
        cores=(),
    )


def plan_for(address, **changes):
    plan = ClusterPlan(address=address, folder=None, search="a test", memory_bytes=1 << 30, spare=())
    return replace(plan, **changes)


@contextlib.contextmanager
def builders_of(plan, config, *, count, notes):
    with RayBuilders(plan, config, note=notes.append) as builders:
        end = time.monotonic() + 120
        while builders.free < count:
            assert builders.poll(wait_s=1.0) is None and time.monotonic() < end, notes
        yield builders


def results_of(builders, count):
    """What became of so many recipes, by digest."""
    results: dict[str, object] = {}
    end = time.monotonic() + 200
    while len(results) < count:
        assert time.monotonic() < end, builders.stage
        if (ready := builders.poll(wait_s=1.0)) is not None:
            results[ready.recipe.digest] = ready.result
    return results


@pytest.mark.slow
def test_nodes_build_what_would_be_built_here_and_tell_the_same_kl(cluster, config, tmp_path):
    notes: list[str] = []
    recipes = [Recipe(recovery=SHORT), Recipe(precision={"linear": "w4"}), Recipe(skip=("nowhere",))]
    with builders_of(plan_for(cluster.address), config, count=2, notes=notes) as builders:
        for recipe in recipes:
            builders.start(recipe)
        results = results_of(builders, 3)
        kls = builders.kls([*recipes[1:], Recipe()], meanwhile=lambda: None)
    task = load_task("digits", {})
    here = Compressor(
        task,
        Network.trace(task.model, task.example_inputs),
        CompressorOptions(seed=0),
        levels_dir=config.levels_dir,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on a node of one CPU: other sums round otherwise
    for recipe in recipes[:2]:
        built, own = results[recipe.digest], here.build(recipe, tmp_path / "own").only
        assert isinstance(built, BuildResult) and built.only.artifact.path.parent == config.out_dir
        assert built.only.artifact.path.read_bytes() == own.artifact.path.read_bytes()
        assert (built.only.check.expected[0] == own.check.expected[0]).all()
    torch.set_num_threads(threads)
    failed = results[recipes[2].digest]
    assert isinstance(failed, StageError) and failed.stage == "prune"
    assert kls[0] == pytest.approx(here.probe.kl(recipes[1]), rel=1e-3)
    assert isinstance(kls[1], StageError) and kls[2] is None  # two builders answer two questions


@pytest.mark.slow
def test_a_node_that_dies_costs_a_retry_and_a_new_one_is_taken_in(cluster, config):
    notes: list[str] = []
    recipes = [Recipe(recovery=replace(LONG, learning_rate=rate)) for rate in (1e-3, 2e-3, 3e-3)]
    with builders_of(plan_for(cluster.address), config, count=2, notes=notes) as builders:
        for recipe in recipes:
            builders.start(recipe)
        assert builders.poll(wait_s=0.5) is None
        cluster.remove_node(next(iter(cluster.worker_nodes)))
        results = results_of(builders, 3)
        assert all(isinstance(result, BuildResult) for result in results.values())
        assert builders.slots == 1 and "lost a builder" in notes[-1]
        cluster.add_node(num_cpus=1)
        end = time.monotonic() + 120
        while builders.free < 2:
            assert builders.poll(wait_s=1.0) is None and time.monotonic() < end


@pytest.mark.slow
def test_a_builder_that_dies_on_a_living_node_is_replaced(cluster, config):
    notes: list[str] = []
    with builders_of(plan_for(cluster.address), config, count=2, notes=notes) as builders:
        for rate in (1e-3, 2e-3):
            builders.start(Recipe(recovery=replace(LONG, learning_rate=rate)))
        assert builders.poll(wait_s=0.5) is None
        for pid in builder_processes():
            os.kill(pid, signal.SIGKILL)
        results = results_of(builders, 2)
        assert all(isinstance(result, BuildResult) for result in results.values())
        assert builders.slots == 2 and "lost a builder" in notes[-1]


def builder_processes() -> list[int]:
    """Those of all builders on this machine: ray gives them the name of what they do."""
    names = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [pid for pid, name in names.items() if name.startswith(b"ray::Builder")]


@pytest.mark.slow
def test_a_search_on_a_cluster_ends_like_any_other_and_goes_on(cluster, tmp_path):
    command = [sys.executable, "-m", "autocompress", "search", "digits", "--ray", cluster.address]
    command += ["--out", str(tmp_path / "run"), "--trials"]
    subprocess.run([*command, "3"], timeout=300, check=True)
    again = subprocess.run([*command, "6"], timeout=300, check=False, capture_output=True, text=True)
    run = read_run(tmp_path / "run")
    assert again.returncode == 0 and "Building on a Ray cluster: 2 builders" in again.stderr
    assert len(run.points) + len(run.failures) == 6 and present(run.uniform_int8).trial == 1
    assert (
        json.loads((tmp_path / "run" / "time.json").read_text())["seconds"]["recovery beside the search"] > 0
    )


@pytest.mark.slow
def test_what_the_cluster_lacks_is_an_error_at_once(cluster, config):
    with (
        pytest.raises(InputError, match="no node of the Ray cluster has a GPU"),
        RayBuilders(plan_for(cluster.address, gpus="needed"), config, note=print),
    ):
        pass
    with (
        pytest.raises(InputError, match="no node has a CPU and memory"),
        RayBuilders(plan_for(cluster.address, memory_bytes=1 << 50), config, note=print),
    ):
        pass
    wrong = replace(config, task="image-folder", arguments={"model": "nowhere.pt2", "data": "/nowhere"})
    with (
        pytest.raises(InputError, match="no node can build"),
        RayBuilders(plan_for(cluster.address), wrong, note=print) as builders,
    ):
        results_of(builders, 1)


def test_an_address_without_a_cluster_is_refused_in_a_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"--ray {address}: there is no connection .*Connection refused"):
            require_cluster(address)


@pytest.mark.slow
def test_a_cluster_that_wants_a_token_is_refused_with_where_it_belongs(cluster, tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "autocompress", "search", "digits", "--ray", cluster.address],
        cwd=tmp_path,
        env=os.environ | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    message = " ".join(said.stderr.split())
    assert said.returncode == 2
    assert "no authentication token was found" in message and "~/.ray/auth_token" in message


@pytest.mark.serial  # ray finds any cluster on the machine
def test_without_a_cluster_auto_says_how_to_start_one():
    with pytest.raises(InputError, match="ray start --head"):
        require_cluster("auto")
