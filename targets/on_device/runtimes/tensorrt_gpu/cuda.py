"""CUDA through ctypes: as much of the driver API as running and timing an engine needs, and no further
dependency.

Everything is of one device, the first that the driver shows (`CUDA_VISIBLE_DEVICES` chooses), and of its
primary context, which TensorRT uses too. Times are seconds, sizes bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any, Callable, NamedTuple

import numpy as np

from ...runtime import RefusedError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no implicit waiting for the default stream
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may do as they like
# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, _MULTIPROCESSOR_COUNT
_CAPABILITY, _PROCESSORS = (75, 76), 16
_DRIVER_REMEDY = (
    "Install NVIDIA's driver for it (`nvidia-smi` must list a GPU; on a Jetson it is part of JetPack), "
    "or choose a target of the CPU, such as 'cpu'."
)


class CudaError(RuntimeError):
    """A call of the driver failed; the message has its name and the driver's reason."""


class Device(NamedTuple):
    """What the driver says of the GPU: product name, compute capability (8, 7), newest CUDA version it serves
    (12, 6).

    `processors` are its multiprocessors (SMs) in use: every Orin has the name "Orin", and some power modes
    switch SMs off.
    """

    name: str
    capability: tuple[int, int]
    driver: tuple[int, int]
    processors: int


class Cuda:
    """The driver with the primary context of the first GPU current in this thread. RefusedError without
    driver or GPU.
    """

    def __init__(self) -> None:
        loader = getattr(ctypes, "WinDLL", ctypes.CDLL)
        try:
            self._library = loader(_LIBRARY)
        except OSError as error:
            raise RefusedError(
                f"This machine has no NVIDIA driver ({_LIBRARY} cannot be loaded). {_DRIVER_REMEDY}",
                kind="unavailable",
            ) from error
        try:
            self.call("cuInit", 0)
            count = self._read("cuDeviceGetCount", ctypes.c_int())
        except CudaError as error:
            raise RefusedError(
                f"NVIDIA's driver finds no GPU that it can use ({error}). {_DRIVER_REMEDY}",
                kind="unavailable",
            ) from error
        if count < 1:
            raise RefusedError(f"NVIDIA's driver finds no GPU. {_DRIVER_REMEDY}", kind="unavailable")
        handle = self._read("cuDeviceGet", ctypes.c_int(), 0)
        self.device = self._described(handle)
        try:
            self.call("cuCtxSetCurrent", self._pointer("cuDevicePrimaryCtxRetain", handle))
        except CudaError as error:
            raise RefusedError(
                f"{self.device.name} cannot be used now ({error}): end what else runs on it, or choose "
                "another target.",
                kind="unavailable",
            ) from error

    def call(self, function: str, *arguments: Any) -> None:
        """Calls the driver. CudaError when it does not succeed."""
        called = getattr(self._library, function, None)
        if called is None:
            raise CudaError(f"{function}: this driver is too old to have it")
        code = called(*arguments)
        if code:
            reason = ctypes.c_char_p()
            self._library.cuGetErrorString(ctypes.c_int(code), ctypes.byref(reason))
            text = reason.value.decode(errors="replace") if reason.value else "unknown error"
            raise CudaError(f"{function}: {text} (CUDA error {code})")

    def free_memory(self) -> int:
        """Bytes of the device's memory that nobody uses."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> Memory:
        """Device memory of at least one byte. CudaError says "out of memory" when there is none."""
        address = self._read("cuMemAlloc_v2", ctypes.c_uint64(), ctypes.c_size_t(max(1, size)))
        return Memory(self, address, size)

    def stream(self) -> Stream:
        """A stream of its own: it waits for no other."""
        return Stream(self, self._pointer("cuStreamCreate", ctypes.c_uint(_NON_BLOCKING)))

    def event(self) -> Event:
        """An event that takes times."""
        return Event(self, self._pointer("cuEventCreate", ctypes.c_uint(0)))

    def captured(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts into the stream, as a graph; nothing runs. CudaError when it cannot be
        captured.
        """
        self.call("cuStreamBeginCapture_v2", stream.handle, ctypes.c_int(_THREAD_LOCAL))
        graph = ctypes.c_void_p()
        try:
            enqueue()
        except BaseException:
            with contextlib.suppress(CudaError):  # ends the capture, which is broken
                self.call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
                self.call("cuGraphDestroy", graph)
            raise
        self.call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
        try:
            executable = self._pointer("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
        finally:
            self.call("cuGraphDestroy", graph)
        return Graph(self, executable)

    def _described(self, handle: int) -> Device:
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, ctypes.c_int(256), ctypes.c_int(handle))
        major, minor, processors = (
            self._read("cuDeviceGetAttribute", ctypes.c_int(), ctypes.c_int(key), ctypes.c_int(handle))
            for key in (*_CAPABILITY, _PROCESSORS)
        )
        version = self._read("cuDriverGetVersion", ctypes.c_int())
        driver = version // 1000, version % 1000 // 10
        return Device(name.value.decode(errors="replace"), (major, minor), driver, processors)

    def _read(self, function: str, into: Any, *arguments: Any) -> int:
        """The value that the driver writes through its first argument."""
        self.call(function, ctypes.byref(into), *arguments)
        return int(into.value)

    def _pointer(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """The handle that the driver writes through its first argument."""
        handle = ctypes.c_void_p()
        self.call(function, ctypes.byref(handle), *arguments)
        return handle


class _Owned:
    """A handle that is given back with its last reference."""

    def __init__(self, cuda: Cuda, handle: Any, release: str):
        self._cuda = cuda
        self.handle = handle
        self._release = release

    def __del__(self) -> None:
        with contextlib.suppress(CudaError):  # the context is gone already: nothing is left to free
            self._cuda.call(self._release, self.handle)


class Memory(_Owned):
    """Device memory."""

    def __init__(self, cuda: Cuda, address: int, size: int):
        super().__init__(cuda, ctypes.c_uint64(address), "cuMemFree_v2")
        self.address = address
        self.size = size

    def write(self, array: np.ndarray[Any, Any], stream: Stream) -> None:
        """Copies a contiguous array of exactly this size; it must live until the stream was waited for."""
        self._require(array)
        pointer = ctypes.c_void_p(array.ctypes.data)
        self._cuda.call(
            "cuMemcpyHtoDAsync_v2", self.handle, pointer, ctypes.c_size_t(array.nbytes), stream.handle
        )

    def read(self, array: np.ndarray[Any, Any], stream: Stream) -> None:
        """Fills a contiguous array of exactly this size; its values are there once the stream was waited
        for.
        """
        self._require(array)
        pointer = ctypes.c_void_p(array.ctypes.data)
        self._cuda.call(
            "cuMemcpyDtoHAsync_v2", pointer, self.handle, ctypes.c_size_t(array.nbytes), stream.handle
        )

    def _require(self, array: np.ndarray[Any, Any]) -> None:
        if array.nbytes != self.size or not array.flags.c_contiguous:
            raise ValueError(f"{array.nbytes} bytes for {self.size} bytes of device memory")


class Stream(_Owned):
    """Work in order. `number` is the handle as TensorRT takes it."""

    def __init__(self, cuda: Cuda, handle: ctypes.c_void_p):
        super().__init__(cuda, handle, "cuStreamDestroy_v2")
        self.number = int(handle.value or 0)

    def wait(self) -> None:
        """Returns when everything in the stream is done. CudaError if some of it failed."""
        self._cuda.call("cuStreamSynchronize", self.handle)


class Event(_Owned):
    """A mark in a stream."""

    def __init__(self, cuda: Cuda, handle: ctypes.c_void_p):
        super().__init__(cuda, handle, "cuEventDestroy_v2")

    def record(self, stream: Stream) -> None:
        """Puts the mark behind what the stream holds."""
        self._cuda.call("cuEventRecord", self.handle, stream.handle)

    def seconds_since(self, earlier: Event) -> float:
        """Seconds between two marks, both passed; the GPU's clock has a resolution of about half a
        microsecond.
        """
        milliseconds = ctypes.c_float()
        self._cuda.call("cuEventElapsedTime", ctypes.byref(milliseconds), earlier.handle, self.handle)
        return 1e-3 * milliseconds.value


class Graph(_Owned):
    """Captured work, launched by one call."""

    def __init__(self, cuda: Cuda, handle: ctypes.c_void_p):
        super().__init__(cuda, handle, "cuGraphExecDestroy")

    def launch(self, stream: Stream) -> None:
        """Puts all of it into the stream."""
        self._cuda.call("cuGraphLaunch", self.handle, stream.handle)


def gpu_clock_mhz() -> float | None:
    """The clock of the GPU's processors now, by NVML; None where that does not tell (on a Jetson,
    board/state.py reads its clocks).
    """
    with contextlib.suppress(OSError, AttributeError):
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        device, clock = ctypes.c_void_p(), ctypes.c_uint()
        ready = nvml.nvmlInit_v2() == 0 and nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
        if ready and nvml.nvmlDeviceGetClockInfo(device, 1, ctypes.byref(clock)) == 0:  # 1: NVML_CLOCK_SM
            return float(clock.value)
    return None
