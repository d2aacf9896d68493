"""`autocompress verify BUNDLE`: whether a bundle is whole, and does on a target what its manifest says.

- SHA256SUMS, and the model's own digest; a packed model is restored first.
- Answers: seeded inputs (the first validation samples where the task can be loaded) run on the target and in
  ONNX Runtime here, with exact int8 sums. The root mean square of the difference, relative to that of the
  answers, is at most 0.001 for a float32 model, 0.01 with float16, 0.05 with layers of 8 bits or fewer
  (compress/onnx_file/check.py).
- Latency beside itself; regressed when the interval starts more than `ROOM` above the end of what the
  manifest states for a target of this name. Seconds differ more from day to day than ratios do, so that the
  room is wider than for a run.
- The metric on validation, where the task can be loaded: regressed below the interval of the manifest.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..compress.onnx_file.check import FLOAT_TOLERANCE, HALF_TOLERANCE, QUANTIZED_TOLERANCE, relative_error
from ..compress.recipe import HALF
from ..errors import InputError, ProfileError, StageError
from ..files import digest_of_file
from ..profiles import FINALIST_TIMING, TimingConfig
from ..results.records import Latency
from ..search.evaluation.predicted import stand_in
from ..search.evaluation.several import NamedTarget, load_targets
from ..targets.held_clocks import ClocksOfTargets
from ..targets.target import TargetSession
from .packed import unpack
from .verify import Say, Scorer, quality_fell, refuse_lost, scorer_or_reason, usable_target

SCHEMA_VERSION = 1
ROOM = 0.10  # relative, on seconds
SAMPLES = 8


def is_bundle(path: Path) -> bool:
    """Whether `path` is a deployment bundle."""
    return (path / "manifest.json").is_file()


def verify_bundle(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> dict[str, Any]:
    """What was found, a JSON value. `target` None is the manifest's; `folder` is for temporary files,
    `clocks` for `--set-clocks`.

    InputError when the bundle is damaged, TargetUnavailable when the target cannot be used.
    """
    manifest = _manifest(path)
    model = _model(path, manifest, folder)
    named = _target(target, manifest, clocks)
    scorer, reason = scorer_or_reason(manifest["task"], folder)
    if reason:
        note(f"Note: the task cannot be loaded here, so that its metric is not verified. {reason}")
    batch = manifest["target"]["batch"]
    say(f"asking the target {named.profile.name}")
    subject = usable_target(named, None, inputs=scorer.split.inputs if scorer else None)
    inputs = _inputs(manifest, scorer, folder / "parity.npz", count=max(batch, SAMPLES // batch * batch))
    try:
        with subject.session() as session:
            say("comparing answers with ONNX Runtime")
            parity = _parity(session, model, inputs, manifest, batch=batch)
            say("measuring")
            latency = Latency.of(session.measure(model, model, timing.with_batch(batch)))
            say("validating")
            quality = scorer.score(session, model, batch=batch) if scorer else None
    except StageError as error:
        refuse_lost(error, named.profile.name)
        return {
            **_facts(manifest, named.profile.name, str(named.address)),
            "regressed": [f"cannot be run, {error.stage}: {error}"],
        }
    metrics = manifest["metrics"]
    return {
        **_facts(manifest, named.profile.name, str(named.address)),
        "environment": subject.probe().to_json(),
        "parity": parity,
        "latency": {"stated": metrics["latency"], "now": latency.to_json()},
        "quality": {
            "metric": metrics["quality"]["metric"]["name"],
            "stated": metrics["quality"]["validation"],
            "now": quality,
        },
        "quality_not_verified": reason or None,
        "regressed": _regressions(
            metrics, parity, latency, quality, same=manifest["target"]["name"] == named.profile.name
        ),
    }


def _target(text: str | None, manifest: Mapping[str, Any], clocks: ClocksOfTargets | None) -> NamedTarget:
    """The target that was asked for, or that of the manifest. InputError when that is a profile of the user's
    own.
    """
    try:
        found = load_targets(text or manifest["target"]["name"])
    except ProfileError as error:
        if text is not None:
            raise
        raise InputError(
            f"The bundle's target is not one of ours: give its TOML file with --target. {error}"
        ) from error
    if len(found) != 1:
        raise InputError(
            f"--target {text!r} names {len(found)} targets, but a bundle is for one: verify one after the other."
        )
    return (
        found[0]
        if clocks is None
        else replace(found[0], clocks=clocks.of(found[0].profile, found[0].address))
    )


def _facts(manifest: Mapping[str, Any], name: str, address: str) -> dict[str, Any]:
    target = {"name": name, "address": address}
    return {"schema_version": SCHEMA_VERSION, "bundle": manifest["name"], "target": target, "checksums": "ok"}


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a bundle whose files are those of SHA256SUMS."""
    try:
        lines = (path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            outside = (
                Path(name).is_absolute() or ".." in Path(name).parts
            )  # on_device/ of a TensorRT bundle is inside
            if outside or digest_of_file(path / name) != digest:
                raise InputError(
                    f"{path / name} is not the file that was bundled, its SHA-256 differs: copy the bundle again."
                )
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The bundle {path} cannot be read ({error}): copy it again.") from error
    if {"manifest.json", manifest["model"]["file"]} - {line.partition("  ")[2] for line in lines}:
        raise InputError(
            f"{path / 'SHA256SUMS'} does not cover the model and its manifest: copy the bundle again."
        )
    return manifest


def _model(path: Path, manifest: Mapping[str, Any], folder: Path) -> Path:
    """The ONNX file, restored if it is packed."""
    file = path / str(manifest["model"]["file"])
    if file.suffix != ".onnx":
        restored = folder / "model.onnx"
        restored.write_bytes(unpack(file.read_bytes()))
        file = restored
    if digest_of_file(file) != manifest["model"]["sha256"]:
        raise InputError(
            f"The model of {path} is not that of its manifest, its SHA-256 differs: copy the bundle again."
        )
    return file


def _inputs(manifest: Mapping[str, Any], scorer: Scorer | None, path: Path, *, count: int) -> Path:
    """`count` samples: the first ones of validation, or seeded random ones. InputError for dimensions that
    nobody knows.
    """
    if scorer is not None:
        with np.load(scorer.split.inputs, allow_pickle=False) as archive:
            arrays = [archive[key][:count] for key in sorted(archive.files, key=int)]
    else:
        random, arrays = np.random.default_rng(0), []
        for item in manifest["inputs"]:
            shape = [count, *item["shape"][1:]]
            if not all(isinstance(size, int) for size in shape):
                raise InputError(
                    f"The input {item['name']!r} has dynamic dimensions {item['shape']}: make its task loadable here."
                )
            kind = np.dtype(item["dtype"])
            values = random.standard_normal(shape) if kind.kind == "f" else random.integers(0, 2, shape)
            arrays.append(np.asarray(values, kind))
    np.savez(path, allow_pickle=False, **{str(index): array for index, array in enumerate(arrays)})
    return path


def _parity(
    session: TargetSession, model: Path, inputs: Path, manifest: Mapping[str, Any], *, batch: int
) -> dict[str, Any]:
    """The largest difference of any output to ONNX Runtime's here, and what is tolerated."""
    here = session.run(model, inputs, batch=session.running_batch(SAMPLES, measured=batch), exact=True)
    with stand_in().session() as reference:
        expected = reference.run(model, inputs, batch=SAMPLES)
    error = max(relative_error(got, wanted) for got, wanted in zip(here, expected, strict=True))
    return {
        "error": min(error, 1e9),
        "tolerance": tolerance_of(manifest["recipe"]),
        "samples": len(expected[0]),
    }


def tolerance_of(recipe: Mapping[str, Any]) -> float:
    """The relative error that answers of a recipe may have."""
    asked = set(recipe["precision"].values()) - {"float32", "block4"}
    if asked - HALF:
        return QUANTIZED_TOLERANCE
    return HALF_TOLERANCE if asked else FLOAT_TOLERANCE


def _regressions(
    metrics: Mapping[str, Any],
    parity: Mapping[str, Any],
    latency: Latency,
    quality: float | None,
    *,
    same: bool,
) -> list[str]:
    found, stated = [], metrics["latency"]
    if parity["error"] > parity["tolerance"]:
        found.append("other answers than ONNX Runtime here")
    if same and "interval_s" in stated and latency.interval_s[0] > stated["interval_s"][1] * (1 + ROOM):
        found.append("slower than was measured")
    if quality is not None and quality_fell(metrics["quality"], quality, metrics["quality"]["metric"]):
        found.append("loses quality")
    return found
