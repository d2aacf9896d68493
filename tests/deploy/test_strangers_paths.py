"""Names and paths in a run or bundle of a stranger: nothing outside of its folder is read or written."""

import json
import os
from pathlib import Path

import onnx
import pytest
from autocompress.deploy.unfinished import TargetNow, Unfinished
from autocompress.errors import InputError
from autocompress.files import digest_of, digest_of_file, file_below, require_closed, user_key, write_text
from autocompress.profiles.address import folder_name, is_target_name
from autocompress.results.run_config import RunConfig
from autocompress.results.run_directory import RunDirectory, choose_run, read_run
from autocompress.results.target_limits import target_addresses
from autocompress.tests.deploy.small_run import ENVIRONMENT, linear, target
from autocompress.tests.deploy.strangers import (
    READERS,
    edit,
    read_by,
    require_sentence,
    reseal,
    stranger_bundle,
    stranger_run,
)

BOARDS = "cpu,pi@localhost:2201,pi@ann@localhost:2202,jetson@ann@[fe80::1],jetson@ann@[fe80::2%eth0]:22"


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- names


@pytest.mark.parametrize(
    "name", ["../../../x", "/tmp/x", "..", ".", "", "a/b", "cpu@../x", "a\\b", "a b", "x\n"]
)
def test_a_target_is_no_path(name, tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("edge"))

    def rename(value):
        value["targets"][1]["name"] = name
        for point in value["points"]:
            point["outcomes"][name] = point["outcomes"].pop("edge")

    edit(run / "front.json", rename)
    before = everything(tmp_path)
    for command in READERS:
        require_sentence(read_by(command, run), "front.json", "targets[1].name", "letters, digits")
    assert everything(tmp_path) == before


def test_the_target_of_a_manifest_is_no_path(tmp_path):
    bundle = stranger_bundle(tmp_path)
    edit(bundle / "manifest.json", lambda value: value["target"].update(name="../x"))
    reseal(bundle)
    require_sentence(read_by("verify", bundle), "manifest.json", "target.name", "copy the bundle again")


def test_the_targets_of_verify_json_are_no_paths(tmp_path):
    run = stranger_run(tmp_path)
    away = [{"name": "../x", "address": "", "reason": ""}]
    (run / "verify.json").write_text(json.dumps({"schema_version": 3, "digest": "", "at": "", "away": away}))
    edit(run / "verify.json", lambda value: value.update(targets=[]))
    for command in READERS:
        require_sentence(read_by(command, run), "verify.json", "away[0].name")


def test_every_name_that_several_boards_get_is_a_name_and_has_a_folder_of_its_own():
    names = list(target_addresses(BOARDS))
    assert all(is_target_name(name) for name in names)
    folders = {folder_name(name) for name in names}
    assert len(folders) == 5 and not [name for name in folders if set(name) & set("/\\:[]")]


def test_several_boards_get_bundles_in_folders_of_their_names(tmp_path):
    run = stranger_run(tmp_path, target("cpu"), target("pi@host:22"))
    assert read_by("pick", run).exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cpu", "pi@host+22"}


def test_a_file_whose_name_is_none_for_a_target_is_told_so():
    with pytest.raises(InputError, match=r"cannot be called 'my board': give its TOML file a name"):
        target_addresses("my board.toml")


# --- paths


@pytest.mark.parametrize("outside", ["absolute", "dots", "link", "linked folder"])
def test_a_file_of_a_point_outside_of_the_run_is_not_read(outside, tmp_path):
    run, secret = stranger_run(tmp_path), linear(tmp_path / "secret/1.onnx", scale=2.0)
    name = {"absolute": str(secret), "dots": "artifacts/../../secret/1.onnx"}.get(outside)
    if outside == "link":
        (run / "artifacts/1.onnx").unlink()
        (run / "artifacts/1.onnx").symlink_to(secret)
    if outside == "linked folder":
        (run / "more").symlink_to(secret.parent)
        name = "more/1.onnx"

    def point_out(value):
        if name is not None:
            value["points"][1]["outcomes"]["cpu"]["artifact"]["file"] = name

    edit(run / "front.json", point_out)
    before = everything(tmp_path)
    for command in READERS:
        require_sentence(
            read_by(command, run), "without .." if outside in ("absolute", "dots") else "is a link"
        )
    assert everything(tmp_path) == before


def test_a_link_that_stays_in_the_run_is_followed(tmp_path):
    run = stranger_run(tmp_path)
    (run / "artifacts/1.onnx").rename(run / "artifacts/real.onnx")
    (run / "artifacts/1.onnx").symlink_to("real.onnx")
    assert read_by("pick", run).exit_code == 0
    assert (tmp_path / "out/model.onnx").is_file() and not (tmp_path / "out/model.onnx").is_symlink()


@pytest.mark.parametrize("outside", ["../secret", "/etc/hostname", "linked"])
def test_a_file_of_a_bundle_outside_of_it_is_not_read(outside, tmp_path):
    bundle = stranger_bundle(tmp_path)
    (tmp_path / "secret").write_text("secret")
    if outside == "linked":
        (bundle / "linked").symlink_to(tmp_path / "secret")
    with (bundle / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {outside}\n")
    require_sentence(read_by("verify", bundle), "is a link" if outside == "linked" else "leads out of")


def test_weights_in_other_files_are_not_read(tmp_path):
    run = stranger_run(tmp_path)
    file = run / "artifacts/1.onnx"
    model = onnx.load(file)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../secret")
    model.graph.initializer[0].ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    (tmp_path / "secret").write_bytes(bytes(48))
    facts = {"digest": digest_of_file(file), "size_bytes": file.stat().st_size}
    edit(run / "front.json", lambda value: value["points"][1]["outcomes"]["cpu"]["artifact"].update(facts))
    for command in ("pick", "verify"):
        require_sentence(read_by(command, run), "in another file")


# --- links where we write, pipes and sizes where we read


@pytest.mark.parametrize(
    "name",
    ["verify.json", "report.html", "run.lock", "log.jsonl", "verify-unfinished.json", "verify.db", "inputs"],
)
def test_a_planted_link_is_not_written_through(name, tmp_path):
    run, victim = stranger_run(tmp_path), tmp_path / "victim"
    victim.write_text("precious")
    (run / name).symlink_to(victim)
    for command in READERS:
        require_sentence(read_by(command, run), name, "is a link that does not stay in run: remove it")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["artifacts", "finetuned", "cache", "inputs"])
def test_a_planted_link_to_a_folder_is_refused_by_a_search_that_goes_on(name, tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    config = RunConfig(identity={"task": "linear"}, options={})
    with RunDirectory.open(run, config):
        pass
    if (run / name).exists():
        (run / name).rmdir()
    (run / name).symlink_to(outside)
    for act in (lambda: RunDirectory.open(run, config), lambda: choose_run(run, config, fresh=True)):
        with pytest.raises(InputError, match=rf"{name} is a link that does not stay in run"):
            act()
    with pytest.raises(InputError, match="is a link"):
        RunDirectory.hold(run, by="verify")
    assert not list(outside.iterdir())


def test_a_link_in_the_place_of_a_temporary_file_is_replaced(tmp_path):
    victim, planted = tmp_path / "victim", tmp_path / f".a.json.{os.getpid()}.part"
    victim.write_text("precious")
    planted.symlink_to(victim)
    write_text(tmp_path / "a.json", "new")
    assert (victim.read_text(), (tmp_path / "a.json").read_text()) == ("precious", "new")
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.parametrize("name", ["front.json", "verify.json", "artifacts/1.onnx", "run.lock", "any"])
def test_a_pipe_in_a_run_is_not_waited_for(name, tmp_path):
    run = stranger_run(tmp_path)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for command in READERS:
        require_sentence(read_by(command, run), "is neither a file nor a folder")


@pytest.mark.parametrize("name", ["SHA256SUMS", "model.onnx", "run.py"])
def test_a_pipe_in_a_bundle_is_not_waited_for(name, tmp_path):
    bundle = stranger_bundle(tmp_path)
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    require_sentence(read_by("verify", bundle), name, "is neither a file nor a folder")


def test_a_huge_file_in_the_place_of_a_record_is_not_read(tmp_path):
    run, bundle = stranger_run(tmp_path), stranger_bundle(tmp_path)
    for file, path in ((run / "front.json", run), (bundle / "SHA256SUMS", bundle)):
        os.truncate(file, 1 << 40)
        require_sentence(read_by("verify", path), "at most 268435456 are expected")


def test_a_huge_file_in_the_place_of_a_model_is_not_read(tmp_path):
    run, bundle = stranger_run(tmp_path), stranger_bundle(tmp_path)
    os.truncate(run / "artifacts/1.onnx", 1 << 40)
    os.truncate(bundle / "model.onnx", 1 << 40)
    for command, path in (("pick", run), ("verify", run), ("verify", bundle)):
        require_sentence(read_by(command, path), "is larger than 4 GB")


@pytest.mark.parametrize(
    ("name", "command"),
    [("front.json", "front"), ("report.html", "report"), ("run.lock", "verify"), ("verify.db", "verify")],
)
def test_a_folder_in_the_place_of_a_file_is_one_sentence(name, command, tmp_path):
    run = stranger_run(tmp_path)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    require_sentence(read_by(command, run), name)


def test_the_name_of_a_runtime_is_no_module(tmp_path):
    run = stranger_run(tmp_path)
    edit(run / "front.json", lambda value: value["targets"][0].update(runtime="..evil"))
    require_sentence(read_by("pick", run), "There is no runtime '..evil'")


def test_a_run_that_the_user_reaches_by_a_link_is_read(tmp_path):
    run = stranger_run(tmp_path)
    (tmp_path / "link").symlink_to(run)
    assert read_run(tmp_path / "link").target_names == ("cpu",)


def test_what_stays_in_its_folder_and_what_does_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    assert file_below(tmp_path, "a/file") == tmp_path / "a/file"
    for name in ("../x", "/x", "", "a/../../x", "x\n", "a"):
        with pytest.raises(InputError):
            file_below(tmp_path, name)
    with pytest.raises(InputError, match="loop is a link"):
        require_closed(tmp_path)


def test_an_interrupted_verify_of_a_stranger_is_not_continued(tmp_path, monkeypatch):
    """Its measurements would pass for new ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, remains = stranger_run(tmp_path), []

    def interrupted(*_, **__):
        remains.append((run / "verify-unfinished.json").exists())
        raise KeyboardInterrupt

    monkeypatch.setattr("autocompress.deploy.verify_run.usable_target", interrupted)
    for key in ("mine", "mine", "another user's"):
        if key != "mine":
            (tmp_path / "cache/autocompress/key").unlink()
        mark = digest_of([user_key(), str(run.resolve())])
        if not remains:
            measured = TargetNow(key="k", environment=ENVIRONMENT, at="now")
            Unfinished.open(run, [mark, "cpu cpu"]).keep("cpu", measured)
        assert read_by("verify", run).exit_code == 130
    assert remains == [True, True, False]


def test_the_key_of_a_user_is_random_private_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key, file = user_key(), tmp_path / "autocompress/key"
    assert user_key() == key and len(key) == 64 and file.stat().st_mode & 0o777 == 0o600
    file.write_text("")
    assert user_key() not in ("", key)
