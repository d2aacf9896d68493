"""Which precision levels a target allows, layer by layer, and in words why it rules out the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...compress.levels.sparse import sparse_refusal
from ...compress.recipe import BITS, BLOCK, SPARSE, Precision
from ...profiles import Profile

if TYPE_CHECKING:
    from ...compress.graph.layers import Layer

_OPERATORS = {"conv": "Conv", "linear": "Gemm"}
_LAYERS = {"Conv": "convolutions", "Gemm": "linear layers"}
_PACKED: tuple[Precision, ...] = ("int6", "int4", "int3", "int2")
_STORED: tuple[Precision, ...] = ("w8", "w6", "w4", "w3", "w2")
_EXACT_SUMS = "session.x64quantprecision"
_DENSE: tuple[Precision, ...] = ("float16", "fp8", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOutLevels:
    """Precision levels that no layer (or no layer of some kind) may have on a target, and why."""

    levels: tuple[str, ...]
    reason: str


def legal_precisions(layer: "Layer", profile: Profile) -> tuple[Precision, ...]:
    """The layer's precisions on the target, float32 first; those that only store other bits come last."""
    computed = () if layer.float_only else _computed(layer, profile)
    stored = [name for name in _STORED if BITS[name] in profile.float_storage_bits and not layer.unstorable]
    return "float32", *computed, *stored


def _computed(layer: "Layer", profile: Profile) -> list[Precision]:
    """The precisions other than float32 that the layer may compute in, or expands in every inference."""
    levels: list[Precision] = []
    operator = _OPERATORS[layer.kind]
    dense = [name for name in _DENSE if operator in profile.operators(name)]
    refused = _is_read_too_often(layer, profile)
    if refused:
        dense = [name for name in dense if name != "int8"]
    levels += dense
    if profile.nm_sparsity and not sparse_refusal(layer):
        sparse: dict[Precision, Precision] = {"float16": "float16_24", "int8": "int8_24"}
        levels += [sparse[name] for name in dense if name in sparse]
    if "int8" in levels:
        levels += [name for name in _PACKED if BITS[name] in profile.storage_bits]
    if layer.kind == "linear" and profile.dynamic_int8 and not refused:
        levels.append("dynamic8")
    if layer.kind == "linear" and profile.block4 and layer.weight_shape[1] % BLOCK == 0:
        levels.append("block4")
    return levels


def float32_reason(layer: "Layer", profile: Profile) -> str | None:
    """Why the layer can be neither float16 nor fp8 nor int8 on the target, nor its weights be stored in
    fewer bits; None where one of these can be.
    """
    if set(legal_precisions(layer, profile)) - {"float32", "block4"}:
        return None
    if layer.float_only:
        return layer.float_only
    if _is_read_too_often(layer, profile):
        return (
            f"it is called {layer.uses} times, and with {_EXACT_SUMS} ONNX Runtime loads no int8 weight "
            "that is read more than once"
        )
    others = [name for name in profile.precisions if name != "float32"]
    if not others:
        return f"target '{profile.name}' runs no int8"
    return f"target '{profile.name}' runs {_OPERATORS[layer.kind]} in float32 only"


def _is_read_too_often(layer: "Layer", profile: Profile) -> bool:
    """Whether several nodes would read one int8 weight where ONNX Runtime (1.32) refuses such files ("Attempt
    to replace the existing tensor").
    """
    return layer.uses > 1 and profile.runtime_options.get(_EXACT_SUMS) == "1"


def ruled_out_levels(profile: Profile) -> tuple[RuledOutLevels, ...]:
    """Every level that the target does not have, with its reason, whatever the model."""
    return tuple(_ruled_out(profile))


def _ruled_out(profile: Profile) -> Iterator[RuledOutLevels]:
    runtime, able = profile.facts.title, profile.facts.precisions
    if foreign := tuple(name for name in _DENSE if name not in able):
        yield RuledOutLevels(levels=foreign, reason=f"{runtime} computes in {_listed(able)} only")
    for precision in _DENSE:
        operators = profile.operators(precision)
        if precision in able and not operators:
            kind = "tensor cores" if profile.facts.gpu else "kernels"
            yield RuledOutLevels(
                levels=(precision,), reason=f"target '{profile.name}' has no {precision} {kind}"
            )
        elif precision in able and (lacking := [_LAYERS[name] for name in _LAYERS if name not in operators]):
            reason = f"not for {_listed(lacking)}, which run in float32 there"
            yield RuledOutLevels(levels=(precision,), reason=reason)
    if not profile.nm_sparsity:
        yield RuledOutLevels(
            levels=tuple(sorted(SPARSE)),
            reason=f"target '{profile.name}' has no kernels for 2:4 sparse weights",
        )
    if packed := tuple(name for name in _PACKED if BITS[name] not in profile.storage_bits):
        reason = f"{runtime} does not expand packed weights"
        if profile.facts.packed_weights:
            reason = f"the profile of target '{profile.name}' leaves them out"
        yield RuledOutLevels(levels=packed, reason=reason)
    if stored := tuple(name for name in _STORED if BITS[name] not in profile.float_storage_bits):
        reason = f"{runtime} would expand float32 weights in every inference"
        if profile.facts.packed_weights:
            reason = f"the profile of target '{profile.name}' leaves them out"
        yield RuledOutLevels(levels=stored, reason=reason)
    if not profile.dynamic_int8:
        yield RuledOutLevels(
            levels=("dynamic8",), reason=f"target '{profile.name}' takes the ranges of int8 from the file"
        )
    if not profile.block4:
        yield RuledOutLevels(
            levels=("block4",), reason=f"target '{profile.name}' has no kernel for layers with 4-bit weights"
        )


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
