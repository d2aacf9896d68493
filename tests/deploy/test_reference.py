"""A bundle's reference: verify compares ratios to it, on real measurements of models of twelve weights."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from autocompress.deploy import reference
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.read_bundle import read_manifest
from autocompress.deploy.reference import reference_file, reference_of, workload
from autocompress.deploy.verify_bundle import _regressions, verify_bundle
from autocompress.errors import InputError, RunDirectoryError
from autocompress.files import digest_of_file
from autocompress.results.records.bundle_verification import BundleMeasured, BundleVerification, Parity
from autocompress.results.records.manifest import Manifest, ReferenceFacts, TensorFacts
from autocompress.results.view import RunOn
from autocompress.results.words.verified import bundle_lines
from autocompress.targets import control
from autocompress.targets.model_files.container import contained
from autocompress.tests.deploy.small_run import ENVIRONMENT, PREDICTION, latency, small_run, target
from autocompress.tests.deploy.test_read_bundle import made_bundle, reseal
from autocompress.tests.explore.predicting import QUICK
from autocompress.tests.profiles.records import measurement


def silent(text: str) -> None:
    pass


def bundle_of(folder: Path, *, gone: bool = False) -> Path:
    """The bundle of the int8 point, with the original's file beside it unless that is gone."""
    point = RunOn.of(small_run(folder / "run"), "cpu").points[1]
    original = folder / "run" / point.view.baseline.artifact.file
    if gone:
        original.unlink()
    write_bundle(point, folder / "run" / point.artifact.file, folder / "bundle", original=original)
    return folder / "bundle"


def test_an_original_that_is_another_file_is_refused_and_no_bundle_is_left(tmp_path):
    point = RunOn.of(small_run(tmp_path / "run"), "cpu").points[1]
    other = tmp_path / "run" / point.artifact.file
    with pytest.raises(RunDirectoryError, match="is not the original that was measured"):
        write_bundle(point, other, tmp_path / "bundle", original=other)
    assert not (tmp_path / "bundle").exists()


def measured(ratio: float, *, slow: float = 1.0, not_compared: str | None = None) -> BundleMeasured:
    """A measurement of now, in an hour in which the machine is `slow` times slower."""
    base = latency(ratio)
    seconds = slow * base.latency_s
    low, high = (slow * end for end in base.interval_s)
    shown = replace(base, latency_s=seconds, interval_s=(low, high))
    return BundleMeasured(
        environment=ENVIRONMENT,
        parity=Parity(error=0.0, tolerance=0.05, samples=8),
        latency=shown,
        drift_s=(0.9 * seconds, 1.2 * seconds),
        not_compared=not_compared,
        quality=None,
        quality_not_verified="No task.",
    )


def lines_of(manifest: Manifest, now: BundleMeasured) -> str:
    regressed = _regressions(manifest, now)
    return "\n".join(
        bundle_lines(
            BundleVerification(
                manifest=manifest, target="cpu", address="cpu", measured=now, regressed=regressed
            )
        )
    )


def test_a_bundle_carries_the_original_which_a_device_may_leave_out(tmp_path):
    bundle = bundle_of(tmp_path)
    facts = read_manifest(bundle).reference
    assert isinstance(facts, ReferenceFacts) and facts.kind == "original"
    assert (facts.ratio, facts.ratio_interval) == (0.5, latency(0.5).ratio_interval)
    assert (
        digest_of_file(bundle / "reference.onnx")
        == facts.sha256
        == digest_of_file(tmp_path / "run/artifacts/0.onnx")
    )
    manifest = read_manifest(bundle)
    (bundle / "reference.onnx").unlink()
    assert read_manifest(bundle) == manifest
    assert "left out" in str(reference_file(bundle, facts, manifest.inputs, tmp_path))


def test_another_reference_is_refused(tmp_path):
    bundle = bundle_of(tmp_path)
    manifest = read_manifest(bundle)
    assert isinstance(manifest.reference, ReferenceFacts)
    (bundle / "reference.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match="not the reference that was bundled: copy the bundle again"):
        reference_file(bundle, manifest.reference, manifest.inputs, tmp_path)


def test_a_machine_that_is_slower_now_regresses_nothing(tmp_path):
    manifest = read_manifest(bundle_of(tmp_path))
    told = lines_of(manifest, measured(0.5, slow=1.5))
    assert "0.500× ±1.0 % of the original, the manifest says 0.500× ±1.0 %" in told
    assert "the original took 1.500 ms and 1.000 ms: the machine's drift" in told
    assert told.endswith("Nothing that was checked regressed. Not checked: quality.")


@pytest.mark.parametrize(("ratio", "regressed"), [(0.52, ()), (0.6, ("slower than was measured",))])
def test_a_ratio_regresses_beyond_both_intervals_and_the_room(tmp_path, ratio, regressed):
    assert _regressions(read_manifest(bundle_of(tmp_path)), measured(ratio)) == regressed


@pytest.mark.parametrize("case", ["old", "gone", "predicted"])
def test_without_a_reference_nothing_is_compared_and_that_is_said(case, tmp_path):
    if case == "predicted":
        bundle = made_bundle(tmp_path, predicted=True)
    else:
        bundle = bundle_of(tmp_path, gone=case == "gone")
    if case == "old":
        value = json.loads((bundle / "manifest.json").read_text()) | {"schema_version": 1}
        del value["reference"], value["statistics"]
        (bundle / "manifest.json").write_text(json.dumps(value))
        reseal(bundle)
    manifest = read_manifest(bundle)
    why = {"old": "wrote none", "gone": "was gone", "predicted": "predicted, not measured"}[case]
    assert isinstance(manifest.reference, str) and why in manifest.reference
    told = lines_of(manifest, measured(1.0, slow=9.0, not_compared=manifest.reference))
    assert "not compared: " in told and why in told and "8.100 ms to 10.80 ms while measuring" in told
    assert told.endswith("Nothing that was checked regressed. Not checked: latency, quality.")


def test_an_original_that_is_too_large_is_replaced_by_a_workload(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LARGEST_BYTES", 10)
    asked: list[str] = []

    class Here:
        @contextmanager
        def session(self):
            yield self

        def measure(self, model, baseline, timing):
            asked.extend([model.name, baseline.name])
            return measurement(0.02, 0.022)

    monkeypatch.setattr(reference, "usable_target", lambda *_, **__: Here())
    bundle = bundle_of(tmp_path)
    manifest = read_manifest(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == [
        *("SHA256SUMS", "manifest.json", "model.onnx", "monitor.py", "run.py")
    ]
    facts = manifest.reference
    assert isinstance(facts, ReferenceFacts) and asked == ["1.onnx", "workload.onnx"]
    assert facts.kind == "workload" and facts.ratio == pytest.approx(0.021)
    file = reference_file(bundle, facts, manifest.inputs, tmp_path)
    assert isinstance(file, Path) and digest_of_file(file) == facts.sha256
    another = replace(facts, sha256="0" * 64)
    assert "another workload" in str(reference_file(bundle, another, manifest.inputs, tmp_path))


def test_a_workload_for_a_target_elsewhere_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LARGEST_BYTES", 10)
    point = RunOn.of(small_run(tmp_path, target("cpu@far")), "cpu@far").points[1]
    why = reference_of(point, tmp_path, tmp_path, tmp_path, (), note=silent)
    assert "its target 'cpu@far' is not this machine" in str(why)
    point = RunOn.of(small_run(tmp_path, target(prediction=PREDICTION)), "cpu").points[1]
    assert "predicted" in str(reference_of(point, tmp_path, tmp_path, tmp_path, (), note=silent))


def test_the_workload_takes_the_inputs_of_the_model_and_is_always_the_same():
    inputs = (
        TensorFacts(name="tokens", shape=("batch", "length"), dtype="int64"),
        TensorFacts(name="mask", shape=("batch", 7), dtype="bool"),
    )
    first, again = (contained(workload(inputs), "onnx") for _ in range(2))
    assert first == again and len(first) < 300_000
    session = onnxruntime.InferenceSession(first, providers=["CPUExecutionProvider"])
    feeds = {"tokens": np.full((2, 3), 2, np.int64), "mask": np.ones((2, 7), bool)}
    (product,) = session.run(None, feeds)
    assert np.isfinite(product).all() and product.max() > 1e-30


@pytest.mark.serial
def test_a_bundle_is_verified_beside_its_reference(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "TOLERANCE", 100.0)  # what is measured is not judged here
    point = RunOn.of(small_run(tmp_path / "run"), "cpu").baseline
    file = tmp_path / "run" / point.artifact.file
    write_bundle(point, file, tmp_path / "bundle", original=file)
    seen = verify_bundle(tmp_path / "bundle", "cpu", folder=tmp_path, say=silent, note=silent, timing=QUICK)
    now = seen.measured
    assert now is not None and now.not_compared is None
    assert now.latency.ratio == pytest.approx(1.0, rel=0.5)
    assert "of the original, the manifest says 1.000×" in "\n".join(bundle_lines(seen))
