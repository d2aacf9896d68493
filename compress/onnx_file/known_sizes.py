"""A Resize to a known height and width says its scales, and does not count its way there.

The exporter writes the sizes of all four dimensions, and the free batch makes them a computation: Shape,
Slice, Concat. LiteRT and old opsets have no form for that, and on a small network the nodes take time. A
factor that is rounded may lose a pixel (37 / 49 of 49 pixels is 36.99…): then it is the next larger one.
"""

import numpy as np
import onnx

from .writer import ModelWriter, drop_dead_nodes, initializers_of, keep_initializers

_SIZES = 3  # the input of a Resize


def use_known_sizes(model: onnx.ModelProto) -> None:
    """Gives scales to every Resize whose images have known sizes before and after, in place."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    changed, writer = False, ModelWriter(model)
    for node in model.graph.node:
        if node.op_type != "Resize" or len(node.input) <= _SIZES or not node.input[_SIZES]:
            continue
        before, after = (shapes.get(name, [])[2:] for name in (node.input[0], node.output[0]))
        if not before or len(before) != len(after) or not all((*before, *after)):
            continue
        pairs = zip(before, after, strict=True)
        scales = [1.0, 1.0, *(scale_between(old, new) for old, new in pairs)]
        name = writer.constant(np.array(scales, np.float32), "_r")
        del node.input[1:]
        node.input.extend(["", name])
        changed = True
    if changed:
        drop_dead_nodes(model)
        used = {name for node in model.graph.node for name in node.input}
        keep_initializers(model, initializers_of(model).keys() & used)


def scale_between(before: int, after: int) -> np.float32:
    """The smallest float32 factor that makes `before` pixels `after`, when the product is rounded down."""
    scale = np.float32(after / before)
    while np.floor(np.float32(before) * scale) < after:
        scale = np.nextafter(scale, np.float32(np.inf))
    return scale
