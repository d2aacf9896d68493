"""Emitter: writes the operators of a LiteRT model, and keeps each ONNX value in the forms that they need.

A value has a layout, as ONNX has it or with the channels last (`Form.last`: N, D…, C in place of N, C, D…),
and is float or int8 on a grid. Layers and pooling want and make channels last; what comes out of the model
and what counts dimensions wants ONNX's order. A form that is missing is made of one that is there, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from ...errors import StageError
from .flat import FlatModel, Grid
from .graph import OnnxGraph, Shape, StoredConstant


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a value is stored: channels last or not, and the grid of its integers (None: float)."""

    last: bool = False
    grid: Grid | None = None


@dataclass(slots=True, kw_only=True)
class Value:
    """An ONNX value: its shape in ONNX's order, and its tensors by form, the first one first."""

    shape: Shape
    dtype: str = "float32"
    tensors: dict[Form, int] = field(default_factory=dict)
    least: float = -np.inf  # no number in it is smaller

    @property
    def native(self) -> Form:
        """The form in which it was made."""
        return next(iter(self.tensors))


class UnsupportedError(StageError):
    """What LiteRT has no operator for, or this writer no rule."""

    def __init__(self, message: str):
        super().__init__(message, stage="build")


class Emitter:
    """Writes into `flat` what the rules say; `values` are those of `graph` that exist already."""

    def __init__(self, graph: OnnxGraph):
        self.graph = graph
        self.flat = FlatModel()
        self.values: dict[str, Value] = {}
        self.done: set[int] = set()  # nodes that were written together with an earlier one, by id
        self._labels: dict[str, str] = {}

    def value(self, name: str) -> Value:
        """A value that exists; a constant becomes one."""
        if name not in self.values:
            array = self.graph.array(name)
            if array is None:
                raise UnsupportedError(f"the value {name!r} comes from nowhere")
            self.values[name] = Value(shape=array.shape, dtype=array.dtype.name)
            self.values[name].tensors[Form()] = self.flat.constant(_plain(array))
        return self.values[name]

    def tensor(self, name: str, form: Form) -> int:
        """The tensor of a value in a form."""
        return self.in_form(self.value(name), form)

    def in_form(self, value: Value, form: Form) -> int:
        """The tensor of a value in a form, made when it is missing."""
        if len(value.shape) < 3 or value.dtype not in ("float32", "int8"):
            form = replace(form, last=False)
        if form in value.tensors:
            return value.tensors[form]
        source = self._nearest(value, form)
        if source.grid != form.grid:
            made = self._regridded(value, source, form)
        else:
            made = self._turned(value, source)
        value.tensors[form] = made
        return made

    def make(
        self, name: str, shape: Shape, form: Form, *, label: str = "", dtype: str = "float32"
    ) -> tuple[Value, int]:
        """A new value, and its tensor, which an operator is going to write."""
        value = Value(shape=shape, dtype=dtype)
        form = replace(form, last=form.last and len(shape) > 2)
        tensor = self.flat.tensor(
            in_layout(shape, last=form.last), "int8" if form.grid else dtype, name=label, grid=form.grid
        )
        value.tensors[form] = tensor
        self.values[name] = value
        return value, tensor

    def label(self, node: onnx.NodeProto) -> str:
        """The name of the layer that a node calls; only the first of several calls has it in ONNX."""
        return self._labels.setdefault(node.input[1], node.name)

    def rename(self, name: str, like: str) -> None:
        """Another name for a value."""
        self.values[name] = self.value(like)

    def shape_of(self, name: str) -> Shape:
        """A value's shape. UnsupportedError where it is not known."""
        if name in self.values:
            return self.values[name].shape
        shape = self.graph.shape(name)
        if shape is None:
            raise UnsupportedError(f"the shape of {name!r} is not known")
        return shape

    def reshape(self, tensor: int, shape: Shape, output: int) -> None:
        """Writes a RESHAPE to a shape with at most one size that is only known when it runs."""
        sizes = [-1 if size is None else size for size in shape]
        if sizes.count(-1) > 1:
            raise UnsupportedError(f"more than one size of the shape {shape} is only known when it runs")
        new = self.flat.constant(np.array(sizes, np.int32))
        self.flat.operator("RESHAPE", [tensor, new], [output], options="ReshapeOptions", newShape=sizes)

    def integers(self, values: Sequence[int]) -> int:
        """A constant of int32."""
        return self.flat.constant(np.array(values, np.int32))

    def stored(self, constant: StoredConstant | np.ndarray, order: Sequence[int] | None = None) -> int:
        """A float32 weight, with its dimensions in another order: stored as float32, or as integers that
        LiteRT expands when it loads the file.
        """
        if isinstance(constant, np.ndarray):
            return self.flat.constant(np.asarray(_ordered(constant, order), np.float32))
        axis = list(order).index(constant.axis) if order is not None else constant.axis
        integers = _ordered(constant.integers, order)
        steps = tuple(map(float, constant.steps))
        source = self.flat.constant(integers, grid=Grid(scale=steps, axis=axis))
        made = self.flat.tensor(integers.shape, "float32")
        self.flat.operator("DEQUANTIZE", [source], [made], options="DequantizeOptions")
        return made

    def _nearest(self, value: Value, form: Form) -> Form:
        """The form that a missing one is made of: one of the same layout, if there is."""
        same = [there for there in value.tensors if there.last == form.last]
        return (same or list(value.tensors))[0]

    def _regridded(self, value: Value, source: Form, form: Form) -> int:
        kind = "DEQUANTIZE" if form.grid is None else "QUANTIZE"
        if source.last != form.last:  # first the layout, where integers are smaller
            self.in_form(value, replace(source, last=form.last))
            source = replace(source, last=form.last)
        dtype = value.dtype if form.grid is None else "int8"
        made = self.flat.tensor(in_layout(value.shape, last=form.last), dtype, grid=form.grid)
        options = "DequantizeOptions" if form.grid is None else "QuantizeOptions"
        self.flat.operator(kind, [value.tensors[source]], [made], options=options)
        return made

    def _turned(self, value: Value, source: Form) -> int:
        last = not source.last
        shape = in_layout(value.shape, last=last)
        made = self.flat.tensor(shape, "int8" if source.grid else value.dtype, grid=source.grid)
        moves_nothing = sum(size != 1 for size in value.shape[1:]) <= 1 or value.shape[1] == 1
        if moves_nothing and shape.count(None) <= 1:
            self.reshape(value.tensors[source], shape, made)
            return made
        order = self.integers(order_of(len(shape), last=last))
        self.flat.operator("TRANSPOSE", [value.tensors[source], order], [made], options="TransposeOptions")
        return made


def order_of(rank: int, *, last: bool) -> list[int]:
    """The order of dimensions that puts channels last, or back."""
    return [0, *range(2, rank), 1] if last else [0, rank - 1, *range(1, rank - 1)]


def in_layout(shape: Shape, *, last: bool) -> Shape:
    """A shape in ONNX's order as it is stored."""
    return tuple(shape[dim] for dim in order_of(len(shape), last=True)) if last else shape


def dim_in_layout(dim: int, rank: int, *, last: bool) -> int:
    """Where a dimension of ONNX's order is stored."""
    return order_of(rank, last=True).index(dim % rank) if last else dim % rank


def unsupported(node: onnx.NodeProto, why: str = "") -> UnsupportedError:
    """The error of a node."""
    place = f" ({node.name})" if node.name else ""
    return UnsupportedError(
        f"LiteRT files cannot have the operator {node.op_type}{place}{why and ': ' + why}"
    )


def _ordered(array: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    return np.ascontiguousarray(array if order is None else array.transpose(order))


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (np.float64, np.float16) else array
