"""Bundles in a folder, local and in a storage of fsspec."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from autocompress.cli.commands import app
from autocompress.deploy.read_bundle import read_manifest
from autocompress.deploy.registry import push_bundle
from autocompress.errors import InputError, TargetUnavailable
from autocompress.tests.deploy.registry.bundles import made_bundle
from typer.testing import CliRunner


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    if request.param == "local":
        yield f"dir:{tmp_path}/models/digits"
    else:
        yield "memory://models/digits"
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def stored(registry: str, name: str) -> bytes:
    url = registry if "://" in registry else f"file://{registry.removeprefix('dir:')}"
    with fsspec.open(f"{url}/{name}") as file:
        return file.read()


def test_a_pushed_bundle_is_a_version_with_all_of_its_files(registry, tmp_path):
    bundle = made_bundle(tmp_path)
    pushed = push_bundle(bundle, registry, alias="champion")
    index = json.loads(stored(registry, "index.json"))
    assert (pushed.version, pushed.new) == (1, True)
    assert index["aliases"] == {"champion": 1} and index["versions"][0]["digest"] == pushed.digest
    for file in bundle.iterdir():
        assert stored(registry, f"versions/{pushed.digest}/{file.name}") == file.read_bytes()


def test_the_same_bundle_twice_is_one_version(registry, tmp_path):
    bundle = made_bundle(tmp_path)
    first, again = push_bundle(bundle, registry), push_bundle(bundle, registry, alias="champion")
    index = json.loads(stored(registry, "index.json"))
    assert (first.version, again.version, again.new) == (1, 1, False)
    assert len(index["versions"]) == 1 and index["aliases"] == {"champion": 1}


def test_an_alias_moves_to_the_bundle_that_it_is_given_to(registry, tmp_path):
    push_bundle(made_bundle(tmp_path, trial=0), registry, alias="champion")
    second = push_bundle(made_bundle(tmp_path, trial=1), registry, alias="champion")
    index = json.loads(stored(registry, "index.json"))
    assert second.version == 2 and index["aliases"] == {"champion": 2}


def test_a_version_that_was_damaged_is_written_again(registry, tmp_path):
    bundle = made_bundle(tmp_path)
    place = f"versions/{push_bundle(bundle, registry).digest}/model.onnx"
    url = registry if "://" in registry else f"file://{registry.removeprefix('dir:')}"
    with fsspec.open(f"{url}/{place}", "wb") as file:
        file.write(b"damaged")
    again = push_bundle(bundle, registry)
    assert not again.new and stored(registry, place) == (bundle / "model.onnx").read_bytes()


def test_a_local_version_is_a_bundle_that_can_be_used(tmp_path):
    pushed = push_bundle(made_bundle(tmp_path), f"dir:{tmp_path}/models/digits")
    version = tmp_path / "models/digits/versions" / pushed.digest
    assert read_manifest(version).name == "linear-cpu-trial-1"
    assert [path.name for path in version.parent.iterdir()] == [pushed.digest]


def test_what_is_not_of_the_bundle_is_not_sent(tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / "notes.txt").write_text("private")
    pushed = push_bundle(bundle, f"dir:{tmp_path}/models/digits")
    assert not (tmp_path / "models/digits/versions" / pushed.digest / "notes.txt").exists()


@pytest.mark.parametrize("name", ["model.onnx", "run.py", "reference.onnx"])
def test_nothing_of_a_changed_bundle_is_sent(name, tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / name).write_bytes(b"changed")
    with pytest.raises(InputError, match=f"{name} is not the file that was bundled"):
        push_bundle(bundle, f"dir:{tmp_path}/models/digits")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"schema_version": 9, "versions": [], "aliases": {}}']
)
def test_a_damaged_index_is_one_sentence_and_stays(content, tmp_path):
    index = tmp_path / "models/digits/index.json"
    index.parent.mkdir(parents=True)
    index.write_bytes(content)
    with pytest.raises(InputError, match=r"index\.json: .*: restore it\.$"):
        push_bundle(made_bundle(tmp_path), f"dir:{tmp_path}/models/digits")
    assert index.read_bytes() == content


def test_pushes_at_the_same_time_lose_nothing(tmp_path):
    bundles = [made_bundle(tmp_path, trial=trial) for trial in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        pushes = [pool.submit(push_bundle, one, f"dir:{tmp_path}/models/digits") for one in bundles * 3]
        numbers = {(push.result().digest, push.result().version) for push in pushes}
    assert len(numbers) == 2
    assert len(json.loads((tmp_path / "models/digits/index.json").read_text())["versions"]) == 2


def test_a_storage_that_fails_is_one_sentence(tmp_path, monkeypatch):
    def refuse(self, path, value, **_):
        raise OSError("the bucket is closed")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", refuse)
    with pytest.raises(TargetUnavailable, match=r"cannot be used now.*the bucket is closed"):
        push_bundle(made_bundle(tmp_path), "memory://models/digits")


def test_the_command_prints_the_version_and_its_json(tmp_path):
    bundle, registry = made_bundle(tmp_path), f"dir:{tmp_path}/models/digits"
    told = CliRunner().invoke(app, ["push", str(bundle), registry, "--alias", "champion"])
    again = CliRunner().invoke(app, ["push", str(bundle), registry, "--json"])
    assert "version 1 (new), alias champion: linear-cpu-trial-1" in told.stdout
    value = json.loads(again.stdout)
    assert (value["version"], value["new"], len(value["digest"])) == (1, False, 64)


def test_a_storage_whose_package_is_missing_names_it(tmp_path):
    if Path(fsspec.__file__).parent.with_name("s3fs").exists():
        pytest.skip("s3fs is installed: uninstall it to see what its absence says")
    with pytest.raises(InputError, match="s3fs"):
        push_bundle(made_bundle(tmp_path), "s3://bucket/models/digits")


def test_a_signature_is_sent_and_makes_no_other_version(tmp_path):
    bundle, registry = made_bundle(tmp_path), f"dir:{tmp_path}/models/digits"
    first = push_bundle(bundle, registry)
    (bundle / "SHA256SUMS.sig").write_text("signed")
    again = push_bundle(bundle, registry)
    assert (again.digest, again.new) == (first.digest, False)
    assert stored(registry, f"versions/{again.digest}/SHA256SUMS.sig") == b"signed"
