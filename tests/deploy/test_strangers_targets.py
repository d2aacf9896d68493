"""Addresses and TOML files that a run or bundle of a stranger names: nobody connects, and none is read."""

import json
import stat
from pathlib import Path

import pytest
from autocompress.deploy.asked_targets import all_targets, asked_targets, called
from autocompress.errors import InputError
from autocompress.profiles import TargetAddress, parse_target
from autocompress.results.run_directory import read_run
from autocompress.tests.deploy.small_run import target
from autocompress.tests.deploy.strangers import (
    edit,
    read_by,
    require_sentence,
    reseal,
    stranger_bundle,
    stranger_run,
)

FINETUNE = ("--finetune", "1s", "--task", "digits")


@pytest.fixture(autouse=True)
def ssh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of an `ssh` that is first on PATH: its arguments, a line for each call."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "ssh").write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\nexit 255\n')
    (folder / "ssh").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder / "calls"


def say_where(run: Path, text: str) -> None:
    """Writes the targets of run.toml."""
    (run / "run.toml").write_text(f'[identity]\n"task" = "linear"\n[options]\n"target" = "{text}"\n')


@pytest.mark.parametrize(
    ("name", "written", "remedy"),
    [
        ("cpu", "cpu@eve@evil.example", "--target cpu@user@host"),
        ("cpu@evil.example", "cpu", "--target cpu@user@host"),
        ("jetson", "jetson@evil.example:2222", "--target jetson@user@host"),
        ("edge", "edge.toml@eve@evil.example", "--target path/edge.toml@user@host"),
        ("edge", "cpu", "--target path/edge.toml"),
    ],
    ids=["address", "name", "port", "file-and-address", "name-alone"],
)
def test_verify_of_a_run_connects_to_no_address_of_the_run(name, written, remedy, tmp_path, ssh):
    run = stranger_run(tmp_path, target(name))
    say_where(run, written)
    require_sentence(read_by("verify", run), f"Target '{name}' is ", remedy)
    for command in ("front", "report", "pick"):
        assert read_by(command, run).exit_code == 0
    assert not ssh.exists() and not (run / "verify.json").exists()


def test_pick_finetune_connects_to_no_address_of_the_run(tmp_path, ssh):
    run = stranger_run(tmp_path, target("cpu"))
    say_where(run, "cpu@eve@evil.example")
    require_sentence(read_by("pick", run, *FINETUNE), "Target 'cpu' is on another machine", "--target")
    assert not ssh.exists()


def test_a_run_that_was_measured_on_a_ray_node_connects_to_no_cluster(tmp_path, monkeypatch):
    started: list[object] = []
    monkeypatch.setattr("autocompress.targets.ssh.board.Connection", lambda *command: started.append(command))
    run = stranger_run(tmp_path, target("cpu"))
    say_where(run, "cpu@ray")
    for command in (("verify", run), ("pick", run, *FINETUNE)):
        require_sentence(read_by(*command), "which is connected to only if you give it: --target cpu@ray")
    assert not started


def test_verify_of_a_bundle_connects_to_no_address_of_the_manifest(tmp_path, ssh):
    bundle = stranger_bundle(tmp_path)

    def move(value):
        value["target"]["name"], value["name"] = "cpu@evil.example", "linear-cpu@evil.example-trial-1"

    edit(bundle / "manifest.json", move)
    reseal(bundle)
    require_sentence(read_by("verify", bundle), "no profile of ours on this machine", "with --target")
    assert not ssh.exists()


def test_what_an_interrupted_verify_of_a_stranger_measured_names_no_address(tmp_path, ssh):
    run = stranger_run(tmp_path, target("jetson"))
    (run / "verify-unfinished.json").write_text(
        json.dumps({"digest": "", "schema_version": 2, "targets": {}})
    )
    edit(run / "verify-unfinished.json", lambda value: value.update(asked=["jetson jetson@eve@evil.example"]))
    ended = read_by("verify", run)
    assert ended.exit_code == 3 and "give its address" in ended.output and not ssh.exists()


def test_an_address_that_the_user_gives_is_used(tmp_path, ssh):
    run, bundle = stranger_run(tmp_path), stranger_bundle(tmp_path)
    say_where(run, "cpu@eve@evil.example")
    for path in (run, bundle):
        assert read_by("verify", path, "--target", "cpu@ann@good.example").exit_code == 3
    assert "ann@good.example" in ssh.read_text() and "evil" not in ssh.read_text()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_profile_that_the_run_names_is_not_read(absolute, tmp_path, monkeypatch):
    (tmp_path / "edge.toml").write_text('inherits = "cpu"\n')
    monkeypatch.chdir(tmp_path)
    run = stranger_run(tmp_path, target("edge"))
    say_where(run, str(tmp_path / "edge.toml") if absolute else "edge.toml")
    require_sentence(read_by("verify", run), "its TOML file is read if you give it: --target path/edge.toml")
    require_sentence(read_by("pick", run, *FINETUNE), "its TOML file is read if you give it")


def test_targets_that_are_ours_and_here_are_measured_and_the_others_named(tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("jetson"), target("edge"))
    say_where(run, "cpu,jetson@eve@evil.example,edge.toml")
    usable, away = asked_targets(run, read_run(run), None)
    assert [str(one.address) for one in usable] == ["cpu"]
    assert [(one.name, one.address) for one in away] == [("jetson", ""), ("edge", "")]
    assert "--target jetson@user@host" in away[0].reason and "--target path/edge.toml" in away[1].reason


def test_a_command_that_gives_some_targets_measures_those_alone(tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("jetson"))
    say_where(run, "cpu,jetson@eve@evil.example")
    usable, away = asked_targets(run, read_run(run), "jetson@ann@good.example")
    assert [str(one.address) for one in usable] == ["jetson@ann@good.example"] and not away


def test_fine_tuning_takes_ours_from_the_run_and_the_rest_from_the_user(tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("jetson"))
    say_where(run, "cpu,jetson@eve@evil.example")
    content, ann = read_run(run), parse_target("jetson@ann@good.example")
    assert all_targets(run, content, {"jetson": ann}) == "cpu,jetson@ann@good.example"
    for given in ({}, {"jetson": TargetAddress(profile="jetson")}):
        with pytest.raises(InputError, match="--target jetson@user@host"):
            all_targets(run, content, given)


def test_the_name_of_a_board_alone_is_no_address(tmp_path):
    run = stranger_run(tmp_path, target("edge"))
    say_where(run, "edge.toml@eve@evil.example")
    require_sentence(read_by("verify", run, "--target", "edge"), "--target path/edge.toml@user@host")
    assert read_by("pick", run, "--target", "edge").exit_code == 0


def test_a_name_with_an_ipv6_address_is_a_name_of_the_run():
    name = "jetson@fe80::1"
    assert called(name, {name: parse_target("jetson@[fe80::1]")}) == {name: TargetAddress(profile=name)}


def test_pick_takes_one_target_or_all(tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("a"), target("b"))
    require_sentence(
        read_by("pick", run, "--target", "a,b"), "names 2 of the run's targets: give one, or all"
    )
    require_sentence(read_by("pick", run, "--target", "elsewhere"), "has no target 'elsewhere'")
    assert read_by("pick", run, "--target", "a,b,cpu").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b", "cpu"}
