"""The deployment bundle: whole or not at all, and runnable with nothing but onnxruntime and numpy."""

import json
import lzma
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.bundled.packed import pack, unpack
from autocompress.deploy.read_bundle import read_manifest
from autocompress.errors import InputError, RunDirectoryError
from autocompress.files import digest_of, digest_of_file, seal, write_text
from autocompress.results.report import write_report
from autocompress.results.run_directory import read_run
from autocompress.results.view import RunOn
from autocompress.tests.deploy.small_run import PREDICTION, small_run, target


@pytest.fixture
def point(tmp_path):
    """The original model of a run, y = x · w, as a point."""
    return RunOn.of(small_run(tmp_path / "run"), "cpu").baseline


@pytest.fixture
def other(point):
    return point.view.points[1]


@pytest.fixture
def artifact(point, tmp_path):
    return tmp_path / "run" / point.artifact.file


@pytest.fixture
def bundle(point, artifact, tmp_path):
    out = tmp_path / "deep" / "bundle"
    write_bundle(point, artifact, out)
    return out


@pytest.fixture
def bare_python(tmp_path):
    """A Python that has onnxruntime and numpy and nothing else."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    here, there = (
        Path(sysconfig.get_path("purelib")),
        next((tmp_path / "bare/lib").glob("python*/site-packages")),
    )
    for package in ("onnxruntime", "numpy", "numpy.libs"):
        if (here / package).exists():
            (there / package).symlink_to(here / package)
    return tmp_path / "bare/bin/python"


def test_the_bundle_holds_the_measured_file_and_its_checksums(bundle, artifact):
    assert sorted(path.name for path in bundle.iterdir()) == [
        "SHA256SUMS",
        "manifest.json",
        "model.onnx",
        "monitor.py",
        "run.py",
    ]
    assert (bundle / "model.onnx").read_bytes().startswith(artifact.read_bytes())
    sums = [line.split("  ") for line in (bundle / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in sums} == {
        name: digest_of_file(bundle / name)
        for name in ("manifest.json", "model.onnx", "monitor.py", "run.py")
    }
    assert list(bundle.parent.iterdir()) == [bundle]


def test_the_manifest_says_what_the_model_takes_gives_and_measured(bundle, point):
    manifest, run = json.loads((bundle / "manifest.json").read_text()), point.view
    assert manifest["inputs"] == [{"name": "x", "shape": ["batch", 4], "dtype": "float32"}]
    assert manifest["outputs"] == [{"name": "y", "shape": ["batch", 3], "dtype": "float32"}]
    assert manifest["recipe"] == point.recipe.to_json()
    assert tuple(manifest["metrics"]["quality"]["interval"]) == point.quality.interval
    assert tuple(manifest["metrics"]["latency"]["interval_s"]) == point.latency.interval_s
    assert manifest["metrics"]["latency"]["original_s"] == run.baseline.latency.latency_s
    assert manifest["preprocessing"] == run.task.preprocessing
    assert manifest["environment"] == json.loads(json.dumps(run.target.environment.to_json()))
    assert manifest["reproduce"] == {"command": run.run.facts.command, "trial": point.trial}


def test_a_token_that_an_older_run_stored_does_not_ship(artifact, tmp_path):
    run = small_run(tmp_path / "run")
    value = run.to_json()
    value["task"]["arguments"] = {"token": "open sesame"}
    value["command"] = "autocompress search task.py:make --task-arg 'token=open sesame'"
    write_text(tmp_path / "run" / "front.json", json.dumps(seal(value)))
    write_bundle(RunOn.of(read_run(tmp_path / "run"), "cpu").baseline, artifact, tmp_path / "bundle")
    write_report(read_run(tmp_path / "run"), tmp_path / "bundle" / "report.html")
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "bundle").glob("*.[jh]*")]
    assert len(texts) == 2 and not any("sesame" in text for text in texts)
    assert all("kept out: token" in text for text in texts)


def test_the_file_says_what_it_is_and_holds_every_byte_that_was_measured(bundle, artifact, point):
    manifest = read_manifest(bundle)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert session.get_modelmeta().producer_name == onnx.load(artifact).producer_name
    assert told["autocompress.task"] == "linear" and told["autocompress.producer"].startswith("autocompress")
    assert told["autocompress.recipe_digest"] == point.recipe.digest
    assert json.loads(told["autocompress.metrics"]) == {"accuracy": 0.9, "drop": 0.0, "latency_ratio": 1.0}
    written = json.loads((bundle / "manifest.json").read_text())
    assert told["autocompress.manifest_digest"] == digest_of(
        {key: value for key, value in written.items() if key != "model"}
    )
    facts = manifest.model
    measured = (bundle / "model.onnx").read_bytes()[: facts.measured_bytes]
    assert measured == artifact.read_bytes() and facts.measured_sha256 == digest_of_file(artifact)
    assert facts.sha256 == digest_of_file(bundle / "model.onnx")
    size = json.loads((bundle / "manifest.json").read_text())["metrics"]["size"]
    assert size["bytes"] == artifact.stat().st_size


def test_the_keys_of_a_manifest_stay_as_they_are(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert list(manifest) == [
        *("schema_version", "name", "model", "inputs", "outputs", "preprocessing", "session", "reference"),
        "statistics",
        *(
            "metrics",
            "recipe",
            "layers",
            "layer_times",
            "warnings",
            "task",
            "target",
            "environment",
            "reproduce",
        ),
    ]
    assert list(manifest["metrics"]) == ["quality", "latency", "size", "indistinguishable_from"]
    assert list(manifest["target"]) == [
        *("name", "profile_fingerprint", "threads", "runtime", "runtime_options", "batch")
    ]


def test_the_manifest_of_a_predicted_point_says_so(tmp_path):
    run = small_run(tmp_path / "run", target(prediction=PREDICTION))
    point = RunOn.of(run, "cpu").points[1]
    write_bundle(point, tmp_path / "run" / point.artifact.file, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert manifest["target"]["predicted"]["source"] == PREDICTION.source
    assert set(manifest["metrics"]["latency"]) == {
        *("predicted_s", "predicted_ratio", "source", "error", "original_predicted_s")
    }


def test_run_py_needs_only_onnxruntime_and_numpy(bundle, bare_python, tmp_path):
    np.save(tmp_path / "input.npy", np.ones((2, 4), dtype=np.float64))
    done = subprocess.run(
        [bare_python, "-I", bundle / "run.py", tmp_path / "input.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(2, 3)" in done.stdout and "[18. 22. 26.]" in done.stdout
    outside = subprocess.run([bare_python, "-I", "-c", "import torch"], capture_output=True, check=False)
    assert outside.returncode != 0


def test_run_py_runs_on_random_inputs_without_files_and_refuses_too_many(bundle, bare_python, tmp_path):
    done = subprocess.run([bare_python, "-I", bundle / "run.py"], capture_output=True, text=True, check=True)
    assert "(1, 3)" in done.stdout
    wrong = subprocess.run(
        [bare_python, "-I", bundle / "run.py", "a.npy", "b.npy"], capture_output=True, text=True, check=False
    )
    assert (
        wrong.returncode == 2
        and "The model has the inputs x: give 1 files, or none." in wrong.stderr
        and "Traceback" not in wrong.stderr
    )


@pytest.fixture
def packed(point, artifact, tmp_path):
    out = tmp_path / "packed"
    assert write_bundle(point, artifact, out, packed=True) == out / "model.packed"
    return out


def test_a_packed_bundle_holds_no_other_model_and_says_both_sizes(packed, artifact):
    assert sorted(path.name for path in packed.iterdir()) == [
        "SHA256SUMS",
        "manifest.json",
        "model.packed",
        "monitor.py",
        "run.py",
    ]
    model = json.loads((packed / "manifest.json").read_text())["model"]
    assert model["measured_sha256"] == digest_of_file(artifact) and model["file"] == "model.packed"
    assert model["packed_bytes"] == (packed / "model.packed").stat().st_size
    restored = unpack((packed / "model.packed").read_bytes(), model["size_bytes"])
    assert restored.startswith(artifact.read_bytes()) and model["measured_bytes"] == artifact.stat().st_size


def test_run_py_restores_a_packed_model_with_only_onnxruntime_and_numpy(packed, bare_python, tmp_path):
    np.save(tmp_path / "input.npy", np.ones((2, 4), dtype=np.float32))
    done = subprocess.run(
        [bare_python, "-I", packed / "run.py", tmp_path / "input.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "[18. 22. 26.]" in done.stdout


@pytest.mark.parametrize("what", ["cut", "changed", "another"])
def test_run_py_refuses_a_packed_model_that_is_not_the_one_that_was_measured(packed, bare_python, what):
    file = packed / "model.packed"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    size = json.loads((packed / "manifest.json").read_text())["model"]["size_bytes"]
    other = unpack(file.read_bytes(), size).replace(b"linear", b"lineal")
    file.write_bytes({"cut": file.read_bytes()[:-30], "changed": bytes(data), "another": pack(other)}[what])
    done = subprocess.run([bare_python, "-I", packed / "run.py"], capture_output=True, text=True, check=False)
    told = "its SHA-256 differs" if what == "another" else "is damaged, its model cannot be restored"
    assert done.returncode == 2 and told in done.stderr and "copy the bundle again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
@pytest.mark.parametrize("what", ["cut", "changed", "empty", "another", "gone"])
def test_run_py_says_in_one_line_that_a_file_is_damaged(bundle, name, what):
    file = bundle / name
    data = file.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2 if name == "model.onnx" else 0] ^= 1
    contents = {"cut": data[:-30], "changed": bytes(changed), "empty": b"", "another": b"[1, 2]"}
    file.unlink() if what == "gone" else file.write_bytes(contents[what])
    done = subprocess.run([sys.executable, bundle / "run.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert name in done.stderr


@pytest.mark.parametrize("content", [b"no array", b"", b"PK\x03\x04"], ids=["text", "empty", "zip"])
def test_run_py_says_in_one_line_that_an_input_is_no_array(bundle, tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    command = [sys.executable, bundle / "run.py", tmp_path / "x.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_run_py_does_not_expand_what_the_manifest_does_not_expect(packed):
    file = packed / "model.packed"
    file.write_bytes(lzma.compress(bytes(64 << 20)))
    done = subprocess.run([sys.executable, packed / "run.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "its model cannot be restored" in done.stderr


def test_an_existing_directory_with_something_in_it_is_left_alone(bundle, other, artifact):
    before = digest_of_file(bundle / "manifest.json")
    with pytest.raises(InputError, match="is not an empty directory"):
        write_bundle(other, artifact, bundle)
    assert digest_of_file(bundle / "manifest.json") == before


def test_an_empty_directory_may_be_filled_but_a_file_not_replaced(point, artifact, tmp_path):
    (tmp_path / "empty").mkdir()
    write_bundle(point, artifact, tmp_path / "empty")
    assert (tmp_path / "empty/run.py").exists()
    with pytest.raises(InputError, match="is not an empty directory"):
        write_bundle(point, artifact, artifact)


def test_a_file_that_is_not_the_measured_one_is_refused(point, other, artifact, tmp_path):
    with pytest.raises(RunDirectoryError, match="is not the file that was measured"):
        write_bundle(other, artifact, tmp_path / "out")
    with pytest.raises(RunDirectoryError, match="is gone"):
        write_bundle(point, tmp_path / "no.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_cannot_be_written_leaves_nothing(point, artifact, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_bundle(point, artifact, tmp_path / "out/bundle")
    assert list((tmp_path / "out").iterdir()) == []
