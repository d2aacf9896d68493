"""Damaged bundles: one sentence with the file, the place and the remedy, and never a wrong value."""

import json
from pathlib import Path

import onnx
import pytest
from autocompress.cli.commands import app
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.bundled.packed import pack, unpack
from autocompress.deploy.read_bundle import is_bundle, read_manifest, restored_model
from autocompress.errors import InputError, TargetUnavailable
from autocompress.files import digest_of_file
from autocompress.results.records.manifest import Manifest
from autocompress.results.records.reading import Fields
from autocompress.results.view import RunOn
from autocompress.tests.deploy.damage import damaged, text_of, without_nulls
from autocompress.tests.deploy.small_run import PREDICTION, small_run, target
from typer.testing import CliRunner


@pytest.fixture(params=["measured", "predicted"])
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return made_bundle(tmp_path, predicted=request.param == "predicted")


def made_bundle(folder: Path, *, predicted: bool = False, packed: bool = False) -> Path:
    run = small_run(folder / "run", target(prediction=PREDICTION if predicted else None))
    point = RunOn.of(run, "cpu").points[1]
    write_bundle(point, folder / "run" / point.artifact.file, folder / "bundle", packed=packed)
    return folder / "bundle"


def reseal(bundle: Path) -> None:
    """Writes SHA256SUMS anew, as somebody would who changes a file on purpose."""
    names = sorted(path.name for path in bundle.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{digest_of_file(bundle / name)}  {name}\n" for name in names]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def test_a_manifest_is_read_as_it_was_written(bundle):
    value = json.loads((bundle / "manifest.json").read_text())
    manifest = read_manifest(bundle)
    assert json.loads(json.dumps(manifest.to_json())) == value
    assert Manifest.from_json(Fields(value)) == manifest


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_manifest_is_one_sentence(seed, tmp_path, monkeypatch):
    bundle = made_bundle(tmp_path, predicted=seed % 3 == 0)
    file = bundle / "manifest.json"
    value = damaged(json.loads(file.read_text()), seed=seed)
    file.write_text(text_of(value))
    reseal(bundle)

    def unavailable(*_, **__):
        raise TargetUnavailable("far enough")

    monkeypatch.setattr("autocompress.deploy.verify_bundle.usable_target", unavailable)
    ended = CliRunner().invoke(app, ["verify", str(bundle)])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    if ended.exit_code == 2:
        assert "copy the bundle again" in ended.output or "give its TOML file" in ended.output
        assert ended.output.count("\n") == 1
    else:
        assert ended.exit_code == 3
        read = json.loads(json.dumps(read_manifest(bundle).to_json()))
        assert without_nulls(read) == without_nulls(json.loads(file.read_text()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no JSON"),
        (b"[]", "must be an object"),
        (b"\xff\xfe{}", "cannot be read"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema_version": 9}', "schema_version is 9"),
    ],
    ids=["empty", "list", "not-utf-8", "key-twice", "deep", "newer"],
)
def test_a_manifest_that_is_no_manifest_is_refused(content, reason, tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / "manifest.json").write_bytes(content)
    reseal(bundle)
    with pytest.raises(InputError, match=rf"manifest\.json.*{reason}.*copy the bundle again\.$"):
        read_manifest(bundle)


@pytest.mark.parametrize("key", ["model", "inputs", "metrics", "task", "target", "recipe", "reproduce"])
def test_a_missing_entry_of_the_manifest_is_named(key, tmp_path):
    bundle = made_bundle(tmp_path)
    value = json.loads((bundle / "manifest.json").read_text())
    del value[key]
    (bundle / "manifest.json").write_text(json.dumps(value))
    reseal(bundle)
    with pytest.raises(InputError, match=rf"manifest\.json: {key} is missing: copy the bundle again\.$"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("session", "threads"), 9, "session is not what"),
        (("name",), "another", "name is not what"),
        (("metrics", "size", "bytes"), 9, "metrics.size is not what"),
        (("model", "file"), "../model.onnx", "model.file is"),
        (("metrics", "extra"), 1, "metrics.extra is unknown"),
    ],
    ids=["session", "name", "size", "outside", "unknown"],
)
def test_a_manifest_that_contradicts_itself_is_refused(path, value, reason, tmp_path):
    bundle = made_bundle(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    holder = manifest
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    reseal(bundle)
    with pytest.raises(InputError, match=reason):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "does not cover the model"),
        ("nonsense\n", "line 1 is no SHA-256"),
        (f"{'0' * 64}  gone\n", "cannot be read"),
        ("\xff", "cannot be read"),
    ],
    ids=["empty", "no-line", "gone", "not-utf-8"],
)
def test_damaged_checksums_are_one_sentence(lines, reason, tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / "SHA256SUMS").write_bytes(lines.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{reason}.*copy the bundle again\.$"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "run.py"])
def test_a_changed_file_of_a_bundle_is_named(name, tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / name).write_bytes((bundle / name).read_bytes() + b" ")
    with pytest.raises(InputError, match=rf"{name} is not the file that was bundled"):
        read_manifest(bundle)


@pytest.mark.parametrize(("name", "good"), [("on_device/worker.py", True), ("../worker.py", False)])
def test_the_files_of_a_bundle_may_lie_in_its_folders_but_not_outside(name, good, tmp_path):
    bundle = made_bundle(tmp_path)
    (bundle / "on_device").mkdir()
    (bundle / name).write_text("pass")
    with (bundle / "SHA256SUMS").open("a") as sums:
        sums.write(f"{digest_of_file(bundle / name)}  {name}\n")
    if good:
        assert is_bundle(bundle) and read_manifest(bundle).name == "linear-cpu-trial-1"
    else:
        with pytest.raises(InputError, match="leads out of"):
            read_manifest(bundle)


@pytest.mark.parametrize("what", ["cut", "changed", "empty", "another"])
def test_a_damaged_packed_model_is_one_sentence(what, tmp_path):
    bundle = made_bundle(tmp_path, packed=True)
    file = bundle / "model.packed"
    assert restored_model(bundle, read_manifest(bundle), tmp_path).read_bytes().count(b"MatMul") == 1
    data = file.read_bytes()
    size = read_manifest(bundle).model.size_bytes
    other = unpack(data, size).replace(b"linear", b"lineal")
    middle = len(data) // 2
    changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    file.write_bytes({"cut": data[:-30], "changed": changed, "empty": b"", "another": pack(other)}[what])
    if what == "another":
        value = json.loads((bundle / "manifest.json").read_text())
        value["model"] |= {"packed_bytes": file.stat().st_size}
        (bundle / "manifest.json").write_text(json.dumps(value))
    reseal(bundle)
    reasons = {"changed": "its model cannot be restored", "another": "its SHA-256 differs"}
    reason = reasons.get(what, "has another size than")
    with pytest.raises(InputError, match=rf"{reason}.*copy the bundle again\.$"):
        restored_model(bundle, read_manifest(bundle), tmp_path)


def test_inputs_that_are_not_the_models_are_refused(tmp_path):
    bundle = made_bundle(tmp_path)
    value = json.loads((bundle / "manifest.json").read_text())
    value["inputs"][0]["shape"] = ["batch", 5]
    (bundle / "manifest.json").write_text(json.dumps(value))
    reseal(bundle)
    with pytest.raises(InputError, match="inputs and outputs are not those of the model"):
        restored_model(bundle, read_manifest(bundle), tmp_path)


@pytest.mark.parametrize(("size", "reason"), [(10**12, "2 GB"), (1 << 30, "cannot be restored")])
def test_a_size_that_no_model_has_is_refused(size, reason, tmp_path):
    bundle = made_bundle(tmp_path, packed=True)
    value = json.loads((bundle / "manifest.json").read_text())
    value["model"]["size_bytes"] = size
    (bundle / "manifest.json").write_text(json.dumps(value))
    reseal(bundle)
    with pytest.raises(InputError, match=reason):
        restored_model(bundle, read_manifest(bundle), tmp_path)


def with_model(bundle: Path, data: bytes) -> None:
    """Puts another model into the bundle, and makes manifest and checksums fit it."""
    (bundle / "model.onnx").write_bytes(data)
    value = json.loads((bundle / "manifest.json").read_text())
    digest = digest_of_file(bundle / "model.onnx")
    value["model"] |= {"sha256": digest, "measured_sha256": digest}
    value["model"] |= {"size_bytes": len(data), "measured_bytes": len(data)}
    sizes = value["metrics"]["size"]
    sizes |= {"bytes": len(data), "ratio": len(data) / sizes["original_bytes"]}
    (bundle / "manifest.json").write_text(json.dumps(value))
    reseal(bundle)


def outside_model(location: str) -> bytes:
    """A model whose weight is in another file."""
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4, 3], data_location="EXTERNAL")
    for key, text in {"location": location, "length": "48"}.items():
        tensor.external_data.add(key=key, value=text)
    graph = onnx.GraphProto(name="g", initializer=[tensor])
    return onnx.ModelProto(ir_version=10, graph=graph).SerializeToString()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no model at all", "cannot be read"),
        (b"\x08", "cannot be read"),
        (b"\x08\x0a", "is empty"),
        (outside_model("/etc/passwd"), "in another file"),
        (outside_model("manifest.json"), "in another file"),
    ],
    ids=["text", "cut", "empty", "absolute", "beside"],
)
def test_a_model_that_is_none_or_reads_other_files_is_refused(data, reason, tmp_path):
    bundle = made_bundle(tmp_path)
    with_model(bundle, data)
    with pytest.raises(InputError, match=reason):
        restored_model(bundle, read_manifest(bundle), tmp_path)


def test_a_dtype_that_no_array_has_is_refused(tmp_path):
    bundle = made_bundle(tmp_path)
    model = onnx.load(bundle / "model.onnx")
    model.graph.input[0].type.tensor_type.elem_type = 99
    with_model(bundle, model.SerializeToString())
    with pytest.raises(InputError, match="inputs and outputs"):
        restored_model(bundle, read_manifest(bundle), tmp_path)
