"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Mapping

import numpy as np  # noqa: F401 - missing numpy is told like a missing runtime
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from ...inputs import asked_feeds
from ...runtime import PROFILE_WARM_UP, Feeds, HostTimed, Input, Request, refused_option, repeated

_NAMES = (
    "EPFail Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NoSuchFile NotImplemented "
    "RuntimeException"
)
ERRORS = tuple(getattr(ort_state, name) for name in _NAMES.split())
DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
DISABLED = "optimization.disable_specified_optimizers"
IDENTITY = bytes.fromhex(  # a model: y = Identity(x), one float, opset 18
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a001012"
)
KERNEL = "_kernel_time"  # how the profiler's events of computing end


def version() -> str:
    """See Runtime."""
    return str(ort.__version__)


def facts(request: Request) -> dict[str, Any]:
    """See Runtime."""
    _require_options(request.get("runtime_options", {}))
    return {}


def _require_options(given: Mapping[str, str]) -> None:
    """RefusedError for the first of a profile's runtime_options with which no session opens.

    ONNX Runtime ignores keys that it does not know, and does not tell which it knows.
    """
    for name, value in given.items():
        try:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.add_session_config_entry(name, value)
            ort.InferenceSession(IDENTITY, options, providers=["CPUExecutionProvider"])
        except (RuntimeError, ValueError, *ERRORS) as error:
            raise refused_option("ONNX Runtime", name, value, str(error)) from error


class OrtSession:
    """See Session."""

    def __init__(self, session: Any, request: Request):
        self._session = session
        self._request = request
        self.inputs = [Input(node.name, node.shape, _dtype(node.type)) for node in session.get_inputs()]

    def run(self, feeds: Feeds) -> list[Any]:
        """See Session."""
        return list(self._session.run(None, feeds))

    def bind(self, feeds: Feeds) -> HostTimed:
        """See Session."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        return HostTimed(partial(self._session.run_with_iobinding, binding), self._request)


def _dtype(text: str) -> str:
    kind = text[len("tensor(") : -1] if text.startswith("tensor(") else text
    return DTYPES.get(kind, kind)


def open_session(model: str, request: Request) -> OrtSession:
    """See Runtime: every optimization."""
    return OrtSession(_session(model, request, _options(request)), request)


def _session(model: str, request: Request, options: Any) -> Any:
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options(request: Request, *, also_disabled: str = "") -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in request.get("runtime_options", {}).items():
        more = f";{also_disabled}" if also_disabled and key == DISABLED else ""
        options.add_session_config_entry(key, value + more)
    if request.get("exact"):  # every node as it is written
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def optimized(request: Request) -> dict[str, Any]:
    """Writes the optimized graph, but for the NCHWc layout of float32 convolutions: it would rename their
    weights.
    """
    options = _options(request, also_disabled="NchwcTransformer")
    options.optimized_model_filepath = request["output"]
    _session(request["model"], request, options)
    return {}


def profile(request: Request, arrays: Any) -> dict[str, Any]:
    """Seconds per inference of each kernel, by the runtime's name for it, as its profiler sees them.

    The mean of the middle half of an inference's durations: the profiler counts whole microseconds, so that a
    median of short kernels would be rounded, and a mean would hold every interruption.
    """
    with tempfile.TemporaryDirectory(prefix="autocompress-profile-") as folder:
        options = _options(request)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = _session(request["model"], request, options)
        feeds = asked_feeds(OrtSession(session, request).inputs, arrays, request)
        for _ in range(PROFILE_WARM_UP):
            session.run(None, feeds)
        runs = repeated(partial(session.run, None, feeds), request["profile_s"])
        events = json.loads(Path(session.end_profiling()).read_text())
    durations: dict[str, list[float]] = {}
    for event in events:
        name = event["name"]
        if event.get("cat") == "Node" and name.endswith(KERNEL):
            durations.setdefault(name[: -len(KERNEL)], []).append(event["dur"])
    # A kernel inside a loop runs several times in an inference.
    per_run = {
        name: 1e-6 * middle_mean(times) * len(times) / (runs + PROFILE_WARM_UP)
        for name, times in durations.items()
    }
    return {"runs": runs, "kernels": per_run}


def middle_mean(values: list[float]) -> float:
    """The mean without the lowest and the highest quarter."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])
