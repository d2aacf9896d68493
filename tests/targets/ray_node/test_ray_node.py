"""A node of a Ray cluster in the place of a board: its name, its client, what is said when it is missing."""

import subprocess
import sys
from dataclasses import replace

import pytest
from autocompress.errors import InputError
from autocompress.explore.preparation.early import check_search
from autocompress.explore.preparation.request import SearchRequest
from autocompress.profiles import load_profile, parse_target
from autocompress.targets.held_clocks import ClocksOfTargets
from autocompress.targets.ray_node.client import SAID, Pipe
from autocompress.targets.ray_node.command import node_command
from autocompress.targets.ssh.errors import trouble_of

NODE = parse_target("boards/edge.toml@ray")
ECHO = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"


@pytest.mark.parametrize(
    ("text", "expected"), [("cpu@ray", True), ("cpu@me@ray", False), ("cpu@ray:22", False), ("cpu", False)]
)
def test_a_node_is_written_ray_and_a_host_of_that_name_with_its_user_or_port(text: str, expected: bool):
    assert parse_target(text).on_cluster is expected


def test_the_client_is_told_the_cluster_and_the_resource_of_the_targets_name():
    assert node_command(NODE, ["agent"])[-3:] == ["auto", "target:edge", "agent"]
    assert node_command(replace(NODE, cluster="head:6379"), ["agent"])[-3] == "head:6379"


def test_the_pipe_carries_what_a_command_reads_and_says_and_how_it_ends():
    pipe = Pipe([sys.executable, "-c", ECHO])
    assert pipe.read(0.0) == b""
    pipe.write(b"a line\n")
    pipe.close_input()
    said = b""
    while (part := pipe.read(10.0)) is not None:
        said += part
    assert said == b"A LINE\n" and pipe.end() == (3, b"")


def test_input_for_a_command_that_has_ended_is_no_error():
    pipe = Pipe([sys.executable, "-c", "import sys; sys.stderr.write('broken')"])
    assert pipe.read(10.0) is None
    pipe.write(b"too late")
    assert pipe.end() == (0, b"broken")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("no node of the Ray cluster has the resource target:edge", "--resources='{\"target:edge\": 1}'"),
        ("target:edge is in use: another command measures on the node", "wait for it, or end it"),
        ("the node was lost (its raylet died)", "targets doctor"),
        ("the package ray is not installed here", "pip install 'autocompress[ray]'"),
    ],
)
def test_what_the_client_complains_of_is_one_sentence_with_its_remedy(said: str, remedy: str):
    text = f"[E 1] of ray's own\n{SAID}{said}\n[E 2] of ray's own"
    trouble = trouble_of(text, code=255, address=NODE, python="python3")
    assert trouble.passing and said in trouble.message and remedy in trouble.remedy


def test_a_missing_python_on_the_node_is_told_as_on_a_board():
    text = "timeout: failed to run command 'python4': No such file or directory"
    trouble = trouble_of(text, code=127, address=NODE, python="python4")
    assert "the Ray node with target:edge has no python4" in str(trouble) and "on that node" in str(trouble)


def test_a_search_needs_the_cluster_of_its_target():
    with pytest.raises(InputError, match="cpu@ray is measured on a node of a Ray cluster: give --ray auto"):
        check_search(SearchRequest(task="digits", target="cpu@ray"))


def test_clocks_of_a_node_are_not_set():
    with (
        ClocksOfTargets(wanted=True, say=print) as clocks,
        pytest.raises(InputError, match="--set-clocks cannot be given with cpu@ray"),
    ):
        clocks.of(load_profile("cpu"), parse_target("cpu@ray"))


def test_without_a_node_ray_is_not_imported():
    code = (
        "import sys, autocompress.cli.commands, autocompress.targets.target, autocompress.evaluation.targets\n"
        "from autocompress.explore.preparation import early, prepare\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
