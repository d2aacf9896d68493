"""TensorRT, and TensorRT for RTX, as a runtime: engines are built here, on the device, and kept for later
workers.
"""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ...inputs import asked_feeds, sizes_of, stored_shapes
from ...runtime import PROFILE_LEAST, PROFILE_MOST, PROFILE_WARM_UP, Feeds, Request
from . import cache
from .build import EngineError, Shapes, build, created, logger_of, read_options
from .cuda import Cuda, CudaError, gpu_clock_mhz
from .layers import kernel_names, layer_precisions
from .session import TrtSession


def opened(module: str, *, compiles: bool = False) -> TensorRT:
    """The runtime of a library's module. RefusedError without driver or GPU; ImportError without the library.

    The GPU is looked for first: without one the library is of no use, and much of it ends in a segmentation
    fault.
    """
    cuda = Cuda()
    try:
        library = importlib.import_module(module)
    except OSError as error:  # a part of it that it loads by itself is missing
        raise ImportError(f"{module}: {error}") from error
    return TensorRT(library, cuda, compiles=compiles)


class TensorRT:
    """See Runtime and DeviceRuntime. `trt` is the library's module.

    `compiles`: whether kernels are compiled when an engine is first run (RTX), so that those are kept, and
    not the timings of tactics.
    """

    ERRORS: tuple[type[BaseException], ...] = (EngineError, CudaError)

    def __init__(self, trt: Any, cuda: Cuda, *, compiles: bool):
        self._trt = trt
        self._cuda = cuda
        self._compiles = compiles
        self._log = logger_of(trt)

    def version(self) -> str:
        """The library's version, the GPU's compute capability and the driver's CUDA version: all of them
        choose kernels.
        """
        device = self._cuda.device
        return "{} sm_{}{} CUDA {}.{}".format(self._trt.__version__, *device.capability, *device.driver)

    def facts(self, request: Request) -> dict[str, Any]:
        """See Runtime. A board keeps its own name; a GPU in a PC gives its own."""
        device = self._cuda.device
        # a library that does not fit this GPU or driver fails here, not in the first measurement
        created(self._trt.Runtime, self._log)
        return {} if Path("/proc/device-tree/model").exists() else {"device": device.name}

    def prepare(self, request: Request) -> None:
        """Builds both models. With `engine_builds` above 1 the candidate is built as often, anew, with
        tactics timed anew.
        """
        builds = request["timing"].get("engine_builds", 1)
        for number in range(builds):
            numbered = {**request, "engine_build": number}
            self._engine(request["baseline"], numbered)
            self._engine(
                request["model"], numbered, anew=builds > 1 and request["model"] != request["baseline"]
            )

    def open_session(self, model: str, request: Request) -> TrtSession:
        """See Runtime. The engine comes out of the cache if it holds it."""
        plan, facts = self._engine(model, request)
        names = [*(name for name, _ in facts.inputs), *facts.outputs]
        kernels = cache.load_blob("runtime", *self._device_and_version()) if self._compiles else None
        return TrtSession(self._trt, self._log, self._cuda, plan, names, kernels=kernels)

    def peak_memory(self, request: Request, feeds: Feeds) -> int:
        """Bytes of device memory that loading and running the candidate takes: engine, activations, inputs,
        outputs.
        """
        cuda = self._cuda
        gc.collect()  # what earlier sessions left must not be freed meanwhile
        before = cuda.free_memory()
        session = self.open_session(request["model"], request)
        session.run(feeds)
        taken = before - cuda.free_memory()
        self._keep_kernels(session)
        return max(0, taken)

    def details(self, request: Request, feeds: Feeds) -> dict[str, Any]:
        """What a measurement keeps beside its times; the host's share is seen on one more block."""
        builds = request["timing"].get("engine_builds", 1)
        built = [
            self._engine(request["model"], {**request, "engine_build": number})[1] for number in range(builds)
        ]
        bound = self.open_session(request["model"], request).bind(feeds)
        bound.block(64)
        return {
            "engine_bytes": built[0].engine_bytes,
            "engine_builds": builds,
            "build_s": [facts.build_s for facts in built],
            "flags": built[0].flags,
            "tf32": "TF32" in built[0].flags,
            "tensorrt": str(self._trt.__version__),
            "gpu": self._cuda.device.name,
            "gpu_clock_mhz": gpu_clock_mhz(),
            **bound.details(),
        }

    def optimized(self, request: Request) -> dict[str, Any]:
        """The precision of each ONNX node, by name: {"layers": {"conv1": "int8"}}."""
        return {"layers": layer_precisions(self.open_session(request["model"], request).layers())}

    def profile(self, request: Request, arrays: Any) -> dict[str, Any]:
        """See Runtime. Kernels have the names of their first ONNX nodes."""
        session = self.open_session(request["model"], request)
        session.run(asked_feeds(session.inputs, arrays, request))
        profiler = _profiler(self._trt)
        session.context.profiler = profiler
        for _ in range(PROFILE_WARM_UP):
            session.enqueue()
            session.stream.wait()
        profiler.times.clear()
        runs = 0
        while runs < PROFILE_LEAST or (
            runs < PROFILE_MOST and sum(map(sum, profiler.times.values())) < request["profile_s"]
        ):
            session.enqueue()
            session.stream.wait()
            runs += 1
        names = kernel_names(session.layers())
        kernels: dict[str, float] = {}
        for name, times in profiler.times.items():
            kernel = names.get(name, name)
            kernels[kernel] = kernels.get(kernel, 0.0) + float(np.median(times)) * len(times) / runs
        return {"runs": runs, "kernels": kernels}

    def _engine(self, model: str, request: Request, *, anew: bool = False) -> tuple[bytes, cache.EngineFacts]:
        """The engine for the request's shapes, and what is known of it.

        `engine_build` tells engines apart that are built of one model independently of each other: without
        the timing cache, which would choose the same tactics again. `anew`: built now, whatever is kept.
        """
        cuda, options = self._cuda, read_options(request)
        shapes = Shapes.of(request, stored_shapes(request.get("inputs")), sizes_of(request)[0][1])
        alone = request.get("timing", {}).get("engine_builds", 1) > 1
        device, version = self._device_and_version()
        digest = cache.file_digest(model)

        def name_for(declared: list[Any]) -> str:
            key = cache.EngineKey(
                device=[device, *cuda.device.capability],
                library=[self._trt.__name__, version],
                shapes=[shapes.sizes(name, shape, index) for index, (name, shape) in enumerate(declared)],
                options=options,
                build=request.get("engine_build", 0) if alone else None,
            )
            return cache.engine_name(digest, key)

        declared = cache.declared_inputs(digest)  # None: no engine of this model is kept
        cached = None if anew or declared is None else cache.load_engine(name_for(declared))
        if cached is not None:
            return cached
        timings = None if alone or self._compiles else cache.load_blob("timing", device, version)
        capability = cuda.device.capability if self._compiles else None
        built = build(self._trt, self._log, model, shapes, options, timings=timings, capability=capability)
        if built.timings:
            cache.keep_blob("timing", device, version, built.timings)
        facts = cache.EngineFacts(
            build_s=built.seconds,
            flags=list(built.flags),
            engine_bytes=len(built.plan),
            inputs=built.inputs,
            outputs=built.outputs,
        )
        cache.keep_engine(name_for(built.inputs), built.plan, facts)
        return built.plan, facts

    def _keep_kernels(self, session: TrtSession) -> None:
        compiled = session.compiled()
        if compiled:
            cache.keep_blob("runtime", *self._device_and_version(), compiled)

    def _device_and_version(self) -> tuple[str, str]:
        return f"{self._cuda.device.name} {self._cuda.device.processors}SM", str(self._trt.__version__)


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        """Seconds by layer, as the engine calls it."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.setdefault(layer_name, []).append(1e-3 * ms)

    return Profiler()
