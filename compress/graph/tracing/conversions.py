"""Operations that depend on how a tensor lies in memory, or convert it to the type that it has already.

Neither is in the exported file. A candidate's tensors lie otherwise than those that were traced: images by
channel or by pixel, attention as its kernel likes it. Copies that put that right were none in tracing.
"""

import torch
from torch import Tensor, fx

from ..graph import operation

_CONVERSIONS = frozenset({"to", "type_as"})
_ANY_LAYOUT = {
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape.default,
    torch.ops.aten.view_as.default: torch.ops.aten.reshape_as.default,
}


def forget_layouts(module: fx.GraphModule) -> None:
    """Views of a tensor as another shape take it as it lies, and copy it where they must."""
    for node in module.graph.nodes:
        node.target = _ANY_LAYOUT.get(node.target, node.target)
    module.recompile()


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
