"""The driver through ctypes, against a compiled stand-in that is strict about handles, sizes and order."""

import gc
import time
from pathlib import Path

import numpy as np
import pytest
from autocompress.targets.on_device.runtime import RefusedError
from autocompress.targets.on_device.runtimes.tensorrt_gpu import cuda as module
from autocompress.targets.on_device.runtimes.tensorrt_gpu.cuda import Cuda, CudaError
from autocompress.tests.targets.gpu import fake_driver


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("cuda")) / "libcuda.so.1"


@pytest.fixture
def cuda(library: Path, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    monkeypatch.setattr(module, "_LIBRARY", str(library))
    return Cuda()


def test_the_device_is_described(cuda: Cuda) -> None:
    assert cuda.device == ("Fake GPU", (8, 9), (12, 6), 24)


def test_a_function_that_the_driver_lacks_is_said_to_be_missing(cuda: Cuda) -> None:
    with pytest.raises(CudaError, match="cuNewer: this driver is too old"):
        cuda.call("cuNewer")


def test_arrays_come_back_as_they_were(cuda: Cuda) -> None:
    stream, x = cuda.stream(), np.arange(12, dtype=np.float32)
    memory, back = cuda.allocate(x.nbytes), np.zeros_like(x)
    memory.write(x, stream)
    memory.read(back, stream)
    assert not back.any()  # nothing is there before the stream was waited for
    stream.wait()
    np.testing.assert_array_equal(back, x)


def test_an_array_of_another_size_is_not_copied(cuda: Cuda) -> None:
    with pytest.raises(ValueError, match="16 bytes for 12 bytes"):
        cuda.allocate(12).write(np.zeros(4, np.float32), cuda.stream())


def test_memory_is_given_back_with_its_last_reference(cuda: Cuda) -> None:
    before = cuda.free_memory()
    memory = cuda.allocate(1 << 20)
    assert before - cuda.free_memory() == 1 << 20
    del memory
    gc.collect()
    assert cuda.free_memory() == before


def test_too_much_memory_is_said_to_be_too_much(cuda: Cuda) -> None:
    with pytest.raises(CudaError, match="cuMemAlloc_v2: out of memory"):
        cuda.allocate(1 << 40)


def test_events_tell_the_time_between_them(cuda: Cuda) -> None:
    stream, first, second = cuda.stream(), cuda.event(), cuda.event()
    start = time.perf_counter()
    first.record(stream)
    stream.wait()
    time.sleep(0.01)
    second.record(stream)
    stream.wait()
    assert 0.01 <= second.seconds_since(first) <= 1.001 * (time.perf_counter() - start)


def test_an_event_that_has_not_passed_has_no_time(cuda: Cuda) -> None:
    stream, first, second = cuda.stream(), cuda.event(), cuda.event()
    first.record(stream)
    second.record(stream)
    with pytest.raises(CudaError, match="CUDA error 600"):
        second.seconds_since(first)
    stream.wait()


def test_a_graph_repeats_what_was_captured(cuda: Cuda) -> None:
    import ctypes

    calls, stream = [], cuda.stream()
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: calls.append(1))
    graph = cuda.captured(stream, lambda: cuda.call("fake_enqueue", stream.handle, work, None))
    assert calls == []
    for _ in range(3):
        graph.launch(stream)
    stream.wait()
    assert calls == [1, 1, 1]


def test_a_failed_capture_leaves_the_stream_usable(cuda: Cuda) -> None:
    def broken() -> None:
        raise RuntimeError("cannot enqueue")

    stream, x = cuda.stream(), np.ones(4, np.float32)
    with pytest.raises(RuntimeError, match="cannot enqueue"):
        cuda.captured(stream, broken)
    memory = cuda.allocate(x.nbytes)
    memory.write(x, stream)
    stream.wait()


def test_a_machine_without_the_library_has_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_LIBRARY", str(tmp_path / "libcuda.so.1"))
    with pytest.raises(RefusedError, match="no NVIDIA driver") as refusal:
        Cuda()
    assert refusal.value.kind == "unavailable"
