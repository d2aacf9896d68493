"""Building an engine: one way through TensorRT 8.5 to 11 and TensorRT for RTX. Needs no GPU itself (RTX
builds without one).

A model is built for the shapes that it is measured with, no others. What it computes in is said by the model:
since 10 by strong typing; before, by the flags that it needs, with float32 layers held in float32 beside
float16 ones. Flags are looked up by name, because versions differ: STRONGLY_TYPED is new in 10;
EXPLICIT_BATCH, FP16 and INT8 are gone in 11 and in RTX.
"""

from __future__ import annotations

import time
from typing import Any, Mapping, NamedTuple, Sequence

from ...runtime import RefusedError, Request
from .eight import lines_for, why_unreadable

OPTIONS = {"tf32": "0", "builder_optimization_level": "", "workspace_bytes": ""}
_COMPUTING = ("CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY")
_LOSING_DIGITS = ("REDUCE", "SOFTMAX", "NORMALIZATION")
_TYPED_BY_ITSELF = ("CAST", "IDENTITY", "CONSTANT", "QUANTIZE", "DEQUANTIZE")
_MESSAGES_KEPT = 5


class EngineError(RuntimeError):
    """TensorRT refused a model, or could not build or run it."""


class Shapes(NamedTuple):
    """Sizes of dynamic dimensions: `named` whole inputs first, then `batch` for dimension 0, then `asked`
    ([input, dimension, size]), then those of stored samples.
    """

    batch: int
    named: Mapping[str, Sequence[int]]
    stored: Sequence[Sequence[int]] | None
    asked: Sequence[Sequence[int]] = ()

    @classmethod
    def of(
        cls, request: Request, stored: Sequence[Sequence[int]] | None, asked: Sequence[Sequence[int]] = ()
    ) -> Shapes:
        """What a request asks for; `stored` are the shapes of its samples."""
        batch = request["timing"]["batch"] if "timing" in request else request.get("batch", 1)
        return cls(batch, request.get("shapes") or {}, stored, asked)

    def sizes(self, name: str, shape: Sequence[int], index: int) -> list[int]:
        """The sizes of input `index`, -1 in `shape` replaced. RefusedError when one is not known."""
        if name in self.named:
            return list(self.named[name])
        sizes = list(shape)
        if sizes and sizes[0] < 0:
            sizes[0] = self.batch
        for at, dim, size in self.asked:
            if at == index:
                sizes[dim] = size
        if self.stored is not None and index < len(self.stored):
            stored = self.stored[index]
            dynamic = [axis for axis, size in enumerate(sizes) if size < 0 and axis < len(stored)]
            for axis in dynamic:
                sizes[axis] = stored[axis]
        if any(size < 0 for size in sizes):
            example = ",".join(str(size) if size > 0 else "32" for size in sizes)
            raise RefusedError(
                f"The model's input {name!r} has the dynamic shape {list(shape)}: say its size with --shape "
                f"{name}={example}",
                kind="input",
            )
        return sizes


class Built(NamedTuple):
    """A serialized engine, the timing cache it leaves (None: kept none), seconds it took, and the flags that
    were set.

    `inputs` are name and shape of the model's inputs as it declares them, -1 for a dynamic size; `outputs`
    the names of its outputs. Both are in the model's order, which need not be the engine's.
    """

    plan: bytes
    timings: bytes | None
    seconds: float
    flags: tuple[str, ...]
    inputs: list[Any]
    outputs: list[str]


def logger_of(trt: Any) -> Any:
    """A logger that keeps the last errors (`said()`), and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._lines = [*self._lines, message.strip()][-_MESSAGES_KEPT:]

        def said(self) -> str:
            """The errors since the last call, on one line."""
            lines, self._lines = self._lines, []
            return " ".join(" ".join(lines).split()) or "it says no reason"

    return Log()


def created(kind: Any, log: Any) -> Any:
    """A Builder or Runtime (`kind`). EngineError when there is none: the library does not fit the driver, or
    memory is short.
    """
    try:
        return kind(log)
    except TypeError as error:  # what the binding makes of a null pointer
        raise EngineError(f"TensorRT does not start: {log.said()}") from error


def read_options(request: Request) -> dict[str, str]:
    """The builder's options of a profile's runtime_options, defaults included.

    RefusedError for one that does not exist, or is no number.
    """
    given = request.get("runtime_options") or {}
    if unknown := sorted(set(given) - set(OPTIONS)):
        raise RefusedError(
            f"TensorRT has no runtime option {unknown[0]!r} here: use {', '.join(OPTIONS)} in the target's "
            "runtime_options.",
            kind="input",
        )
    for name, value in given.items():
        if value and not (value in ("0", "1") if name == "tf32" else value.isdecimal()):
            allowed = '"0" or "1"' if name == "tf32" else "a whole number"
            raise RefusedError(
                f"The target's runtime option {name} = {value!r} must be {allowed}.", kind="input"
            )
    return {**OPTIONS, **given}


def build(
    trt: Any,
    log: Any,
    model: str,
    shapes: Shapes,
    options: Mapping[str, str],
    *,
    timings: bytes | None = None,
    capability: tuple[int, int] | None = None,
) -> Built:
    """The engine of an ONNX file. EngineError says what TensorRT refused, RefusedError that it would misread
    the file.

    `timings`: a timing cache to begin with (b"" for a new one; None: use none). `capability` is that of the
    GPU to build for, where it can be said (RTX); without it the engine is for all that the library serves.
    """
    started = time.perf_counter()
    unreadable = why_unreadable(str(trt.__version__), model)
    if unreadable is not None:
        raise RefusedError(f"{unreadable}.", kind="input")
    builder = created(trt.Builder, log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(model):
        first = parser.get_error(0) if parser.num_errors else None
        raise EngineError(
            f"TensorRT cannot read the model: {_hinted(trt, describe(first) if first else log.said())}"
        )
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    declared = [[tensor.name, list(tensor.shape)] for tensor in inputs]
    outputs = [network.get_output(index).name for index in range(network.num_outputs)]
    for index, tensor in enumerate(inputs):
        tensor.shape = tuple(shapes.sizes(tensor.name, tuple(tensor.shape), index))
    config, flags = _configured(trt, builder, network, options, timings=timings, capability=capability)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build the model: {_hinted(trt, log.said())}")
    cache = config.get_timing_cache() if timings is not None else None
    new_timings = bytes(cache.serialize()) if cache is not None else None
    return Built(bytes(plan), new_timings, time.perf_counter() - started, flags, declared, outputs)


def _configured(
    trt: Any,
    builder: Any,
    network: Any,
    options: Mapping[str, str],
    *,
    timings: bytes | None,
    capability: tuple[int, int] | None,
) -> tuple[Any, tuple[str, ...]]:
    """The builder's configuration for a network, and the flags that are set in it; see `build`."""
    config = builder.create_builder_config()
    flags = set_flags(trt, network, config, options)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options["builder_optimization_level"] and hasattr(config, "builder_optimization_level"):  # since 8.6
        config.builder_optimization_level = int(options["builder_optimization_level"])
    if options["workspace_bytes"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options["workspace_bytes"]))
    target = getattr(getattr(trt, "ComputeCapability", None), "SM{}{}".format(*capability or ("", "")), None)
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)
    if timings is not None:
        begun = config.create_timing_cache(timings)
        if begun is None or not config.set_timing_cache(begun, False):  # damaged, or of another driver
            config.set_timing_cache(config.create_timing_cache(b""), False)
    return config, flags


def _hinted(trt: Any, reason: str) -> str:
    """A reason, and what mends it where TensorRT 8 is given integers as weights."""
    lines = lines_for(str(trt.__version__))
    if lines is None or "Int8" not in reason:
        return reason
    return f"{reason} (set {lines} in the target's TOML file)"


def network_flags(trt: Any) -> int:
    """The bits of NetworkDefinitionCreationFlag that this version knows and wants."""
    flags = trt.NetworkDefinitionCreationFlag
    wanted = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(flags, name)]
    return sum(1 << int(getattr(flags, name)) for name in wanted)


def set_flags(trt: Any, network: Any, config: Any, options: Mapping[str, str]) -> tuple[str, ...]:
    """Sets the builder's flags, and returns the names of those that are set and of the kind of typing.

    TF32 is TensorRT's default, and off here unless the profile says otherwise: float32 means float32.
    """
    wanted = ["SPARSE_WEIGHTS"]  # examines weights for the 2:4 pattern; others are left as they are
    if options["tf32"] == "1":
        wanted.append("TF32")
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    typed = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if not typed:
        wanted += _weak_flags(trt, network)
    flags = [name for name in wanted if hasattr(trt.BuilderFlag, name)]
    for name in flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    return (*flags, "STRONGLY_TYPED") if typed else tuple(flags)


def _weak_flags(trt: Any, network: Any) -> list[str]:
    """The flags that the network's own types need; float32 layers beside float16 ones are told to stay
    float32.

    So are float32 sums over an axis, and what computes their terms: squares of more than 256 have no float16.
    Types are followed from tensors that have one by themselves: weak typing calls everything else float32.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    kinds: dict[str, str] = {tensor.name: tensor.dtype.name for tensor in inputs}
    explicit: set[str] = set()  # results of DequantizeLinear: what takes them is for the builder to fuse
    plain = []
    makers: dict[str, Any] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        first = layer.get_input(0).name if layer.num_inputs and layer.get_input(0) is not None else ""
        for number in range(layer.num_outputs):
            output = layer.get_output(number)
            has_type = kind in _TYPED_BY_ITSELF or first not in kinds
            kinds[output.name] = output.dtype.name if has_type else kinds[first]
            if kind == "DEQUANTIZE":
                explicit.add(output.name)
        in_float = kinds.get(first) == "FLOAT"
        if kind in _COMPUTING and in_float and first not in explicit:
            plain.append(layer)
        if kind in _LOSING_DIGITS and in_float and layer.get_output(0).dtype.name == "FLOAT":
            plain += [layer, *([makers[first]] if first in makers else [])]
        if kind == "ELEMENTWISE":
            makers[layer.get_output(0).name] = layer
    present = set(kinds.values())
    wanted = ["INT8"] if explicit else []
    wanted += [flag for kind, flag in (("FP8", "FP8"), ("BF16", "BF16")) if kind in present]
    if "HALF" in present:
        wanted += ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
        for layer in plain:
            layer.precision = trt.DataType.FLOAT
    return wanted


def describe(error: Any) -> str:
    """What a parser's error says: the node, and the reason."""
    node = f"node {error.node()}: " if error.node() >= 0 else ""
    return " ".join(f"{node}{error.desc()}".split())
