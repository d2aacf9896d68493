"""Profile: what a target can do and how it is measured. `profile_file` reads it from TOML."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..files import digest_of
from .measurement import Timer
from .runtimes import Activations, Int8Weights, RuntimeFacts, runtime_facts

_UNMEASURED = frozenset(
    {
        *("name", "description", "python", "store_limit_bytes", "device", "datasheet", "channel_multiples"),
        *("own_file_options", "float_storage_bits", "dynamic_int8", "fused_operators", "same_device_as"),
    }
)
_AS_BEFORE = {"int8_weights": "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheet:
    """What the maker says of the hardware: enough for a roofline, never a measurement.

    `peak_flops` are operations per second by precision, dense, of all threads together (a multiply-add is
    two). `overhead_s` is what starting one kernel costs. `source` names the documents, and what was derived
    or assumed.
    """

    peak_flops: Mapping[str, float]
    memory_bytes_per_s: float
    memory_bytes: int | None = None
    overhead_s: float = 0.0
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A target: runtime, threads, legal precisions and the Q/DQ convention that its runtime is fast with.

    `runtime` is a name in targets/on_device/runtimes/listed.json; `facts` are what is known of it.
    `architecture`: `x86_64` or `aarch64`; None: any. `python`: the interpreter on a device that is reached
    over SSH, `store_limit_bytes`: what files that were sent to it may take there. `int8_operators`,
    `float16_operators`, `fp8_operators`: what has kernels of that precision (of the legal ones).
    `nm_sparsity`: whether 2:4 sparse weights have kernels of their own. `storage_bits`: the widths below 8
    in which an int8 layer's weights can be stored, if the runtime expands them when it loads;
    `float_storage_bits`: the widths, 8 included, for layers that compute in float32. `dynamic_int8`: whether
    it has a kernel for linear layers in int8 that takes the range of its inputs in each call; `block4`: for
    those with block-wise 4-bit weights. `fused_operators`: whether it has
    one for a whole attention, rotary positions and root mean square normalizations. `activations`: the Q/DQ
    convention; with `int8-symmetric` biases stay float32. `int8_weights`: how weights of int8 layers are
    stored; `float32`, in four times the bytes, is what TensorRT 8 reads. `channel_multiple` is what pruning
    steps by. `channel_multiples` are what the kernels of each precision want: the largest of the legal
    precisions is the step, unless a file gives another. `runtime_options` are given to every session of the
    runtime, and belong in whatever deploys an artifact; `own_file_options` are the keys of those that suit
    only files which this package wrote, so that a foreign file is measured without them.
    `memory_limit_bytes` bounds the address space that models may add to a worker; None: no bound.
    `power_mode`: the one to measure in, as the board calls it. `device`: part of the product name that the
    board reports. `same_device_as`: the profile of the same hardware with another runtime
    (alternatives.py).
    """

    name: str
    description: str
    runtime: str
    threads: int
    architecture: str | None = None
    python: str = "python3"
    store_limit_bytes: int = 4 << 30
    opset: int = 21
    precisions: tuple[str, ...] = ("float32", "int8")
    int8_operators: tuple[str, ...] = ("Conv", "Gemm")
    float16_operators: tuple[str, ...] = ("Conv", "Gemm")
    fp8_operators: tuple[str, ...] = ("Conv", "Gemm")
    nm_sparsity: bool = False
    storage_bits: tuple[int, ...] = ()
    float_storage_bits: tuple[int, ...] = ()
    dynamic_int8: bool = False
    block4: bool = False
    fused_operators: bool = False
    activations: Activations = "uint8-asymmetric"
    int8_weights: Int8Weights = "int8"
    channel_multiple: int = 8
    channel_multiples: Mapping[str, int] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    power_mode: str | None = None
    device: str | None = None
    same_device_as: str | None = None
    datasheet: Datasheet | None = None
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    own_file_options: tuple[str, ...] = ()

    @property
    def facts(self) -> RuntimeFacts:
        """What is known of its runtime."""
        return runtime_facts(self.runtime)

    @property
    def timer(self) -> Timer:
        """GPU time by CUDA events; thread CPU time for one thread, which other load hardly disturbs; else
        wall-clock.
        """
        if self.facts.gpu:
            return "cuda-events"
        return "thread-cpu" if self.threads == 1 else "wall"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides a measurement of an artifact of ours, or the artifact; names, datasheet,
        `python` and the store's limit do not.

        A key that is younger than measurements counts only where it differs from what was so before it: they
        stay valid.
        """
        deciding = {key: value for key, value in self.to_json().items() if key not in _UNMEASURED}
        return digest_of({key: value for key, value in deciding.items() if value != _AS_BEFORE.get(key, ...)})

    def operators(self, precision: str) -> tuple[str, ...]:
        """The ONNX operators that run in `float16`, `int8` or `fp8` here; none where the precision is not
        legal.
        """
        by_precision = {
            "int8": self.int8_operators,
            "float16": self.float16_operators,
            "fp8": self.fp8_operators,
        }
        return by_precision[precision] if precision in self.precisions else ()

    def to_json(self) -> dict[str, Any]:
        """All fields as a JSON value."""
        return asdict(self)
