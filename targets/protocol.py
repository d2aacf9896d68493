"""The measuring protocol on any ONNX model: what `autocompress measure` does."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..profiles.measurement import FINALIST_TIMING, Measurement, TimingConfig
from ..scratch import temporary_folder
from .model_files.container import as_taken, names_of_inputs
from .model_files.one_file import in_one_file
from .pool.boards import Device


def measure_model(
    model: Path,
    target: Device,
    *,
    baseline: Path | None = None,
    batch: int = 1,
    timing: TimingConfig = FINALIST_TIMING,
) -> Measurement:
    """The model's latency beside `baseline`; without one, beside itself, and the ratio says how quiet the
    machine is.

    Weights in a file beside a model belong to it (`one_file.py`), and to its digest. InputError if a file is
    missing, a dynamic dimension needs a size (`Target(shapes=…)`), or the batch does not fit.
    """
    if batch < 1:
        raise InputError(f"The batch size {batch} must be at least 1.")
    with temporary_folder() as folder:
        whole, beside = (in_one_file(path, folder) for path in (model, baseline or model))
        _require_inputs(target.shapes, whole, beside)
        container = target.profile.facts.container
        whole, beside = (as_taken(path, container, folder) for path in (whole, beside))
        with target.session() as session:
            return session.measure(whole, beside, timing.with_batch(batch))


def _require_inputs(shapes: Iterable[str], *models: Path) -> None:
    """InputError for a name in `shapes` that is no input of any of the models."""
    inputs = {name for path in dict.fromkeys(models) for name in names_of_inputs(path)} if shapes else set()
    for name in shapes:
        if name not in inputs:
            raise InputError(
                f"--shape names the input {name!r}, which the model does not have: choose "
                f"{', '.join(sorted(inputs))}."
            )


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Input name and shape of `NAME=1,3,32,32`. InputError if it is written otherwise."""
    name, _, sizes = text.partition("=")
    parts = sizes.split(",")
    if not name or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(
            f"The shape {text!r} cannot be read: write the input's name and sizes like x=1,3,32,32."
        )
    return name, tuple(int(part) for part in parts)
