"""`autocompress verify BUNDLE`: whether a bundle is whole, and does on a target what its manifest says.

- SHA256SUMS, and the model's own digest; a packed model is restored first.
- Answers: seeded inputs (the first validation samples where the task is loaded) run on the target and here,
  in ONNX Runtime with exact int8 sums, or a .tflite file in LiteRT. The root mean square of the difference,
  relative to that of the answers, is at most 0.001 for a float32 model, 0.01 with float16, 0.05 with layers
  of 8 bits or fewer (compress/onnx_file/check.py).
- Latency beside the bundle's reference (reference.py); regressed when the interval of the ratio starts more
  than `verify.ROOM` above the end of what the manifest states for a target of this name, three times in a
  row. Without a reference the model is measured beside itself, and nothing is compared: seconds differ from
  hour to hour.
- The metric on validation, where the task is loaded (given_task.py): regressed below the interval of the
  manifest.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..compress.onnx_file.check import FLOAT_TOLERANCE, HALF_TOLERANCE, QUANTIZED_TOLERANCE, relative_error
from ..compress.recipe import HALF, STORED, Recipe
from ..errors import InputError, StageError
from ..evaluation.predicted import stand_in
from ..evaluation.targets import NamedTarget, load_targets
from ..profiles import FINALIST_TIMING, TimingConfig
from ..profiles.runtimes import Container
from ..results.records.bundle_verification import BundleMeasured, BundleVerification, Parity
from ..results.records.latency import Latency
from ..results.records.manifest import Manifest, ReferenceFacts
from ..targets.held_clocks import ClocksOfTargets
from ..targets.on_device.inputs import stored_arrays
from ..targets.pool.boards import Device
from ..targets.target import TargetSession
from .asked_targets import address_in, is_here
from .given_task import GivenTask
from .read_bundle import read_manifest, restored_model
from .reference import reference_file
from .scoring import Scorer, Scoring, scoring_of
from .verify import Say, looked_at, quality_fell, refuse_lost, slower, usable_target

SAMPLES = 8


def verify_bundle(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    task: GivenTask | None = None,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> BundleVerification:
    """What was measured. `target` None is the manifest's, if it is ours and here; `task` is the one
    that the user gives; `folder` is for temporary files, `clocks` for `--set-clocks`.

    InputError when the bundle is damaged, TargetUnavailable when the target cannot be used.
    """
    manifest = read_manifest(path)
    model = restored_model(path, manifest, folder)
    named = _target(target, manifest, clocks)
    scoring = scoring_of(manifest.task, task, folder, identity={})
    for text in scoring.notes:
        note(text)
    named, name = replace(named, sizes=manifest.target.sizes), named.profile.name
    say(f"asking the target {name}")
    subject = usable_target(named, None, inputs=scoring.inputs)
    measured: BundleMeasured | None = None
    try:
        reference = _reference(path, manifest, folder, same=manifest.target.name == name)
        measured = _measured(
            manifest, (model, reference), subject, scoring, folder=folder, timing=timing, say=say, note=note
        )
        regressed = _regressions(manifest, measured)
    except StageError as error:
        refuse_lost(error, name)
        regressed = (f"cannot be run, {error.stage}: {error}",)
    return BundleVerification(
        manifest=manifest, target=name, address=str(named.address), measured=measured, regressed=regressed
    )


def _reference(path: Path, manifest: Manifest, folder: Path, *, same: bool) -> Path | str:
    """What the model is measured beside, or why its ratio cannot be compared. InputError when that is
    damaged.
    """
    facts = manifest.reference
    if isinstance(facts, str):
        return facts
    if not same:
        return f"it was measured on another target, {manifest.target.name}"
    return reference_file(path, facts, manifest.inputs, folder, container=manifest.target.container)


def _measured(
    manifest: Manifest,
    files: tuple[Path, Path | str],
    target: Device,
    scoring: Scoring,
    *,
    folder: Path,
    timing: TimingConfig,
    say: Say,
    note: Say,
) -> BundleMeasured:
    """What the target does with the model, the first file, beside the second if there is one. StageError
    when it cannot run it.
    """
    batch, scorer, (model, reference) = manifest.target.batch, scoring.scorer, files
    beside, stated, missing = model, None, reference if isinstance(reference, str) else None
    if isinstance(reference, Path) and isinstance(manifest.reference, ReferenceFacts):
        beside, stated = reference, manifest.reference.ratio_interval
    inputs = _inputs(manifest, scorer, folder / "parity.npz", count=max(batch, SAMPLES // batch * batch))
    with target.session() as session:
        say(f"comparing answers with {manifest.answering}")
        container = manifest.target.container
        parity = _parity(session, model, inputs, manifest.recipe, batch=batch, container=container)
        say("measuring")
        measure = partial(session.measure, model, beside)
        seen = looked_at(measure, timing.with_batch(batch), stated=stated, note=note)
        say("validating")
        quality = scorer.score(session, model, batch=batch) if scorer else None
    return BundleMeasured(
        environment=target.probe(),
        parity=parity,
        latency=Latency.of(seen),
        drift_s=seen.drift_s,
        not_compared=missing,
        quality=quality,
        quality_not_verified=scoring.reason,
        task_differs=scoring.differs,
    )


def _target(text: str | None, manifest: Manifest, clocks: ClocksOfTargets | None) -> NamedTarget:
    """The target that was asked for, or that of the manifest when it is one of ours on this machine.
    InputError when it is not.
    """
    name = manifest.target.name
    if text is None and not is_here(address_in(name)):
        raise InputError(
            f"The bundle's target '{name}' is no profile of ours on this machine: give its TOML file, or its "
            "address, with --target, like jetson@user@host."
        )
    targets = load_targets(text or name)
    if len(targets) != 1:
        raise InputError(
            f"--target {text!r} names {len(targets)} targets, but a bundle is for one: verify one after the "
            "other."
        )
    (named,) = targets
    return named if clocks is None else replace(named, clocks=clocks.of(named.profile, named.address))


def _inputs(manifest: Manifest, scorer: Scorer | None, path: Path, *, count: int) -> Path:
    """`count` samples: the first ones of validation, or seeded random ones."""
    if scorer is not None:
        arrays = [array[:count] for array in stored_arrays(str(scorer.split.inputs)) or []]
    else:
        arrays = _random_inputs(manifest, count)
    np.savez(path, allow_pickle=False, **{str(index): array for index, array in enumerate(arrays)})
    return path


def _random_inputs(manifest: Manifest, count: int) -> list[np.ndarray]:
    """Random samples for each input. InputError for dimensions that nobody knows, or that are too large."""
    random, arrays = np.random.default_rng(0), []
    free = manifest.target.sizes.usual if manifest.target.sizes else {}
    for tensor in manifest.inputs:
        stated = [free.get(size, size) if isinstance(size, str) else size for size in tensor.shape[1:]]
        sizes = [size for size in stated if isinstance(size, int)]
        if len(sizes) != len(tensor.shape[1:]):
            raise InputError(
                f"The input {tensor.name!r} has dynamic dimensions {list(tensor.shape)}: "
                "give its task with --task."
            )
        kind, shape = np.dtype(tensor.dtype), (count, *sizes)
        try:
            values = random.standard_normal(shape) if kind.kind == "f" else random.integers(0, 2, shape)
        except (MemoryError, ValueError, OverflowError) as error:
            raise InputError(
                f"Samples of {list(shape)} for the input {tensor.name!r} do not fit into memory: copy the "
                "bundle again, or give its task with --task."
            ) from error
        arrays.append(np.asarray(values, kind))
    return arrays


def _parity(
    session: TargetSession,
    model: Path,
    inputs: Path,
    recipe: Recipe,
    *,
    batch: int,
    container: Container = "onnx",
) -> Parity:
    """The largest difference of any output to those of a runtime here, and what is tolerated."""
    here = session.run(model, inputs, batch=session.running_batch(SAMPLES, measured=batch), exact=True)
    with stand_in(container).session() as reference:
        expected = reference.run(model, inputs, batch=SAMPLES)
    error = max(relative_error(output, wanted) for output, wanted in zip(here, expected, strict=True))
    return Parity(error=min(error, 1e9), tolerance=tolerance_of(recipe), samples=len(expected[0]))


def tolerance_of(recipe: Recipe) -> float:
    """The relative error that answers of a recipe may have."""
    asked = set(recipe.precision.values()) - {"float32", "block4"} - STORED
    if asked - HALF:
        return QUANTIZED_TOLERANCE
    return HALF_TOLERANCE if asked else FLOAT_TOLERANCE


def _regressions(manifest: Manifest, now: BundleMeasured) -> tuple[str, ...]:
    """What is worse than the manifest says."""
    worse, stated = [], manifest.reference
    if now.parity.error > now.parity.tolerance:
        worse.append(f"other answers than {manifest.answering} here")
    compared = None if isinstance(stated, str) or now.not_compared else stated.ratio_interval
    if compared is not None and slower(now.latency.ratio_interval, compared):
        worse.append("slower than was measured")
    if now.quality is not None and quality_fell(manifest.quality, now.quality, manifest.task.metric):
        worse.append("loses quality")
    return tuple(worse)
