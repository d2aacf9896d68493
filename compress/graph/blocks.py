"""Residual blocks: finds them, and removes them from the graph.

A block is the branch of a sum `shortcut + branch(x)` whose shortcut starts from the same tensor x: the
identity, a padded or sampled copy, or a projection with a layer of its own. Without the branch the shortcut
takes the place of the sum, as in stochastic depth (Huang et al., "Deep Networks with Stochastic Depth", 2016,
equation 2 with b = 0). No shape changes, before or after pruning, since the operands of a sum share their
channels.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from .graph import layer_name, operation, weight_nodes

_IDEMPOTENT = frozenset({"relu", "relu6"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The branch of a residual sum: operand `branch` (0 or 1) of `sum_node`.

    `layers` are removed together with the block.
    """

    name: str
    layers: tuple[str, ...]
    sum_node: str
    branch: int


def find_blocks(module: fx.GraphModule) -> tuple[Block, ...]:
    """The removable residual blocks, in order of execution; names are unique.

    A branch reads one tensor, which the shortcut reads too; others only if no layer stands before them (a
    padding mask, a bias of positions). Nothing but the sum reads what the branch computes, and the branch has
    a layer that shares its weight with no other. If all blocks together held every layer of the model, a
    container of others is left out, or else the first ones.
    """
    layers_of = {node: _layers_at(node) for node in module.graph.nodes}
    computed = _computed_from_inputs(module)
    blocks: list[Block] = []
    for node in module.graph.nodes:
        block = _block(node, layers_of, computed)
        if block is not None:
            blocks.append(block)
    return _with_unique_names(_leaving_a_layer(module, blocks, layers_of))


def _layers_at(node: fx.Node) -> tuple[str, ...]:
    return tuple(layer_name(str(weight.target)) for weight in weight_nodes(node))


def remove_blocks(module: fx.GraphModule, blocks: Iterable[Block]) -> dict[str, str]:
    """Removes the branches of `blocks`, nodes and parameters, in place; each sum becomes its shortcut.

    Returns by replaced node the node that takes its place, in the order of replacement. A block inside a
    removed one goes with it. A ReLU right behind a removed sum goes too if the shortcut comes out of a ReLU.
    """
    replaced: dict[str, str] = {}
    for block in blocks:
        total = next((node for node in module.graph.nodes if node.name == block.sum_node), None)
        if total is not None:
            replaced |= _take_out(module, total, block.branch)
    if replaced:
        _drop_unused(module)
        module.recompile()
    return replaced


def _block(
    node: fx.Node, layers_of: Mapping[fx.Node, tuple[str, ...]], computed: set[fx.Node]
) -> Block | None:
    """The block whose branch ends in this sum: of two possible branches the one with more layers."""
    if operation(node) != "add" or len(node.all_input_nodes) != 2 or node.kwargs.get("alpha", 1) != 1:
        return None
    choices = []
    for branch in (0, 1):
        cone = _cone(node, branch)
        layers = tuple(name for source, names in layers_of.items() if source in cone for name in names)
        choices.append((len(layers), branch, cone, layers))
    count, branch, cone, layers = max(choices, key=lambda choice: (choice[0], -choice[1]))
    if not count or not _removable(node, node.all_input_nodes[1 - branch], cone, computed):
        return None
    return Block(name=_prefix(layers), layers=layers, sum_node=node.name, branch=branch)


def _cone(total: fx.Node, branch: int) -> set[fx.Node]:
    """The nodes that only this operand of the sum needs, parameters included."""
    alive, dead = _ancestors(total.all_input_nodes[1 - branch]), {total}
    waiting = [total.all_input_nodes[branch]]
    while waiting:
        node = waiting.pop()
        if node.op != "placeholder" and node not in alive and dead.issuperset(node.users):
            dead.add(node)
            waiting.extend(node.all_input_nodes)
    return dead - {total}


def _removable(total: fx.Node, shortcut: fx.Node, cone: set[fx.Node], computed: set[fx.Node]) -> bool:
    """Whether the shortcut can replace the sum, and the branch reads one tensor, which the shortcut reads
    too, beside tensors without layers before them.
    """
    reading = [node for node in cone if operation(node) != "sym_size"]
    starts = {
        source
        for node in reading
        for source in node.all_input_nodes
        if source in computed and source not in cone
    }
    shared = starts & _ancestors(shortcut)
    with_layers = {source for source in starts if _has_layers(source)}
    main = with_layers or {source for source in shared if _has_parameters(source)} or shared
    if len(main) != 1 or not main <= shared or not _alike(shortcut, total):
        return False
    return all(weight in cone for node in cone for weight in weight_nodes(node))


def _has_layers(node: fx.Node) -> bool:
    return any(weight_nodes(source) for source in _ancestors(node))


def _has_parameters(node: fx.Node) -> bool:
    return any(source.op == "get_attr" for source in _ancestors(node))


def _alike(one: fx.Node, other: fx.Node) -> bool:
    """Whether both are tensors of one type and one shape (the free batch size is compared by its symbol)."""
    a, b = one.meta.get("val"), other.meta.get("val")
    return (
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and a.dtype == b.dtype
        and [*map(str, a.shape)] == [*map(str, b.shape)]
    )


def _computed_from_inputs(module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose values depend on the model's inputs by more than their shapes."""
    computed: set[fx.Node] = set()
    for node in module.graph.nodes:
        reads_computed = not computed.isdisjoint(node.all_input_nodes)
        if node.op == "placeholder" or (reads_computed and operation(node) != "sym_size"):
            computed.add(node)
    return computed


def _ancestors(node: fx.Node) -> set[fx.Node]:
    """The node and all that it is computed from."""
    ancestors, waiting = {node}, [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in ancestors]
        ancestors.update(new)
        waiting.extend(new)
    return ancestors


def _leaving_a_layer(
    module: fx.GraphModule, blocks: Sequence[Block], layers_of: Mapping[fx.Node, tuple[str, ...]]
) -> list[Block]:
    """The blocks, without those whose removal would leave an output without any layer: first the containers
    of others, then those at the front.
    """
    removable = list(blocks)
    outputs = next(node for node in module.graph.nodes if node.op == "output").all_input_nodes
    for output in outputs:
        upstream = {name for node in _ancestors(output) for name in layers_of[node]}
        while upstream and upstream <= {layer for block in removable for layer in block.layers}:
            concerned = [block for block in removable if not upstream.isdisjoint(block.layers)]
            removable.remove(_container(concerned) or concerned[0])
    return removable


def _container(blocks: Sequence[Block]) -> Block | None:
    """The largest block that contains another one, such as a sum around the whole network."""
    largest = max(blocks, key=lambda block: len(block.layers))
    contains = any(set(block.layers) < set(largest.layers) for block in blocks)
    return largest if contains else None


def _prefix(layers: Sequence[str]) -> str:
    """`layer1.0` for layer1.0.conv1 and layer1.0.conv2; names of the first and last layer if they share
    nothing.
    """
    if len(layers) == 1:
        return layers[0]
    shared = []
    for parts in zip(*(name.split(".") for name in layers), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) or f"{layers[0]}-{layers[-1]}"


def _with_unique_names(blocks: Iterable[Block]) -> tuple[Block, ...]:
    counts: Counter[str] = Counter()
    result = []
    for block in blocks:
        result.append(replace(block, name=block.name + "'" * counts[block.name]))
        counts[block.name] += 1
    return tuple(result)


def _take_out(module: fx.GraphModule, total: fx.Node, branch: int) -> dict[str, str]:
    """Replaces the sum by its shortcut and erases the branch; returns what was replaced by what."""
    cone, shortcut = _cone(total, branch), total.all_input_nodes[1 - branch]
    doubled = [
        user
        for user in total.users
        if operation(user) in _IDEMPOTENT and operation(user) == operation(shortcut)
    ]
    for node in (total, *doubled):
        node.replace_all_uses_with(shortcut)
    for node in (*doubled, total, *(node for node in reversed(module.graph.nodes) if node in cone)):
        module.graph.erase_node(node)
    return {node.name: shortcut.name for node in (total, *doubled)}


def _drop_unused(module: fx.GraphModule) -> None:
    """Deletes the parameters and buffers that no node reads any more."""
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    for name in names:
        if name in read:
            continue
        path, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(path), leaf)
