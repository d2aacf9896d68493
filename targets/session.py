"""TargetSession: one worker process, for one candidate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from ..compress.recipe import Precision
from ..errors import StageError
from ..profiles.measurement import SEARCH_TIMING, Measurement, TimingConfig
from ..profiles.runtimes import RuntimeFacts
from .layer_times import LayerTimes, layer_times
from .precision import reported_precision
from .runtimes import graph_reader_of
from .transport import Transport

Output = np.ndarray[Any, Any] | list[np.ndarray[Any, Any]]  # a list of samples where shapes differ
SILENCE_S = 600.0  # for the next part of the outputs, however many there are
PART_BYTES, PART_S = 1 << 26, 10.0  # of outputs that are in memory at once; after which they are handed over
RUN_TIMEOUT_S = 600.0
PROFILE_S = 0.2  # of inferences under the profiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A part of a split's samples (on_device/inputs.Picked); `first` is the number of the file's first."""

    low: int
    high: int
    first: int = 0


class TargetSession:
    """A worker that has answered; its target opens it. Every method raises StageError (see Transport) when
    that fails.

    `workload` are the inputs and shapes of its requests, `saturates` says whether fast int8 sums do there.
    `alone` gives the block in which nothing else is measured, `measure_beside` measures with this worker.
    """

    def __init__(
        self,
        worker: Transport,
        *,
        folder: Path,
        runtime: RuntimeFacts,
        workload: dict[str, object],
        saturates: bool,
        alone: Callable[[], AbstractContextManager[None]],
        measure_beside: Callable[[Path, Path, TimingConfig], Measurement],
    ):
        self._worker = worker
        self._folder = folder
        self._runtime = runtime
        self._workload = workload
        self._saturates = saturates
        self._alone = alone
        self._measure_beside = measure_beside

    def run(
        self,
        model: Path,
        inputs: Path,
        *,
        batch: int,
        exact: bool = False,
        silence_s: float = SILENCE_S,
    ) -> tuple[Output, ...]:
        """The model's outputs for all stored samples, each concatenated along dimension 0; see `parts`."""
        return joined(list(self.parts(model, inputs, batch=batch, exact=exact, silence_s=silence_s)))

    def parts(
        self,
        model: Path,
        inputs: Path,
        *,
        batch: int,
        exact: bool = False,
        pick: Pick | None = None,
        silence_s: float = SILENCE_S,
    ) -> Iterator[tuple[Output, ...]]:
        """The model's outputs for stored samples, part after part: of PART_BYTES, or what was ready in
        PART_S. A part that is not ready after `silence_s` is given up.

        `inputs`: a folder of .npy files, which are mapped, or an .npz file. `exact`: what the model says,
        with slower kernels where this machine's fast ones let integer sums saturate. `pick`: a part of the
        samples. StageError of the kind wrong-output if an output holds NaN.
        """
        outputs = self._folder / "outputs.npz"
        request: dict[str, Any] = {
            "op": "run",
            "model": str(model.resolve()),
            "inputs": str(inputs.resolve()),
            "outputs": str(outputs),
            "batch": batch,
            "most_bytes": PART_BYTES,
            "most_s": PART_S,
        }
        if exact and self._saturates:
            request["exact"] = True
        if pick is not None:
            request["pick"] = {"low": pick.low, "high": pick.high, "first": pick.first}
        start: int | None = 0
        while start is not None:
            reply = self._worker.send({**request, "start": start}, timeout_s=silence_s)
            start = reply["next"]
            if reply["samples"]:
                yield _read_outputs(outputs, model)

    def running_batch(self, batch: int, *, measured: int) -> int:
        """The batch size to run a model with that is measured with `measured`: building an engine for another
        takes too long.
        """
        return measured if self._runtime.builds_engines else batch

    def executed_precision(
        self, model: Path, layers: Iterable[str], *, batch: int = 1
    ) -> dict[str, Precision]:
        """By layer name, the precision that the runtime executes; layers that are not in its graph are left
        out.
        """
        output = self._folder / "optimized.onnx"
        request: dict[str, Any] = {
            "op": "optimized",
            "model": str(model.resolve()),
            "output": str(output),
            "batch": batch,
            **{key: value for key, value in self._workload.items() if key != "inputs"},
        }
        result = self._worker.send(request, timeout_s=RUN_TIMEOUT_S)
        if self._runtime.precision_from == "report":
            return reported_precision(result["layers"], layers)
        reader = graph_reader_of(self._runtime.name)
        precisions = reader.executed_precision(onnx.load(output), layers, original=onnx.load(model))
        return cast(dict[str, Precision], precisions)

    def profile_layers(self, model: Path, layers: Iterable[str], *, batch: int) -> LayerTimes:
        """Seconds per inference of each layer, by the runtime's own profiler, which adds to them; taken under
        the lease.
        """
        request = {"op": "profile", "model": str(model.resolve()), "batch": batch, "profile_s": PROFILE_S}
        with self._alone():
            result = self._worker.send({**request, **self._workload}, timeout_s=RUN_TIMEOUT_S)
        kernels = result["kernels"]
        if self._runtime.precision_from == "graph":
            kernels = graph_reader_of(self._runtime.name).seconds_by_node(kernels, onnx.load(model))
        return layer_times(kernels, layers)

    def measure(self, model: Path, baseline: Path, timing: TimingConfig = SEARCH_TIMING) -> Measurement:
        """The model's latency beside its baseline; out of the store if it holds it, otherwise taken under the
        lease.

        An A/A control of at most 10 measurements or 5 minutes ago vouches for the machine. A noisy
        measurement is returned and says so. StageError of the kind noisy (retryable) if the control fails.
        """
        return self._measure_beside(model, baseline, timing)


def _read_outputs(path: Path, model: Path) -> tuple[Output, ...]:
    """What the worker wrote, which is removed. StageError if an output holds NaN."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = [[archive[name] for name in names] for names in _by_output(archive.files)]
    path.unlink()
    for index, parts in enumerate(arrays):
        if any(part.dtype.kind == "f" and np.isnan(part).any() for part in parts):
            message = f"Output {index} of {model.name} holds NaN."
            raise StageError(message, stage="run", kind="wrong-output")
    return tuple(parts[0] if len(parts) == 1 else list(chain(*parts)) for parts in arrays)


def _by_output(keys: Iterable[str]) -> list[list[str]]:
    """The keys of each output, in the order of the batches."""
    ordered = sorted(keys, key=lambda key: tuple(map(int, key.split("_"))))
    return [list(group) for _, group in groupby(ordered, key=lambda key: int(key.split("_")[0]))]


def joined(parts: Sequence[tuple[Output, ...]]) -> tuple[Output, ...]:
    """The outputs of several parts as those of one: arrays where all shapes are equal, else samples."""
    whole: list[Output] = []
    for column in zip(*parts, strict=True):
        arrays = [one for one in column if isinstance(one, np.ndarray)]
        alike = len(arrays) == len(column) and len({array.shape[1:] for array in arrays}) == 1
        whole.append(np.concatenate(arrays) if alike else list(chain(*column)))
    return tuple(whole)
