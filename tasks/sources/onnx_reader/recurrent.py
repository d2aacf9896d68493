"""LSTM, GRU and RNN as torch's layers, which have other orders of the gates and two vectors of biases."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ....errors import TaskError
from .graph import Node
from .values import Value

_KINDS: Mapping[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
# Where each gate of torch is in the file: input, forget, cell, output; reset, update, new.
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


class Recurrent(nn.Module):
    """One recurrent layer of the file, in one direction or both."""

    def __init__(self, node: Node, tensors: Mapping[str, np.ndarray]):
        super().__init__()
        weights = [tensors.get(name) for name in node.inputs[1:4]]
        _require_usual(node, weights)
        inner, outer = weights[0], weights[1]
        assert inner is not None and outer is not None
        self.kind, self.directions = node.kind, len(inner)
        biased = len(weights) > 2 and weights[2] is not None
        self.layer = _KINDS[node.kind](
            inner.shape[2], outer.shape[2], bias=biased, bidirectional=self.directions == 2
        )
        for direction in range(self.directions):
            ending = "_reverse" if direction else ""
            self._set(f"weight_ih_l0{ending}", inner[direction])
            self._set(f"weight_hh_l0{ending}", outer[direction])
            if biased:
                first, second = np.split(weights[2][direction], 2)  # type: ignore[index]
                self._set(f"bias_ih_l0{ending}", first)
                self._set(f"bias_hh_l0{ending}", second)

    def forward(self, x: Tensor, *state: Value) -> tuple[Tensor, ...]:
        """T × N × features to T × directions × N × hidden, and the last states, directions × N × hidden."""
        given = [one for one in state if isinstance(one, Tensor)]
        start = (tuple(given) if self.kind == "LSTM" else given[0]) if given else None
        outputs, last = self.layer(x, start)
        steps, batch = outputs.shape[:2]
        outputs = outputs.reshape(steps, batch, self.directions, -1).permute(0, 2, 1, 3)
        return outputs, *(last if isinstance(last, tuple) else (last,))

    def _set(self, name: str, array: np.ndarray) -> None:
        gates = np.split(array, len(_GATES[self.kind]))
        ordered = np.concatenate([gates[index] for index in _GATES[self.kind]])
        getattr(self.layer, name).data = torch.from_numpy(ordered)


def _require_usual(node: Node, weights: list[np.ndarray | None]) -> None:
    """TaskError for what torch's layers do not have."""
    given = node.attributes
    direction = given.get("direction", "forward")
    usual = _ACTIVATIONS[node.kind] * (2 if direction == "bidirectional" else 1)
    activations = [one.decode() if isinstance(one, bytes) else one for one in given.get("activations", usual)]
    unusual = [
        ("weights that are no initializers", None in [None if one is None else 0 for one in weights[:2]]),
        ("the direction 'reverse'", direction == "reverse"),
        ("lengths of its sequences", len(node.inputs) > 4 and bool(node.inputs[4])),
        ("peepholes", len(node.inputs) > 7 and bool(node.inputs[7])),
        ("other activations than usual", activations != usual),
        ("a clip", "clip" in given),
        ("the batch first", bool(given.get("layout"))),
        ("linear_before_reset=0", node.kind == "GRU" and not given.get("linear_before_reset")),
    ]
    for what, here in unusual:
        if here:
            raise TaskError(f"The operator {node} has {what}, which torch's layer lacks.")
