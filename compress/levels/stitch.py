"""Stitching: fills a pruned module with weights from the level database, in milliseconds."""

from collections.abc import Collection, Mapping, Set

import torch
from torch import Tensor, fx

from ..graph.factors import factor_name
from ..graph.graph import (
    LAYERS,
    argument,
    batch_norms,
    get_tensor,
    layer_name,
    layer_nodes,
    operation,
    set_tensor,
)
from .database import Level, LevelDatabase
from .reconstruct import Rounding


def stitch(
    module: fx.GraphModule,
    database: LevelDatabase,
    removed: Set[int],
    bits: Mapping[str, int],
    sparse: Set[str] = frozenset(),
) -> dict[str, Rounding]:
    """Writes reconstructed weights into a pruned module, in place; returns how layers were rounded, by name.

    `removed` are the units that the module lost, `bits` the widths of the layers to round, `sparse` the
    layers to make 2:4. Layers that lost no input and are neither rounded nor sparse keep their weights. Where
    no normalization follows, a layer's bias compensates for the change of its mean output.
    """
    network, roundings = database.network, {}
    normalized = {argument(node, 0) for node in batch_norms(module)}
    layers = dict(layer_nodes(module))
    tied = _read_elsewhere(module)
    for name, node in layers.items():
        if not database.covers(name) or argument(node, 1).target in tied:
            continue
        if factor_name(name) in layers:  # the second factor has other inputs than the layer had
            continue
        channels = network.kept_inputs(name, removed)
        if channels is None and name not in bits and name not in sparse:
            continue
        level = database.level(name, channels=channels, bits=bits.get(name), sparse=name in sparse)
        weight = str(argument(node, 1).target)
        rows = network.kept_outputs(name, removed)
        shape = get_tensor(module, weight).shape
        set_tensor(module, weight, level.weight().flatten(0, 1)[rows].reshape(shape))
        if level.step is not None:
            before = database.level(name, channels=channels).weight().flatten(0, 1)[rows].reshape(shape)
            roundings[name] = Rounding(step=level.step.flatten()[rows], weight=before)
        if (bias := argument(node, 2)) is not None and node not in normalized:
            shift = _mean_change(database, name, channels, level)[rows]
            set_tensor(module, str(bias.target), get_tensor(module, str(bias.target)).detach() + shift)
    return roundings


def shift_running_means(module: fx.GraphModule, database: LevelDatabase, layers: Collection[str]) -> None:
    """Moves the running means behind layers that were rounded, in place, by the change of their mean output
    on the original's inputs.

    That is exact up to the errors of the layers before, and free. Measuring the change in the rounded model
    (../student/normalization.py) costs passes over the samples, and its own noise is larger than what
    rounding to 8 bits does.
    Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
    section 4.2.
    """
    for node in batch_norms(module):
        layer = argument(node, 0)
        if operation(layer) not in LAYERS or argument(layer, 1).op != "get_attr":
            continue
        name, running_mean = layer_name(str(argument(layer, 1).target)), argument(node, 3)
        if name not in layers or running_mean is None or not database.covers(name):
            continue
        weight = get_tensor(module, str(argument(layer, 1).target)).detach()
        original = database.level(name).weight()
        change = weight.reshape(original.shape) - original
        shift = torch.einsum("grc,gc->gr", change, database.moments.mean(name)).flatten()
        target = str(running_mean.target)
        set_tensor(module, target, get_tensor(module, target).detach() + shift)


def _read_elsewhere(module: fx.GraphModule) -> set[str]:
    """Parameters that not only layers read, such as the table of an embedding tied to a classifier."""
    names = set()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            for user in node.users:
                if operation(user) not in LAYERS or argument(user, 1) is not node:
                    names.add(str(node.target))
    return names


def _mean_change(database: LevelDatabase, layer: str, channels: Tensor | None, level: Level) -> Tensor:
    """E[W x] - E[Ŵ x] of every row of the original layer."""
    original = database.level(layer).weight()
    mean = database.moments.mean(layer)
    remaining = mean
    if channels is not None:
        taps = original.shape[-1] // next(
            one.weight_shape[1] for one in database.network.layers if one.name == layer
        )
        remaining = mean[:, (channels[:, None] * taps + torch.arange(taps)).reshape(-1)]
    before = torch.einsum("grc,gc->gr", original, mean)
    after = torch.einsum("grc,gc->gr", level.weight(), remaining)
    return (before - after).flatten()
