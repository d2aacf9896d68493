"""A bundle for LiteRT holds the .tflite file that was measured, and runs with LiteRT and numpy, packed too."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.read_bundle import read_manifest, restored_model
from autocompress.files import digest_of_file
from autocompress.results.view import RunOn
from autocompress.targets.model_files.container import as_taken
from autocompress.tests.deploy.small_run import small_run, target
from autocompress.tests.targets import models

pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")


@pytest.mark.parametrize("packed", [False, True])
def test_a_bundle_holds_and_runs_the_file_that_was_measured(packed: bool, tmp_path: Path) -> None:
    model = as_taken(models.linear(tmp_path / "model.onnx"), "tflite", tmp_path)
    run = small_run(tmp_path / "run", target("cpu-litert", runtime="litert"))
    point = RunOn.of(run, "cpu-litert").points[1]
    facts = replace(point.artifact, digest=digest_of_file(model), size_bytes=model.stat().st_size)
    point = replace(point, measured=replace(point.measured, artifact=facts))
    bundle = tmp_path / "bundle"
    written = write_bundle(point, model, bundle, packed=packed)
    assert written.name == ("model.packed" if packed else "model.tflite")
    manifest = read_manifest(bundle)
    assert restored_model(bundle, manifest, tmp_path).read_bytes() == model.read_bytes()
    assert [tensor.shape[0] for tensor in (*manifest.inputs, *manifest.outputs)] == ["batch", "batch"]
    done = subprocess.run(
        [sys.executable, str(bundle / "run.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("y\n(1, "), done.stderr
