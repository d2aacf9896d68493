"""The same network on smaller images: its input stays, and a resize stands in front of the first layer.

Convolutions take images of any size. What depends on the size in a traced graph:

- Poolings whose window is the whole plane (`avg_pool2d(x, 8)` on 8 × 8 pixels) have their window as a
  constant: it becomes the new plane.
- Everything else is run once on the smaller image. A network that fails there (a linear layer on flattened
  pixels, a table of positions), whose answers have another shape (segmentation), or that adds up pixels
  (a sum, which means another thing of fewer) cannot be resized, and `ResolutionError` says why.

The resize is bilinear (`Resize` in ONNX, `RESIZE_BILINEAR` in LiteRT): at 0.5 × the mean of two by two
pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .channels import Exclusion
from .graph import argument, clone, operation, shape_of
from .layers import attention_readers
from .tracing.origin import named
from .tracing.trace import dims_of

Resolution = tuple[int, int]  # height, width
_ADDING = frozenset({"sum", "cumsum", "prod", "norm", "linalg_vector_norm"})
_WINDOWS = frozenset({"avg_pool2d", "max_pool2d"})


class ResolutionError(Exception):
    """The network cannot work on such images; the text is a reason without a full stop."""


def all_resized(
    module: fx.GraphModule, wishes: Sequence[float | Resolution]
) -> tuple[dict[Resolution, fx.GraphModule], tuple[Exclusion, ...]]:
    """Copies of a traced model by resolution, the largest first, and what cannot be, with reasons.

    A wish is a height and width, or a share of both.
    """
    possible: dict[Resolution, fx.GraphModule] = {}
    impossible = []
    for wish in wishes:
        name = "smaller images"
        try:
            size = _size_of(wish, _image(module)[1])
            name = f"images of {size[0]} × {size[1]}"
            possible[size] = resized(module, size)
        except ResolutionError as error:
            impossible.append(Exclusion(name=name, reason=str(error)))
    by_pixels = sorted(possible, key=math.prod, reverse=True)
    return {size: possible[size] for size in by_pixels}, tuple(dict.fromkeys(impossible))


def _size_of(wish: float | Resolution, images: Resolution) -> Resolution:
    if isinstance(wish, tuple):
        return wish
    return max(1, round(images[0] * wish)), max(1, round(images[1] * wish))


def resized(module: fx.GraphModule, resolution: Resolution) -> fx.GraphModule:
    """A copy of a traced model that resizes its images first. ResolutionError where that cannot be."""
    _image(module)
    copied = clone(module)
    source, size = _image(copied)
    if not all(1 <= new < old for new, old in zip(resolution, size, strict=True)):
        raise ResolutionError(f"the images have {size[0]} × {size[1]} pixels")
    readers = [*source.users]
    with copied.graph.inserting_after(source):
        small = copied.graph.call_function(
            torch.ops.aten.upsample_bilinear2d.vec, (source, list(resolution), False, None)
        )
    for reader in readers:
        reader.replace_input_with(source, small)
    _Resizing(copied).pass_on()
    copied.graph.lint()
    copied.recompile()
    return copied


def _image(module: fx.GraphModule) -> tuple[fx.Node, Resolution]:
    """The input that is an image, and its size."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    images = [node for node in inputs if len(shape_of(node)) == 4 and _is_float(node)]
    if len(inputs) != 1 or not images:
        raise ResolutionError("the model's only input must be images, N × channels × height × width")
    if dims_of(module)[0].keys() & {2, 3}:
        raise ResolutionError("height or width of the images is free")
    if not any(operation(node) == "conv2d" for node in module.graph.nodes):
        raise ResolutionError("the model has no convolution of images")
    if attention_readers(module):
        raise ResolutionError("the model has attention, which works on a number of patches")
    height, width = shape_of(images[0])[2:]
    return images[0], (height, width)


def _is_float(node: fx.Node) -> bool:
    return bool(node.meta["val"].dtype.is_floating_point)


class _Resizing(fx.Interpreter):
    """Runs the resized graph once; corrects windows and the shapes in `meta`, and finds what does not fit."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.before = {
            node: shape_of(node) for node in module.graph.nodes if isinstance(node.meta.get("val"), Tensor)
        }

    def pass_on(self) -> None:
        """Runs the graph. Raises ResolutionError."""
        source = next(node for node in self.before if node.op == "placeholder")
        with torch.no_grad():
            self.run(torch.zeros(self.before[source], dtype=source.meta["val"].dtype))

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node on the smaller image."""
        if operation(n) in _WINDOWS:
            self._fit_window(n)
        try:
            value = super().run_node(n)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
            raise ResolutionError(f"{named(n)} does not take the smaller images ({reason[:160]})") from error
        if n.op == "output":
            self._require_same_outputs(n)
        elif n.op == "call_function" and isinstance(value, Tensor):
            self._note(n, value)
        elif n.op == "call_function" and isinstance(n.meta.get("val"), list | tuple):
            n.meta["val"] = type(n.meta["val"])(map(_as_meta, value))
        return value

    def _note(self, node: fx.Node, value: Tensor) -> None:
        node.meta["val"] = _as_meta(value)
        if operation(node) in _ADDING and [*value.shape] == self.before[node]:
            for source in node.all_input_nodes:
                if source in self.before and [*self.env[source].shape] != self.before[source]:
                    raise ResolutionError(f"{named(node)} adds up pixels, of which there would be fewer")

    def _fit_window(self, node: fx.Node) -> None:
        """Gives a pooling to one pixel, along either dimension, the window that does the same here."""
        source = argument(node, 0)
        sizes, window = self.before[source][2:], _pair(argument(node, 1))
        strides = _pair(argument(node, 2, ()) or window)
        if any(_pair(argument(node, 3, 0))):
            return
        made = self.before[node][2:]
        now = self.env[source].shape[2:]
        for dim in (0, 1):
            if made[dim] == 1:
                window[dim] = max(1, round(now[dim] * window[dim] / sizes[dim]))
                strides[dim] = max(strides[dim], now[dim])
        node.args = (source, window, strides, *node.args[3:])

    def _require_same_outputs(self, node: fx.Node) -> None:
        for output in node.all_input_nodes:
            before, now = self.before.get(output), [*self.env[output].shape]
            if before is not None and before != now:
                texts = " × ".join(map(str, now[1:])), " × ".join(map(str, before[1:]))
                raise ResolutionError(f"the answers of {named(output)} would be {texts[0]}, not {texts[1]}")


def _pair(value: Any) -> list[int]:
    """A size for both dimensions."""
    pair = [value, value] if isinstance(value, int) else list(value)
    return pair if len(pair) == 2 else pair * 2


def _as_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value
