"""Writes linear layers that compute in int8 with the range that their inputs have in each call.

ONNX Runtime's `DynamicQuantizeMatMul` (domain com.microsoft) looks for the smallest and the largest input,
rounds all to uint8, takes integer products with an int8 weight, and gives float32:

    s = (max(x, 0) - min(x, 0)) / 255,  y = s · step · (q(x) - z) Q + b

It needs no calibration, follows outliers that come and go, and its neighbours stay float32. Of static int8 it
differs in one pass over the inputs. In a batch all samples share one range.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..export import Template
from ..writer import ModelWriter
from .linear import DOMAIN, import_domain, linear_nodes
from .stored import StoredWeight


def write_dynamic(
    model: onnx.ModelProto, template: Template, layers: Mapping[str, tuple[str, StoredWeight]]
) -> None:
    """Replaces the layers' MatMul and Gemm nodes, in place. `layers` has the weight parameter and its
    integers (out × in) by layer.
    """
    if not layers:
        return
    writer = ModelWriter(model)
    import_domain(model)
    for name, (parameter, weight) in layers.items():
        initializer, nodes = linear_nodes(model, template, parameter, layer=name, precision="dynamic8")
        integers = np.ascontiguousarray(weight.integers.T)
        stored = writer.add_initializer(integers, writer.free_name(f"{name}.weight_q"))
        steps = writer.add_initializer(
            weight.steps.reshape(-1), writer.free_name(f"_d{len(writer.dropped)}s")
        )
        if weight.steps.dtype == np.float16:
            steps = writer.add_node("Cast", [steps], f"{steps}1", to=TensorProto.FLOAT)
        for node in nodes:
            bias = ["", node.input[2]] if len(node.input) > 2 else []  # the zero point of the weight is 0
            inputs = [node.input[0], stored, steps, *bias]
            node.CopyFrom(helper.make_node("DynamicQuantizeMatMul", inputs, list(node.output), domain=DOMAIN))
        writer.dropped.add(initializer)
    writer.finish()
