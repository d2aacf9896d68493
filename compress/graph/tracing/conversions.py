"""Conversions to the type that a tensor has already: they return the tensor, and are not in the exported
file.
"""

from torch import Tensor, fx

from ..graph import operation

_CONVERSIONS = frozenset({"to", "type_as"})


def drop_conversions(module: fx.GraphModule) -> None:
    """Removes conversions that return their input, as models that are ready for other types have them."""
    for node in list(module.graph.nodes):
        if operation(node) in _CONVERSIONS and _returns_its_input(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            module.graph.erase_node(node)
    module.recompile()


def _returns_its_input(node: fx.Node) -> bool:
    before, after = node.all_input_nodes[0].meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor) or True in node.args:
        return False  # a copy that was asked for is another tensor
    return before.dtype == after.dtype and before.device == after.device and not node.kwargs.get("copy")
