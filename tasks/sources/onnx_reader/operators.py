"""The operators that can be followed, by their names in ONNX."""

import math
import operator
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from . import arithmetic, layers, shapes
from .arithmetic import binary, of_two_tensors, reduction, softmax, unary
from .values import Operator

RECURRENT = ("LSTM", "GRU", "RNN")
IDENTITIES = ("Identity", "Dropout")
# All inputs but the first are numbers, also where an initializer has one dimension.
NUMBERS_BEHIND = frozenset({"Resize", "Upsample", "Clip", "Pad", "Reshape", "Expand", "Slice", "Tile"})

_ARITHMETIC: Mapping[str, Operator] = {
    "Add": binary(operator.add),
    "Sub": binary(operator.sub),
    "Mul": binary(operator.mul),
    "Sum": binary(operator.add),
    "Div": binary(arithmetic.quotient),
    "Pow": binary(operator.pow),
    "Mod": arithmetic.remainder,
    "Max": binary(max, of_two_tensors(torch.maximum)),
    "Min": binary(min, of_two_tensors(torch.minimum)),
    "Equal": binary(operator.eq),
    "Less": binary(operator.lt),
    "LessOrEqual": binary(operator.le),
    "Greater": binary(operator.gt),
    "GreaterOrEqual": binary(operator.ge),
    "And": binary(lambda a, b: a and b, of_two_tensors(torch.logical_and)),
    "Or": binary(lambda a, b: a or b, of_two_tensors(torch.logical_or)),
    "Xor": binary(operator.ne, of_two_tensors(torch.logical_xor)),
    "Not": unary(torch.logical_not, operator.not_),
    "Neg": unary(torch.neg, operator.neg),
    "Abs": unary(torch.abs, abs),
    "Sqrt": unary(torch.sqrt, lambda one: one**0.5),
    "Reciprocal": unary(torch.reciprocal, lambda one: 1 / one),
    "Floor": unary(torch.floor, math.floor),
    "Ceil": unary(torch.ceil, math.ceil),
    "Round": unary(torch.round),
    "Sign": unary(torch.sign),
    "Exp": unary(torch.exp),
    "Log": unary(torch.log),
    "Sin": unary(torch.sin),
    "Cos": unary(torch.cos),
    "Erf": unary(torch.erf),
    "IsNaN": unary(torch.isnan),
    "Cast": arithmetic.cast,
    "CastLike": arithmetic.cast_like,
    "Where": arithmetic.where,
    "Clip": arithmetic.clip,
    "CumSum": arithmetic.cumulative,
    "Trilu": arithmetic.eye_of,
    "ArgMax": arithmetic.extreme(torch.argmax),
    "ArgMin": arithmetic.extreme(torch.argmin),
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keep), sum),
    "ReduceMax": reduction(lambda x, axes, keep: x.amax(axes, keep), max),
    "ReduceMin": reduction(lambda x, axes, keep: x.amin(axes, keep), min),
    "ReduceProd": reduction(arithmetic.product, math.prod),
    "ReduceL1": reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": reduction(lambda x, axes, keep: x.norm(2, axes, keep)),
    "ReduceSumSquare": reduction(lambda x, axes, keep: x.square().sum(axes, keep)),
    "ReduceLogSumExp": reduction(lambda x, axes, keep: x.logsumexp(axes, keep)),
}
_ACTIVATIONS: Mapping[str, Operator] = {
    "Relu": unary(F.relu),
    "Sigmoid": unary(torch.sigmoid),
    "Tanh": unary(torch.tanh),
    "Softplus": unary(F.softplus),
    "Softsign": unary(F.softsign),
    "Mish": unary(F.mish),
    "HardSwish": unary(F.hardswish),
    "HardSigmoid": arithmetic.hard_sigmoid,
    "Gelu": arithmetic.gelu,
    "Swish": lambda node, x: (
        F.silu(x)
        if node.attributes.get("alpha", 1.0) == 1
        else x * torch.sigmoid(x * node.attributes["alpha"])
    ),
    "Elu": lambda node, x: F.elu(x, node.attributes.get("alpha", 1.0)),
    "Celu": lambda node, x: F.celu(x, node.attributes.get("alpha", 1.0)),
    "Selu": unary(F.selu),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.attributes.get("alpha", 0.01)),
    "PRelu": arithmetic.parametric,
    "Softmax": softmax(torch.softmax),
    "LogSoftmax": softmax(torch.log_softmax),
}
_SHAPES: Mapping[str, Operator] = {
    "Shape": shapes.shape,
    "Size": shapes.size,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Unsqueeze": shapes.unsqueeze,
    "Squeeze": shapes.squeeze,
    "Concat": shapes.concat,
    "Gather": shapes.gather,
    "GatherElements": shapes.gather_elements,
    "GatherND": shapes.gather_nd,
    "ScatterND": shapes.scatter_nd,
    "Slice": shapes.slices,
    "Split": shapes.split,
    "Transpose": shapes.transpose,
    "Expand": shapes.expand,
    "ConstantOfShape": shapes.constant_of_shape,
    "Range": shapes.numbers_in_range,
    "Tile": shapes.tile,
    "Pad": shapes.pad,
    "DepthToSpace": shapes.depth_to_space,
    "SpaceToDepth": shapes.space_to_depth,
    "TopK": shapes.top,
    "Resize": shapes.resize,
    "Upsample": shapes.resize,
}
_LAYERS: Mapping[str, Operator] = {
    "Conv": layers.convolution,
    "ConvTranspose": layers.transposed_convolution,
    "MaxPool": layers.max_pool,
    "AveragePool": layers.average_pool,
    "GlobalAveragePool": layers.global_pool(average=True),
    "GlobalMaxPool": layers.global_pool(average=False),
    "BatchNormalization": layers.batch_norm,
    "InstanceNormalization": layers.instance_norm,
    "LayerNormalization": layers.layer_norm,
    "RMSNormalization": layers.rms_norm,
    "GroupNormalization": layers.group_norm,
    "LRN": layers.local_response_norm,
    "MatMul": layers.product,
    "Gemm": layers.general_product,
    "Einsum": layers.einsum,
}
OPERATORS: Mapping[str, Operator] = {**_ARITHMETIC, **_ACTIVATIONS, **_SHAPES, **_LAYERS}
