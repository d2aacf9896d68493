"""What a target's TOML file may say: the values of each key, and what contradicts what."""

import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields

from .profile import Datasheet, Profile
from .runtimes import runtime_facts, runtime_folders

_ANY_PRECISION = ("float32", "float16", "int8", "fp8")
_OPERATORS = ("Conv", "Gemm", "MatMul")
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "runtime": tuple(runtime_folders()),
    "architecture": ("x86_64", "aarch64"),
    "activations": ("uint8-asymmetric", "int8-symmetric", "int8-asymmetric"),
    "int8_weights": ("int8", "float32"),
    "nm_sparsity": (False, True),
    "dynamic_int8": (False, True),
    "block4": (False, True),
    "fused_operators": (False, True),
}
_LISTS: Mapping[str, tuple[object, ...]] = {
    "precisions": _ANY_PRECISION,
    "int8_operators": _OPERATORS,
    "float16_operators": _OPERATORS,
    "fp8_operators": _OPERATORS,
    "storage_bits": (6, 4, 3, 2),
    "float_storage_bits": (8, 6, 4, 3, 2),
}
_REFUSES = {
    "uint8-asymmetric": "refuses zero points and integer biases",
    "int8-symmetric": "needs activations with a zero point",
    "int8-asymmetric": "needs no grid behind every int8 layer",
}
# The exporter writes 18 and later; compress/onnx_file/opset.py takes that down by two.
_KNOWN_OPSET = 21  # every onnx that we allow has it
_LEAST = {
    "threads": 1,
    "opset": 16,
    "channel_multiple": 1,
    "memory_limit_bytes": 64 << 20,
    "store_limit_bytes": 1,
}


def unknown_key(values: Mapping[str, object]) -> str | None:
    """What is wrong with the first key that no profile has, or None."""
    allowed = {field.name for field in fields(Profile)} - {"name"} | {"inherits"}
    wrong, datasheet = _unknown(values, allowed), values.get("datasheet")
    if wrong is None and isinstance(datasheet, dict):
        wrong = _unknown(datasheet, {field.name for field in fields(Datasheet)}, place="datasheet.")
    return wrong


def problem(key: str, value: object) -> str | None:
    """What is wrong with a key's value and how to mend it, or None: `must be an integer of at least 1`."""
    if key == "datasheet":
        return _datasheet_problem(value)
    if key in _LEAST:
        good, needed = _whole(value, _LEAST[key]), f"an integer of at least {_LEAST[key]}"
    elif key in _LISTS:
        good = (
            isinstance(value, list)
            and bool(value or key.endswith("storage_bits"))
            and all(entry in _LISTS[key] for entry in value)
        )
        needed = f"a list out of {', '.join(map(str, _LISTS[key]))}"
    elif key in _CHOICES:
        good = any(value == choice and type(value) is type(choice) for choice in _CHOICES[key])
        needed = " or ".join(map(_toml, _CHOICES[key]))
    elif key == "channel_multiples":
        good = isinstance(value, dict) and all(
            name in _ANY_PRECISION and _whole(count, 1) for name, count in value.items()
        )
        needed = f"a table of integers of at least 1 by precision ({', '.join(_ANY_PRECISION)})"
    elif key == "own_file_options":
        good = isinstance(value, list) and all(isinstance(option, str) for option in value)
        needed = "a list of keys of runtime_options"
    elif key == "runtime_options":
        good = isinstance(value, dict) and all(isinstance(option, str) for option in value.values())
        needed = "a table whose values are strings"
    else:
        good, needed = isinstance(value, str) and value != "", "a string that is not empty"
    return None if good else f"must be {needed}"


def contradiction(profile: Profile) -> str | None:
    """Which values, each good by itself, cannot stand together, and what mends it; None when all can."""
    return next(_contradictions(profile), None)


def _contradictions(profile: Profile) -> Iterator[str]:
    yield from _of_the_runtime(profile)
    if profile.opset > _KNOWN_OPSET and profile.opset > (newest := _newest_opset()):
        yield f"opset = {profile.opset} is unknown to the installed onnx: set opset = {newest} or less"
    for what, needed in _opsets_needed(profile).items():
        if profile.opset < needed:
            yield f"{what}, which needs opset {needed} or more: remove it, or set opset = {needed}"


def _of_the_runtime(profile: Profile) -> Iterator[str]:
    runtime, facts = profile.runtime, profile.facts
    if "float32" not in profile.precisions:
        yield "precisions leaves out float32, in which every layer that is not compressed runs: add it"
    for name in profile.precisions:
        if name not in facts.precisions:
            able = [other for other in runtime_folders() if name in runtime_facts(other).precisions]
            remedy = f"remove it, or set runtime to {' or '.join(map(_toml, able))}"
            yield f"precisions has {name}, for which {runtime} has no kernels: {remedy}"
    for option in facts.required_options:
        if profile.runtime_options.get(option.name) not in option.values:
            values = " or ".join(f'"{value}"' for value in option.values)
            yield f"{runtime} {option.otherwise}: set {option.name} = {values} as a runtime option"
    for name in profile.own_file_options:
        if name not in profile.runtime_options:
            yield f"own_file_options has {name}, which is no key of runtime_options: remove it there"
    if profile.nm_sparsity and not facts.nm_sparsity:
        yield f"nm_sparsity is true, but {runtime} has no kernels for 2:4 sparse weights: remove it"
    if profile.int8_weights not in facts.int8_weights:
        needed = f"int8_weights = {profile.int8_weights!r} is what TensorRT 8 needs"
        yield f"{needed}, {runtime} takes integers: remove it"
    if profile.activations not in facts.activations:
        yield f'{runtime} {_refuses(profile)}: set activations = "{facts.activations[0]}"'
    yield from _of_kernels(profile)


def _of_kernels(profile: Profile) -> Iterator[str]:
    """Storage and operators that the runtime does not know."""
    runtime, facts = profile.runtime, profile.facts
    packed = [key for key in ("storage_bits", "float_storage_bits") if getattr(profile, key)]
    if packed and not facts.packed_weights:
        yield f"{runtime} does not expand packed weights: set {packed[0]} = []"
    if profile.dynamic_int8 and not facts.dynamic_int8:
        yield f"{runtime} takes the ranges of int8 from the file: set dynamic_int8 = false"
    if profile.block4 and not facts.block4:
        yield f"{runtime} does not know MatMulNBits: set block4 = false"
    if profile.fused_operators and not facts.fused_operators:
        yield f"{runtime} has no kernels for whole attentions in ONNX: set fused_operators = false"


def _refuses(profile: Profile) -> str:
    """Why the runtime does not take the profile's convention of activations."""
    if profile.facts.activations == ("int8-asymmetric",):
        return "needs a grid behind every int8 layer"
    return _REFUSES[profile.activations]


def _newest_opset() -> int:
    """The newest opset of the installed onnx; beyond it the exporter writes another one, with no error."""
    from onnx.defs import onnx_opset_version  # slow to import, and seldom needed

    return onnx_opset_version()


def _opsets_needed(profile: Profile) -> Mapping[str, int]:
    """The least opset of what the profile allows, by what it says of it."""
    needed = {"precisions has fp8": 19} if "fp8" in profile.precisions else {}
    for key in ("storage_bits", "float_storage_bits"):
        if 4 in getattr(profile, key):
            needed[f"{key} has 4"] = 21  # INT4
    if profile.fused_operators:
        needed["fused_operators is true"] = 18  # from there to 23 the operators mean the same
    return needed


def _unknown(keys: Iterable[str], allowed: Collection[str], *, place: str = "") -> str | None:
    for key in keys:
        if key not in allowed:
            near = difflib.get_close_matches(key, sorted(allowed), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return f"unknown key {place + key!r}: {hint}Allowed are {', '.join(sorted(allowed))}"
    return None


def _datasheet_problem(value: object) -> str | None:
    """A table with figures that can be divided by, and their source."""
    if not isinstance(value, dict):
        return "must be a table"
    peaks, overhead = value.get("peak_flops"), value.get("overhead_s", 0)
    table = f"a table of operations per second by precision ({', '.join(_ANY_PRECISION)})"
    checks = {
        f"peak_flops, {table}": isinstance(peaks, dict)
        and bool(peaks)
        and all(name in _ANY_PRECISION and _positive(flops) for name, flops in peaks.items()),
        "memory_bytes_per_s, a number greater than 0": _positive(value.get("memory_bytes_per_s")),
        "memory_bytes, an integer of at least 1, or no such key": _whole(value.get("memory_bytes", 1), 1),
        "overhead_s in seconds, not negative, or no such key": _positive(overhead) or overhead == 0,
        "source, the name of a document": isinstance(value.get("source"), str) and value["source"] != "",
    }
    return next((f"must have {needed}" for needed, good in checks.items() if not good), None)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _toml(value: object) -> str:
    """A value as TOML writes it, strings in single quotes."""
    return str(value).lower() if isinstance(value, bool) else repr(value)
