"""Searches that are measured on the nodes of a real Ray cluster on this machine; one of them dies in the middle."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from autocompress.results.run_directory import read_run
from autocompress.tests.ray_nodes import cluster_in, measuring_nodes
from autocompress.tests.waiting import SEARCH_PATIENCE_S, comes_true

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SEARCH_PATIENCE_S)]


@pytest.fixture
def nodes(tmp_path):
    (tmp_path / "nodes").mkdir()
    with cluster_in(tmp_path / "nodes") as cluster:
        cluster.add_node(num_cpus=1)  # that builds
        yield cluster


def search(cluster, folder, *more, target="cpu@ray"):
    command = [sys.executable, "-m", "autocompress", "search", "digits", "--target", target]
    return [*command, "--ray", cluster.address, "--out", str(folder / "run"), "--no-recovery", *more]


def test_a_search_is_measured_on_the_node_that_has_the_targets_resource(nodes, tmp_path):
    nodes.add_node(num_cpus=1, resources={"target:cpu": 1})
    done = subprocess.run(
        search(nodes, tmp_path, "--trials", "3"),
        timeout=SEARCH_PATIENCE_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Building on a Ray cluster: 1 builders" in done.stderr, (
        "the node that is measured on builds nothing"
    )
    run = read_run(tmp_path / "run")
    assert len(run.points) == 3 and not run.failures
    sent = {path.stem for path in (tmp_path / "nodes" / "cache").rglob("device/**/*.onnx")}
    assert {artifact.digest for artifact in artifacts(run)} <= sent
    assert measuring_nodes(nodes) == [], "the agent ends with the search"


def artifacts(run):
    return [outcome.artifact for point in run.points for outcome in point.measured.values()]


def test_a_node_that_dies_costs_no_candidate_where_another_one_has_the_resource(nodes, tmp_path):
    for _ in range(2):
        nodes.add_node(num_cpus=0, resources={"target:cpu": 1})
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(search(nodes, tmp_path, "--trials", "3"), stdout=file, stderr=file) as process,
    ):
        try:
            assert comes_true(lambda: "trial 0" in log.read_text(), timeout_s=300), log.read_text()
            (first,) = measuring_nodes(nodes)
            nodes.remove_node(first, allow_graceful=False)
            assert comes_true(lambda: bool(measuring_nodes(nodes)), timeout_s=120), log.read_text()
            assert process.wait(timeout=SEARCH_PATIENCE_S) == 0, log.read_text()
        finally:
            process.kill()
    run = read_run(tmp_path / "run")
    assert len(run.points) == 3 and not run.failures


def test_a_resource_that_nobody_has_is_an_error_before_any_work(nodes, tmp_path):
    began = time.monotonic()
    done = subprocess.run(search(nodes, tmp_path), timeout=100, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and time.monotonic() - began < 60
    assert "no node of the Ray cluster has the resource target:cpu" in done.stderr
    assert "ray start --address=HOST:6379 --resources='{\"target:cpu\": 1}'" in " ".join(done.stderr.split())
    assert not Path(tmp_path / "run").exists()
