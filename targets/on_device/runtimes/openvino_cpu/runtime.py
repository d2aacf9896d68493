"""OpenVINO on the CPU. A model is compiled for the shapes of its inputs: kernels for unknown ones are
slower.
"""

# ruff: noqa: E402 - something must come before the import of openvino

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Dict, Mapping, Tuple

import numpy as np

# `import openvino` would tell Intel about it, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov

from ...inputs import asked_feeds
from ...runtime import PROFILE_WARM_UP, Feeds, HostTimed, Input, Request, refused_option, repeated
from .layers import kernel_sums, mark, precisions

ERRORS = (RuntimeError,)  # all that OpenVINO raises
CORE = ov.Core()
CORE.get_property("CPU", "FULL_DEVICE_NAME")  # loads the kernels, which no model adds to memory then

Shapes = Dict[str, Tuple[int, ...]]


def version() -> str:
    """See Runtime."""
    return str(ov.__version__)


def facts(request: Request) -> dict[str, Any]:
    """See Runtime."""
    _require_options(request.get("runtime_options", {}))
    return {}


def _require_options(options: Mapping[str, str]) -> None:
    """RefusedError for the first of a profile's runtime_options that OpenVINO does not know or whose value it
    does not take.
    """
    core = ov.Core()  # one of its own, since it keeps what it accepts
    # loads the kernels, without which everything is accepted
    supported = core.get_property("CPU", "SUPPORTED_PROPERTIES")
    for name, value in options.items():
        try:
            core.set_property("CPU", {name: value})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()  # above it: the lines of OpenVINO's source
            if "Unsupported property" in reason:
                settable = sorted(key for key, access in supported.items() if access != "RO")
                reason = f"there is none of this name that can be set; there are {', '.join(settable)}"
            raise refused_option("OpenVINO", name, value, reason) from error


class OpenVinoSession:
    """See Session. A compiled model is kept for each combination of input shapes that came."""

    def __init__(self, model: Any, request: Request):
        self._model = model
        self._request = request
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._held: dict[tuple[tuple[int, ...], ...], Feeds] = {}  # what each request's inputs point to
        self.inputs = [_input(port) for port in model.inputs]

    def run(self, feeds: Feeds) -> list[Any]:
        """See Session."""
        inference = self._bound(feeds)
        inference.infer()
        return [np.array(tensor.data) for tensor in inference.output_tensors]

    def bind(self, feeds: Feeds) -> HostTimed:
        """See Session. `infer` computes in the calling thread, and in as many others as the request has
        further threads.
        """
        return HostTimed(partial(self._bound(feeds).infer, share_outputs=True), self._request)

    def _bound(self, feeds: Feeds) -> Any:
        """An inference request whose inputs are these arrays; OpenVINO does not copy them."""
        key = tuple(feeds[declared.name].shape for declared in self.inputs)
        if key not in self._requests:
            self._requests[key] = compiled(self._model.clone(), feeds, self._request).create_infer_request()
        self._held[key] = _set_inputs(self._requests[key], feeds)
        return self._requests[key]


def _set_inputs(inference: Any, feeds: Feeds) -> Feeds:
    """Gives a request its inputs, which OpenVINO does not copy: what is returned must live as long as it."""
    held = {name: _writeable(array) for name, array in feeds.items()}
    for name, array in held.items():
        inference.set_tensor(name, ov.Tensor(array, shared_memory=True))
    return held


def _writeable(array: Any) -> Any:
    return array if array.flags.writeable else array.copy()


def _input(port: Any) -> Input:
    sizes = [size.get_length() if size.is_static else None for size in port.get_partial_shape()]
    return Input(port.get_any_name(), sizes, np.dtype(port.get_element_type().to_dtype()).name)


def open_session(model: str, request: Request) -> OpenVinoSession:
    """See Runtime."""
    return OpenVinoSession(CORE.read_model(model), request)


def compiled(model: Any, feeds: Feeds, request: Request, **more: str) -> Any:
    """The model, compiled for the shapes of `feeds` with the options of the profile and `more`."""
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    options = {**request.get("runtime_options", {}), "INFERENCE_NUM_THREADS": str(request["threads"]), **more}
    if request.get("exact"):
        options["LP_TRANSFORMS_MODE"] = "NO"  # quantized layers are computed in float32
    return CORE.compile_model(model, "CPU", options)


def optimized(request: Request) -> dict[str, Any]:
    """What each layer is computed in, by the name of its ONNX node or weight: {"layers"}."""
    model, feeds = _marked(request, None)
    return {"layers": precisions(compiled(model, feeds, request).get_runtime_model())}


def profile(request: Request, arrays: Any) -> dict[str, Any]:
    """See Runtime: means over all inferences but the first few."""
    model, feeds = _marked(request, arrays)
    inference = compiled(model, feeds, request, PERF_COUNT="YES").create_infer_request()
    held = _set_inputs(inference, feeds)
    for _ in range(PROFILE_WARM_UP):
        inference.infer()
    before = kernel_sums(inference, runs=PROFILE_WARM_UP)
    runs = repeated(inference.infer, request["profile_s"])
    sums = kernel_sums(inference, runs=PROFILE_WARM_UP + runs)
    del held  # not before
    return {
        "runs": runs,
        "kernels": {name: max(0.0, total - before.get(name, 0.0)) / runs for name, total in sums.items()},
    }


def _marked(request: Request, arrays: Any) -> tuple[Any, Feeds]:
    """The model with its layers' names where they survive compiling, and inputs of the measured shapes."""
    model = CORE.read_model(request["model"])
    inputs = [_input(port) for port in model.inputs]
    mark(model)
    return model, asked_feeds(inputs, arrays, request)
