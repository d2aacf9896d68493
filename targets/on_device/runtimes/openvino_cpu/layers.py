"""Which of OpenVINO's kernels computes which layer, in what precision and time.

OpenVINO fuses operations and names a kernel after the last or the first of them. Before a model is compiled,
every operation that computes a layer, and the scaling and bias behind it, is therefore named after the layer
and a number: `conv1#3`.
"""

from __future__ import annotations

import re
from typing import Any, Iterator

COMPUTES = (
    "MatMul",
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
)
FOLLOWS = ("Add", "Subtract", "Multiply")  # with a constant
KERNELS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
BLOCKS = ("u4", "i4")  # of a kernel that unpacks its weights
FACTS = ("layerType", "originalLayersNames", "primitiveType", "runtimePrecision")
FLOATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
WITHOUT_BIAS = "/WithoutBiases"  # how the importer names the product in an ONNX node with a bias
WEIGHT = ".weight"  # in the name of a layer's stored weight
GROUP = "Subgraph"  # several operations in one generated kernel
MARK = re.compile(r"([^,]+?#\d+)(/[^,]*)?")


def mark(model: Any) -> None:
    """Names operations after their ONNX node, or after the weight that they take if it has no name; in
    place.
    """
    operations = model.get_ordered_ops()
    unnamed = {name for op in operations for port in op.outputs() for name in port.get_names()}
    constants = _constants(operations)
    for number, op in enumerate(operations):
        if op.get_type_name() not in COMPUTES:
            continue
        name = op.get_friendly_name().split(WITHOUT_BIAS)[0]
        if name in unnamed or name == op.get_name():
            # A weight of few bits is made of a table and coefficients, too.
            name = min(_stored(op, constants), key=lambda stored: WEIGHT not in stored, default=name)
        op.set_friendly_name(f"{name}#{number}")
        for place, follower in enumerate(_followers(op, constants)):
            follower.set_friendly_name(f"{name}#{number}/{place}")


def _constants(operations: Any) -> set[str]:
    """The names of all operations whose result is known before any input is."""
    constants: set[str] = set()
    for op in operations:
        sources = [value.get_node().get_name() for value in op.input_values()]
        if op.get_type_name() == "Constant" or (sources and constants.issuperset(sources)):
            constants.add(op.get_name())
    return constants


def _stored(op: Any, constants: set[str]) -> Iterator[str]:
    """The names of the stored tensors that an operation's constant inputs are made of, the first of each
    input first.
    """
    for value in op.input_values():
        source = value.get_node()
        if source.get_name() in constants:
            if source.get_type_name() == "Constant":
                yield source.get_friendly_name()
            yield from _stored(source, constants)


def _followers(op: Any, constants: set[str]) -> Iterator[Any]:
    """The operations behind it that scale its result or add to it: they become part of its kernel."""
    while True:
        readers = list(op.output(0).get_target_inputs())
        if len(readers) != 1 or readers[0].get_node().get_type_name() not in FOLLOWS:
            return
        follower = readers[0].get_node()
        others = [value.get_node() for value in follower.input_values()]
        if not any(other.get_name() in constants for other in others):
            return
        yield follower
        op = follower


def precisions(runtime_model: Any) -> dict[str, str]:
    """By marked name, the precision that its kernel computes in: int8 (products of integers), block4,
    float32, bfloat16 …
    """
    by_name: dict[str, str] = {}
    for op in runtime_model.get_ordered_ops():
        facts = {name: value.astype(str) for name, value in op.get_rt_info().items() if name in FACTS}
        kind = facts["layerType"]
        marks = MARK.findall(facts["originalLayersNames"])
        # A group may hold the bias of a layer without its product.
        names = [name for name, follower in marks if kind in KERNELS or (kind == GROUP and not follower)]
        by_name.update(dict.fromkeys(names, _precision(facts["primitiveType"], facts["runtimePrecision"])))
    return by_name


def _precision(kernel: str, inputs: str) -> str:
    """`kernel` ends in what it computes in (`jit_avx2_I8`, `brgemm_avx2_f32`); `inputs` is the narrowest that
    comes in.
    """
    kind = kernel.rpartition("_")[2].lower()
    if kind in ("i8", "u8"):
        return "int8"
    return "block4" if inputs in BLOCKS else FLOATS.get(inputs, FLOATS.get(kind, inputs))


def kernel_sums(request: Any, *, runs: int) -> dict[str, float]:
    """Seconds of each kernel over all `runs` inferences since the model was compiled.

    OpenVINO tells the mean in whole microseconds, cut off: half of one is added.
    """
    executed = [kernel for kernel in request.profiling_info if kernel.status == kernel.status.EXECUTED]
    sums = {}
    for kernel in executed:
        reorder = kernel.node_type == "Reorder"
        name = f"{kernel.node_type} of {kernel.node_name}" if reorder else kernel.node_name
        sums[name] = runs * (kernel.real_time.total_seconds() + 0.5e-6)
    return sums
