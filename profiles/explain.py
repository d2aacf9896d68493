"""A profile in words, for `targets show`: what each fact means for a search on it."""

import textwrap
from collections.abc import Iterator, Sequence

from ..text.printable import printable
from .address import TargetAddress
from .profile import Datasheet, Profile
from .units import format_latency, format_size

_WIDTH = 118
_LABEL = 16
_LAYERS = {"Conv": "convolutions", "Gemm": "linear layers", "MatMul": "matrix products"}
_TIMERS = {
    "thread-cpu": "CPU time of its one thread, which other load hardly disturbs",
    "wall": "wall-clock time: several threads have no other, so nothing else may run meanwhile",
    "cuda-events": "GPU time between CUDA events; the time that the host takes to start an inference is kept "
    "apart",
}
_CONVENTIONS = {
    "uint8-asymmetric": "uint8 activations with a zero point, int8 weights by channel, int32 biases",
    "int8-asymmetric": "int8 activations with a zero point, also behind every int8 layer, int8 weights by "
    "channel, int32 biases",
    "int8-symmetric": "int8 activations without a zero point, int8 weights by channel, float32 biases: "
    "TensorRT refuses others",
}
_FLOAT_WEIGHTS = "; int8 weights are stored in float32, in four times the bytes, for TensorRT 8"
_DOT_PRODUCTS = (
    "at its best with int8 dot products (VNNI, AMX; SDOT on Arm), which `targets doctor` looks for"
)
_SATURATES = "x86 without them saturates sums, see target cpu-avx2"


def explain(profile: Profile, address: TargetAddress) -> str:
    """All facts of a target in words, a paragraph each, for a terminal."""
    paragraphs = [f"{profile.name}: {profile.description}", ""]
    for label, text in _facts(profile, address):
        paragraphs += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{label:{_LABEL}}",
            subsequent_indent=" " * _LABEL,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(map(printable, paragraphs))


def _facts(profile: Profile, address: TargetAddress) -> Iterator[tuple[str, str]]:
    """Label and text of each fact."""
    yield "Where", _place(profile, address)
    threads = "" if profile.facts.gpu else f", {_count(profile.threads, 'thread')}"
    yield "Runtime", f"{profile.facts.title}{threads}; ONNX opset {profile.opset}"
    if profile.runtime_options:
        yield "Options", "; ".join(f"{key} = {value}" for key, value in profile.runtime_options.items())
    yield "Measured by", _TIMERS[profile.timer]
    for number, text in enumerate(_precisions(profile)):
        yield "Precisions" * (number == 0), text
    if profile.storage_bits:
        bits = _listed([str(bits) for bits in sorted(profile.storage_bits)])
        yield (
            "Fewer bits",
            f"weights of {bits} bits are stored packed, expanded when the model loads, and computed in int8",
        )
    if profile.float_storage_bits:
        bits = _listed([str(bits) for bits in sorted(profile.float_storage_bits)])
        yield (
            "Stored bits",
            f"weights of {bits} bits are stored packed, expanded when the model loads, and run in float32",
        )
    if profile.dynamic_int8:
        yield (
            "Dynamic int8",
            "linear layers may take the range of their inputs in each call: no calibration, for transformers",
        )
    if profile.block4:
        yield (
            "block4",
            "linear layers with float32 activations and 4-bit weights, a scale for every 32: small, seldom "
            "faster",
        )
    if profile.fused_operators:
        yield (
            "Fused",
            "attention, rotary positions and root mean square normalizations run as one kernel each",
        )
    yield (
        "Q/DQ convention",
        _CONVENTIONS[profile.activations] + _FLOAT_WEIGHTS * (profile.int8_weights == "float32"),
    )
    yield "Channels", _channels(profile)
    if profile.memory_limit_bytes is not None:
        yield "Memory", f"a model may add at most {format_size(profile.memory_limit_bytes)} to its process"
    if profile.power_mode is not None:
        mode = f"{profile.power_mode} is the one to measure in, which --set-clocks sets"
        yield (
            "Power mode",
            f"{mode}; a measurement records the board's own, and `targets doctor` compares the two",
        )
    if profile.datasheet is not None:
        yield "Datasheet", _datasheet(profile.datasheet)
        yield "Source", profile.datasheet.source
    yield "Latency", _latency(profile)


def _place(profile: Profile, address: TargetAddress) -> str:
    facts = f", {profile.architecture}" * (profile.architecture is not None)
    facts += f", called {profile.device!r} by its system" * (profile.device is not None)
    if address.on_cluster:
        return f"the node of a Ray cluster with the resource {address.resource}{facts}"
    if not address.local:
        return f"{address.place}{facts}; over SSH, with its {profile.python}"
    if profile.device is None:
        return f"this machine{facts}; another one over SSH as {address.profile}@user@host"
    return f"a board{facts}; over SSH as {address.profile}@user@host, without an address this machine"


def _precisions(profile: Profile) -> Iterator[str]:
    yield "float32: every layer"
    for precision in profile.precisions:
        if precision != "float32":
            layers = _listed([_LAYERS[name] for name in profile.operators(precision)])
            yield f"{precision}: {layers}{_note(profile) if precision == 'int8' else ''}"
    if profile.nm_sparsity:
        sparse = [f"{name}_24" for name in ("float16", "int8") if name in profile.precisions]
        yield f"{_listed(sparse)}: the same with 2 of 4 weights zero, which has kernels of its own"


def _note(profile: Profile) -> str:
    """What int8 needs of a CPU."""
    if profile.facts.gpu:
        return ""
    option = profile.facts.exact_sums_option
    inexact = option is not None and option not in profile.runtime_options
    return f"; {_DOT_PRODUCTS}" + f"; {_SATURATES}" * (inexact and profile.architecture != "aarch64")


def _channels(profile: Profile) -> str:
    text = f"pruning leaves multiples of {profile.channel_multiple}"
    if not profile.channel_multiples:
        return text
    wanted = [
        f"{count} in {precision}"
        for precision, count in profile.channel_multiples.items()
        if precision in profile.precisions
    ]
    return f"{text}; kernels are at their best with multiples of {_listed(wanted)}"


def _datasheet(sheet: Datasheet) -> str:
    peaks = [f"{flops / 1e12:.3g} in {precision}" for precision, flops in sheet.peak_flops.items()]
    size = "" if sheet.memory_bytes is None else f"{sheet.memory_bytes / 1024**3:.4g} GB of "
    return (
        f"at most {_listed(peaks)} (10^12 operations a second, dense), {size}memory at "
        f"{sheet.memory_bytes_per_s / 1e9:.4g} GB/s, "
        f"{format_latency(sheet.overhead_s)} to start a kernel"
    )


def _latency(profile: Profile) -> str:
    if profile.datasheet is None:
        return "always measured; predicted only from a table that `targets calibrate` made"
    return (
        "measured; without the device --allow-predicted takes a calibrated table, else these figures, "
        "and marks it with ~"
    )


def _listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
