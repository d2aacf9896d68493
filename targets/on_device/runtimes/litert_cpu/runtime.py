"""LiteRT on the CPU. A model is opened anew for the shapes of its inputs: XNNPACK prepares its kernels for
them.
"""

from __future__ import annotations

import importlib.metadata
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Tuple, TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ...inputs import asked_feeds
from ...runtime import PROFILE_WARM_UP, Feeds, HostTimed, Input, Request, refused_option, repeated
from .operators import File, Operator

T = TypeVar("T")
Shapes = Tuple[Tuple[int, ...], ...]
_BLOCK = 10  # inferences between two looks at the clock: of short operators it would be a part


class LiteRtError(Exception):
    """What LiteRT says of a file or an inference, as ValueError or RuntimeError."""


ERRORS = (LiteRtError,)


def version() -> str:
    """See Runtime."""
    return importlib.metadata.version("ai-edge-litert")


def facts(request: Request) -> dict[str, Any]:
    """See Runtime: LiteRT has no options."""
    for name, value in request.get("runtime_options", {}).items():
        raise refused_option("LiteRT", name, value, "it has no runtime options")
    return {}


class LiteRtSession:
    """See Session. An interpreter is kept for each combination of input shapes that came."""

    def __init__(self, model: str, request: Request):
        self._model = model
        self._request = request
        self._interpreters: dict[Shapes, Any] = {}
        first = opened(model, request["threads"])
        self.inputs = [_input(details) for details in first.get_input_details()]

    def run(self, feeds: Feeds) -> list[Any]:
        """See Session."""
        interpreter = self._bound(feeds)
        _told(interpreter.invoke)
        return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]

    def bind(self, feeds: Feeds) -> HostTimed:
        """See Session. `invoke` computes in the calling thread with one thread."""
        return HostTimed(self._bound(feeds).invoke, self._request)

    def _bound(self, feeds: Feeds) -> Any:
        """An interpreter with these inputs, which are copied."""
        key = tuple(tuple(feeds[declared.name].shape) for declared in self.inputs)
        if key not in self._interpreters:
            interpreter = opened(self._model, self._request["threads"])
            self._interpreters[key] = _shaped(interpreter, feeds)
        interpreter = self._interpreters[key]
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], feeds[details["name"]])
        return interpreter


def _told(call: Callable[[], T]) -> T:
    """The result of a call of LiteRT, whose errors become LiteRtError."""
    try:
        return call()
    except (ValueError, RuntimeError) as error:
        raise LiteRtError(" ".join(str(error).split())[:500]) from error


def opened(model: Any, threads: int, *, own: bool = False) -> Any:
    """An interpreter of a file or of bytes; with `own` kernels only, without XNNPACK."""
    chosen = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if own else OpResolverType.AUTO
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": model}
    return _told(lambda: Interpreter(num_threads=threads, experimental_op_resolver_type=chosen, **source))


def _shaped(interpreter: Any, feeds: Feeds) -> Any:
    """The interpreter, ready for inputs of these shapes."""
    for details in interpreter.get_input_details():
        shape = feeds[details["name"]].shape
        if tuple(details["shape"]) != tuple(shape):
            _told(partial(interpreter.resize_tensor_input, details["index"], shape))
    _told(interpreter.allocate_tensors)
    return interpreter


def _input(details: Any) -> Input:
    sizes = [None if size < 0 else int(size) for size in details["shape_signature"]]
    return Input(details["name"], sizes, np.dtype(details["dtype"]).name)


def open_session(model: str, request: Request) -> LiteRtSession:
    """See Runtime. XNNPACK's sums of integers cannot saturate: `exact` changes nothing."""
    return LiteRtSession(model, request)


def optimized(request: Request) -> dict[str, Any]:
    """What each layer is computed in, by its name: {"layers"}. LiteRT computes in the numbers of the file."""
    content = Path(request["model"]).read_bytes()
    opened(content, 1)  # a file that LiteRT does not take has no precisions
    found = [operator for operator in File(content).operators() if operator.layer]
    return {"layers": {f"{one.layer}#{one.number}": one.precision for one in found}}


def profile(request: Request, arrays: Any) -> dict[str, Any]:
    """See Runtime: each operator in a model of its own, less what a model takes that does next to nothing."""
    content = Path(request["model"]).read_bytes()
    shapes = _shapes(content, arrays, request)
    file = File(content)
    operators = list(file.operators())
    share_s = request["profile_s"] / max(1, len(operators))
    least, runs, kernels = float("inf"), 0, {}
    for operator in operators:
        seconds, count = _seconds(file.alone(operator, shapes), request, share_s)
        kernels[_name(operator)] = seconds
        least, runs = min(least, seconds), max(runs, count)
    return {"runs": runs, "kernels": {name: seconds - least for name, seconds in kernels.items()}}


def _name(operator: Operator) -> str:
    return f"{operator.layer or operator.kind}#{operator.number}"


def _shapes(content: bytes, arrays: Any, request: Request) -> dict[int, list[int]]:
    """The shapes of all tensors when inputs of the measured shapes run."""
    interpreter = opened(content, 1, own=True)
    inputs = [_input(details) for details in interpreter.get_input_details()]
    feeds = asked_feeds(inputs, arrays, request)
    _shaped(interpreter, feeds)
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    _told(interpreter.invoke)
    return {
        details["index"]: list(map(int, details["shape"])) for details in interpreter.get_tensor_details()
    }


def _seconds(model: bytes, request: Request, share_s: float) -> tuple[float, int]:
    """Seconds of one inference of a model, the median of several blocks; and how many there were."""
    interpreter = opened(model, request["threads"])
    _told(interpreter.allocate_tensors)
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        values = 4 * rng.standard_normal(details["shape"])
        interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
    blocks: list[float] = []

    def block() -> None:
        started = time.perf_counter()
        for _ in range(_BLOCK):
            interpreter.invoke()
        blocks.append((time.perf_counter() - started) / _BLOCK)

    for _ in range(PROFILE_WARM_UP):
        _told(interpreter.invoke)
    repeated(block, share_s)
    return float(np.median(blocks)), _BLOCK * len(blocks)
