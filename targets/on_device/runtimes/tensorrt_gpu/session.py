"""Running an engine, and timing it on the GPU: device memory, a stream, a CUDA graph, CUDA events."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Sequence

import numpy as np

from ...runtime import Feeds, Input
from .build import EngineError, created
from .cuda import Cuda, CudaError, Event, Graph

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}  # trt.nptype of 8.5 fails with today's numpy
SINGLES = 16  # inferences of a block that are timed one by one, after it


class TrtSession:
    """See Session. An engine on the device with its buffers; its shapes are fixed."""

    def __init__(
        self,
        trt: Any,
        log: Any,
        cuda: Cuda,
        plan: bytes,
        names: Sequence[str],
        *,
        kernels: bytes | None = None,
    ):
        """`names`: inputs and outputs in the model's order; an engine may have another.

        `kernels`: compiled kernels of TensorRT for RTX to begin with; None for TensorRT, which has them in
        the engine.
        """
        self._trt = trt
        self._log = log
        self.cuda = cuda
        self._runtime = created(trt.Runtime, log)
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise EngineError(f"TensorRT cannot load the engine: {log.said()}")
        self.context, self._kernels = self._made_context(kernels)
        if self.context is None:
            raise EngineError(f"TensorRT cannot run the engine: {log.said()}")
        self.stream = cuda.stream()
        tensors = [
            self._tensor(self.engine.get_tensor_name(index)) for index in range(self.engine.num_io_tensors)
        ]
        tensors.sort(key=lambda tensor: names.index(tensor.name))
        read = {t.name for t in tensors if self.engine.get_tensor_mode(t.name) == trt.TensorIOMode.INPUT}
        self.inputs = [tensor for tensor in tensors if tensor.name in read]
        self._outputs = [tensor for tensor in tensors if tensor.name not in read]
        self._buffers = {tensor.name: cuda.allocate(_bytes(tensor)) for tensor in tensors}
        for name, memory in self._buffers.items():
            if not self.context.set_tensor_address(name, memory.address):
                raise EngineError(f"TensorRT refuses the memory of tensor {name!r}: {log.said()}")

    def run(self, feeds: Feeds) -> list[Any]:
        """See Session."""
        loaded = self.load(feeds)
        self.enqueue()
        arrays = [np.empty(output.shape, output.dtype) for output in self._outputs]
        for output, array in zip(self._outputs, arrays):
            self._buffers[output.name].read(array, self.stream)
        self.stream.wait()
        del loaded
        return arrays

    def bind(self, feeds: Feeds) -> CudaTimed:
        """See Session."""
        loaded = self.load(feeds)
        self.stream.wait()
        del loaded
        return CudaTimed(self)

    def load(self, feeds: Feeds) -> list[Any]:
        """Copies the inputs; the arrays that are returned must live until the stream was waited for."""
        arrays = [np.ascontiguousarray(feeds[tensor.name], dtype=tensor.dtype) for tensor in self.inputs]
        for tensor, array in zip(self.inputs, arrays):
            if array.shape != tuple(tensor.shape):
                shapes = f"{list(array.shape)}, its engine {list(tensor.shape)}"
                raise EngineError(f"Input {tensor.name!r} has the shape {shapes}.")
            self._buffers[tensor.name].write(array, self.stream)
        return arrays

    def enqueue(self) -> None:
        """Puts one inference into the stream."""
        if not self.context.execute_async_v3(self.stream.number):
            raise EngineError(f"TensorRT cannot run the engine: {self._log.said()}")

    def layers(self) -> Any:
        """The layers as the engine inspector tells them, out of its JSON."""
        text = self.engine.create_engine_inspector().get_engine_information(
            self._trt.LayerInformationFormat.JSON
        )
        return json.loads(text)["Layers"]

    def compiled(self) -> bytes | None:
        """The kernels that TensorRT for RTX has compiled, for later sessions; None for TensorRT."""
        return None if self._kernels is None else bytes(self._kernels.serialize())

    def _made_context(self, kernels: bytes | None) -> tuple[Any, Any]:
        """The context, and the cache that its compiled kernels go to, which must outlive it: attributes end
        in their order.
        """
        if kernels is None:
            return self.engine.create_execution_context(), None
        config = self.engine.create_runtime_config()
        cache = config.create_runtime_cache()
        if kernels:
            cache.deserialize(kernels)  # refuses those of another driver by itself
        config.set_runtime_cache(cache)
        return self.engine.create_execution_context(config), cache

    def _tensor(self, name: str) -> Input:
        kind = self.engine.get_tensor_dtype(name).name
        shape = tuple(self.engine.get_tensor_shape(name))
        if kind not in DTYPES or any(size < 0 for size in shape):
            raise EngineError(
                f"Tensor {name!r} is {kind} {list(shape)}: inputs and outputs need a size and a type of "
                "numpy."
            )
        return Input(name, shape, DTYPES[kind])


class CudaTimed:
    """A Bound whose times are the GPU's: CUDA events around launches of a CUDA graph, inputs and outputs on
    the device.

    A model that cannot be captured is enqueued as it is; `graph` then is None, and the GPU may wait for the
    host.
    """

    def __init__(self, session: TrtSession):
        self._session = session
        session.enqueue()  # allocates, and compiles kernels: neither can be captured
        session.stream.wait()
        self.graph = _captured(session)
        self._marks = [session.cuda.event() for _ in range(SINGLES + 1)]
        self.enqueue_s: list[float] = []

    def once(self) -> float:
        """See Bound."""
        start = time.perf_counter()
        self._launch()
        self._session.stream.wait()
        return time.perf_counter() - start

    def block(self, count: int) -> tuple[float, float, list[float]]:
        """See Bound; the single times are the GPU's, too, of up to `SINGLES` further inferences."""
        stream, (begin, end, *_) = self._session.stream, self._marks
        start = time.perf_counter()
        begin.record(stream)
        for _ in range(count):
            self._launch()
        end.record(stream)
        enqueued = time.perf_counter() - start
        stream.wait()
        wall = time.perf_counter() - start
        self.enqueue_s.append(enqueued / count)
        return end.seconds_since(begin) / count, wall / count, self._singles(min(count, SINGLES))

    def _singles(self, count: int) -> list[float]:
        marks: list[Event] = self._marks[: count + 1]
        marks[0].record(self._session.stream)
        for mark in marks[1:]:
            self._launch()
            mark.record(self._session.stream)
        self._session.stream.wait()
        return [after.seconds_since(before) for before, after in zip(marks, marks[1:])]

    def _launch(self) -> None:
        if self.graph is None:
            self._session.enqueue()
        else:
            self.graph.launch(self._session.stream)

    def details(self) -> dict[str, Any]:
        """What the host's share was: seconds to enqueue one inference, and whether a CUDA graph did."""
        return {
            "cuda_graph": self.graph is not None,
            "host_enqueue_s": statistics.median(self.enqueue_s) if self.enqueue_s else None,
        }


def _captured(session: TrtSession) -> Graph | None:
    """The inference as a CUDA graph, which has run once; None when it cannot be captured."""
    try:
        graph = session.cuda.captured(session.stream, session.enqueue)
        graph.launch(session.stream)
        session.stream.wait()
    except (CudaError, EngineError):
        return None
    return graph


def _bytes(tensor: Input) -> int:
    count = np.prod([int(size) for size in tensor.shape], dtype=np.int64)
    return int(np.dtype(tensor.dtype).itemsize * count)
