"""TargetSession: one worker process, for one candidate."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import chain
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
RUN_TIMEOUT_S = 600.0
PROFILE_S = 0.2  # of inferences under the profiler


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
        timeout_s: float = RUN_TIMEOUT_S,
    ) -> tuple[Output, ...]:
        """The model's outputs for all stored samples, each concatenated along dimension 0.

        `inputs`: an .npz file (`tasks.data.write_inputs`), or a folder of .npy files (read in parts, for data
        larger than memory). `exact`: what the model says, with slower kernels where this machine's fast ones
        let integer sums saturate. StageError of the kind wrong-output if an output holds NaN.
        """
        outputs = self._folder / "outputs.npz"
        request: dict[str, Any] = {
            "op": "run",
            "model": str(model.resolve()),
            "inputs": str(inputs.resolve()),
        }
        if exact and self._saturates:
            request["exact"] = True
        self._worker.send({**request, "outputs": str(outputs), "batch": batch}, timeout_s=timeout_s)
        with np.load(outputs, allow_pickle=False) as archive:
            parts: dict[int, list[np.ndarray[Any, Any]]] = {}
            for key in sorted(archive.files, key=lambda key: tuple(map(int, key.split("_")))):
                parts.setdefault(int(key.split("_")[0]), []).append(archive[key])
        outputs.unlink()
        for index, arrays in parts.items():
            if any(array.dtype.kind == "f" and np.isnan(array).any() for array in arrays):
                message = f"Output {index} of {model.name} holds NaN."
                raise StageError(message, stage="run", kind="wrong-output")
        return tuple(arrays[0] if len(arrays) == 1 else list(chain(*arrays)) for arrays in parts.values())

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
