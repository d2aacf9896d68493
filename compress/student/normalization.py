"""Batch normalizations of a compressed model: their statistics move by what compression changed.

Let mₒ, vₒ and m, v be the mean and variance of a normalization's input in the original and in the candidate,
on the same samples; then

    mean = running_mean + (m - mₒ),   variance = running_var · (v + ε) / (vₒ + ε)

An unchanged part of the model computes exactly what it did, without noise from the choice of samples, and
statistics that are not those of the training split (frozen ones, of a pretrained backbone) stay such.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.plain.devices import CPU, device_of, full_precision, on
from ...tasks.plain.parts import fixed_batch
from ..graph.devices import on_device
from ..graph.graph import argument, batch_norms, clone, get_tensor, operation, set_tensor, set_training
from ..levels.running import channels_last, mixed_precision
from .distance import Distance
from .training.recover import as_float32

Values = dict[str, Any]  # by node name
Change = Callable[[Tensor], Tensor]
Moments = tuple[Tensor, Tensor]  # mean and variance of each channel
FOREIGN_SHIFT = 0.5  # in standard deviations
FOREIGN_SCALE = 2.0  # of variances


class AdaptedRun(fx.Interpreter):
    """Runs the nodes that the output needs and whose values are not given.

    Batch normalizations are adapted to `moments` of the original, of which `channels` remain (masks by the
    name of the running mean). `read` has the moments of what each one read here. `rounded` changes the values
    of nodes, given ones too. Without `mixed` the arithmetic is float32. Everything is where the module is.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        moments: Mapping[str, Moments],
        channels: Mapping[str, Tensor],
        *,
        rounded: Mapping[str, Change] | None = None,
        mixed: bool = True,
    ):
        super().__init__(module, garbage_collect_values=False)
        self.nodes = list(module.graph.nodes)
        self.moments, self.channels = moments, channels
        self.rounded, self.mixed = rounded or {}, mixed
        self.read: dict[str, Moments] = {}
        self.device = device_of(module)

    def __call__(self, given: Values) -> Any:
        """The outputs as float32. `given` has values of nodes by name, at least of the placeholders."""
        output = self.nodes[-1]
        needed = _needed(output, given)
        self.env = {node: self._changed(node, given[node.name]) for node in self.nodes if node.name in given}
        uses = {node: len(needed.intersection(node.users)) for node in (*needed, *self.env)}
        with torch.no_grad(), mixed_precision(wanted=self.mixed, device=self.device):
            for node in self.nodes[:-1]:
                if node not in needed:
                    continue
                self.env[node] = self.run_node(node)
                for source in node.all_input_nodes:
                    uses[source] -= 1
                    if not uses[source]:
                        del self.env[source]
            return as_float32(fx.node.map_arg(output.args[0], self.env.__getitem__))

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; a batch normalization is adapted to what it reads."""
        return self._changed(n, self._value(n))

    def _changed(self, node: fx.Node, value: Any) -> Any:
        change = self.rounded.get(node.name)
        return value if change is None else change(value)

    def _value(self, n: fx.Node) -> Any:
        if operation(n) != "batch_norm" or argument(n, 3) is None:
            return super().run_node(n)
        x, gamma, beta, mean, variance = (self._tensor(argument(n, index)) for index in range(5))
        ours = self.read[n.name] = _moments(x, alone=fixed_batch(self.module) == 1)
        if n.name in self.moments:
            theirs = remaining(self.moments[n.name], self.channels.get(str(argument(n, 3).target)))
            mean, variance = moved((mean, variance), ours, theirs, epsilon=argument(n, 7))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=argument(n, 7))

    def _tensor(self, node: fx.Node | None) -> Any:
        return None if node is None else self.env[node]


def inputs_by_name(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Values:
    """The inputs by the names of the graph's placeholders, where the module is."""
    names = [node.name for node in module.graph.nodes if node.op == "placeholder"]
    return dict(zip(names, map(channels_last, on(inputs, device_of(module))), strict=True))


def moments_of(
    module: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]], *, mixed: bool = True
) -> list[Mapping[str, Moments]]:
    """For each batch, the moments of what each normalization reads in the original, on the CPU."""
    read: list[Mapping[str, Moments]] = []
    for inputs in batches:
        run = AdaptedRun(module, {}, {}, mixed=mixed)
        run(inputs_by_name(module, inputs))
        read.append(on(run.read, CPU))
    return read


def move_statistics(
    module: fx.GraphModule,
    batches: Iterable[tuple[Tensor, ...]],
    original: Sequence[Mapping[str, Moments]],
    channels: Mapping[str, Tensor],
    *,
    rounded: Mapping[str, Change] | None = None,
    mixed: bool = True,
    device: torch.device = CPU,
) -> None:
    """Moves the statistics of normalizations by their difference to the original's, in place.

    `original` has the original's moments on the same batches, of the normalizations to move; of its channels
    those in `channels` remain.
    `rounded` and `mixed`: see AdaptedRun, which runs on the `device`; all else is on the CPU.
    Raises StageError if a channel has a single value, or values that are not finite.
    """
    ours: list[Mapping[str, Moments]] = []
    placed, remains = on_device(module, device), on(channels, device)
    for inputs, theirs in zip(batches, original, strict=True):
        run = AdaptedRun(placed, on(theirs, device), remains, rounded=rounded, mixed=mixed)
        run(inputs_by_name(placed, inputs))
        ours.append(on(run.read, CPU))
    for node in batch_norms(module):
        if node.name not in ours[0] or node.name not in original[0]:
            continue
        names = [str(argument(node, index).target) for index in (3, 4)]
        statistics = get_tensor(module, names[0]), get_tensor(module, names[1])
        theirs_now = remaining(_average(original, node.name), channels.get(names[0]))
        new = moved(statistics, _average(ours, node.name), theirs_now, epsilon=argument(node, 7))
        for name, tensor in zip(names, new, strict=True):
            _require_finite(tensor, name)
            set_tensor(module, name, tensor)


def restore_statistics(
    norms: Iterable[fx.Node], module: fx.GraphModule, original: fx.GraphModule, channels: Mapping[str, Tensor]
) -> None:
    """Gives normalizations of a module the statistics that they have in the original, of the channels that
    remain (masks by the name of the running mean).
    """
    for node in norms:
        if argument(node, 3) is None:
            continue
        mean, variance = (str(argument(node, index).target) for index in (3, 4))
        theirs = get_tensor(original, mean).detach().clone(), get_tensor(original, variance).detach().clone()
        for name, tensor in zip((mean, variance), remaining(theirs, channels.get(mean)), strict=True):
            set_tensor(module, name, tensor)


def foreign_norms(module: fx.GraphModule, moments: Sequence[Mapping[str, Moments]]) -> Set[str]:
    """The normalizations of the original whose statistics are not those of the samples.

    The median channel's mean is more than FOREIGN_SHIFT standard deviations away, or its variance more than
    FOREIGN_SCALE times another one.
    """
    names = set()
    for node in batch_norms(module):
        if not moments or node.name not in moments[0]:
            continue
        mean, variance = (get_tensor(module, str(argument(node, index).target)) for index in (3, 4))
        measured, epsilon = _average(moments, node.name), argument(node, 7)
        shift = ((measured[0] - mean).abs() / (variance + epsilon).sqrt()).median()
        scale = ((measured[1] + epsilon) / (variance + epsilon)).log().abs().median().exp()
        if float(shift) > FOREIGN_SHIFT or float(scale) > FOREIGN_SCALE:
            names.add(node.name)
    return names


def relearning(module: fx.GraphModule, inputs: tuple[Tensor, ...], distance: Distance) -> float:
    """How far answers go where normalizations take the statistics of these inputs instead of their own."""
    other = clone(module)
    norms = {node.name for node in batch_norms(other)}
    set_training(other, True, frozen={node.name for node in other.graph.nodes} - norms)
    device = device_of(module)
    values = tuple(map(channels_last, on(inputs, device)))
    with torch.no_grad(), full_precision(device):
        return distance.value(as_float32(other(*values)), as_float32(module(*values)))


def remaining(moments: Moments, mask: Tensor | None) -> Moments:
    """The moments of the channels that remain; all without a mask."""
    return moments if mask is None else (moments[0][mask], moments[1][mask])


def moved(statistics: Moments, ours: Moments, theirs: Moments, *, epsilon: float) -> Moments:
    """Mean and variance moved by the difference of the candidate's moments to the original's."""
    mean = statistics[0] + (ours[0] - theirs[0])
    return mean, statistics[1] * ((ours[1] + epsilon) / (theirs[1] + epsilon))


def _average(moments: Sequence[Mapping[str, Moments]], name: str) -> Moments:
    means, variances = zip(*(batch[name] for batch in moments), strict=True)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def _needed(output: fx.Node, given: Values) -> set[fx.Node]:
    """The nodes to run for the output if these values are given."""
    needed, waiting = {output}, [output]
    while waiting:
        new = [
            node for node in waiting.pop().all_input_nodes if node.name not in given and node not in needed
        ]
        needed.update(new)
        waiting.extend(new)
    return needed


def _moments(x: Tensor, *, alone: bool) -> Moments:
    """Mean and variance of each channel (dimension 1), in float32; a value that comes `alone` varies by 0."""
    size = x.shape[1]
    if alone and x.numel() == size:
        return x.reshape(size).float(), torch.zeros(size, device=x.device)
    moments = torch.zeros(size, device=x.device), torch.zeros(size, device=x.device)
    torch.batch_norm_update_stats(x, *moments, 1.0)
    return moments


def _require_finite(tensor: Tensor, name: str) -> None:
    if not torch.isfinite(tensor).all():
        needed = "more training samples than one are needed, with finite values"
        raise StageError(f"the statistics of {name} are not finite: {needed}", stage="reconstruct")
