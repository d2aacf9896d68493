"""Rows of tables that no input reads, where the task lists the values of an input (`Task.used_tokens`).

An embedding reads row `token` of its table. With the rows of `tokens` alone it reads row `places[token]`:

    table (rows × columns) → table[rows],     token → places[token]

which is the same function for every listed token; all others read the row of the first one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import fx

from ...tasks.task import UsedTokens
from .channels import Exclusion
from .graph import argument, operation, table_nodes
from .layers import Layer

_SAME_VALUES = frozenset(
    {"to", "clone", "contiguous", "view", "reshape", "flatten", "unsqueeze", "squeeze", "slice", "expand"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRows:
    """`rows` are those of a table that remain, ascending; `places` has for each row of the whole table its
    place among them, or that of the first token, in two bytes where they suffice.
    """

    rows: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, tokens: Sequence[int], count: int) -> "UsedRows":
        """Of a table with `count` rows, of which the tokens are read."""
        rows = np.array(sorted(set(tokens)), np.int64)
        kind = np.uint16 if place_bytes(len(rows)) == 2 else np.int32
        places = np.full(count, np.searchsorted(rows, tokens[0]), kind)
        places[rows] = np.arange(len(rows))
        return cls(rows=rows, places=places)


def place_bytes(rows: int) -> int:
    """The bytes that the place of a row takes among so many."""
    return 2 if rows <= np.iinfo(np.uint16).max else 4


def used_rows_of(
    module: fx.GraphModule, layers: Sequence[Layer], used: UsedTokens
) -> tuple[dict[str, UsedRows], tuple[Exclusion, ...]]:
    """By layer, the rows of tables that inputs read, and the tables that stay whole, with reasons. `used` is
    by position.
    """
    found: dict[str, UsedRows] = {}
    excluded = []
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    for layer in layers:
        sources = {inputs.index(source) for source in _sources(module, layer.weight) if source in inputs}
        listed = [used[position] for position in sorted(sources) if position in used]
        if not listed:
            continue
        reason = _reason(module, layer, listed, sources)
        if reason:
            excluded.append(Exclusion(name=f"rows of {layer.name}", reason=f"all stay: {reason}"))
        elif len(set(listed[0])) < layer.weight_shape[0]:
            found[layer.name] = UsedRows.of(listed[0], layer.weight_shape[0])
    return found, tuple(excluded)


def _reason(module: fx.GraphModule, layer: Layer, listed: Sequence[Sequence[int]], sources: set[int]) -> str:
    """Why no row of a table can go; empty where some can."""
    readers = [*_readers(module, layer.weight)]
    if layer.kind != "embedding" or not all(table_nodes(reader) for reader in readers):
        return "a layer multiplies with all of them"
    if len(sources) > 1 or any(_source(reader).op != "placeholder" for reader in readers):
        return "what reads them is no single input"
    if max(listed[0]) >= layer.weight_shape[0]:
        return f"used_tokens lists {max(listed[0])}, and it has {layer.weight_shape[0]} rows"
    return ""


def _sources(module: fx.GraphModule, table: str) -> Iterator[fx.Node]:
    """What the embeddings of a table take for row numbers."""
    for reader in _readers(module, table):
        if table_nodes(reader):
            yield _source(reader)


def _readers(module: fx.GraphModule, parameter: str) -> Iterator[fx.Node]:
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target == parameter:
            yield from node.users


def _source(embedding: fx.Node) -> fx.Node:
    """The node from which the row numbers come, through what changes no value."""
    node: fx.Node = argument(embedding, 1)
    while operation(node) in _SAME_VALUES:
        node = argument(node, 0)
    return node


def cut(array: np.ndarray, used: Mapping[str, UsedRows], layer: str) -> np.ndarray:
    """What has an entry for each row of a layer's table, with those of its used rows alone."""
    return array[used[layer].rows] if layer in used else array
