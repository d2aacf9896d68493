"""Forms of attention that can be followed: torch's own module in plain operations, and scales written out.

`nn.MultiheadAttention` merges its heads with the batch dimension (`view(T, N·H, D)`), where heads and samples
cannot be told apart. The same self-attention in plain views and products can be followed
(`following.attention`). Parameters and outputs are the same.
"""

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..graph import argument, operation, shape_of


def use_plain_attention(model: nn.Module) -> None:
    """Gives every `nn.MultiheadAttention` of the model, in place, a `forward` whose heads can be followed."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and _is_simple(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]


def write_scales(module: fx.GraphModule) -> None:
    """Gives attention with one head the scale that it takes from the width of the head, in place.

    Single channels of such a head can be removed, which must not change the scale.
    """
    for node in module.graph.nodes:
        if operation(node) == "scaled_dot_product_attention" and node.kwargs.get("scale") is None:
            shape = shape_of(argument(node, 0))
            if len(shape) == 3 or shape[-3] == 1:
                node.kwargs = {**node.kwargs, "scale": shape[-1] ** -0.5}


def _is_simple(module: nn.MultiheadAttention) -> bool:
    same_width = bool(module._qkv_same_embed_dim)
    return same_width and module.bias_k is None and module.bias_v is None and not module.add_zero_attn


def _forward(  # noqa: PLR0917 - the parameters are those of torch
    self: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Batched self-attention with no mask, or one for all samples; anything else takes torch's own way."""
    options: dict[str, Any] = {
        "need_weights": need_weights,
        "average_attn_weights": average_attn_weights,
        "is_causal": is_causal,
    }
    shared_mask = attn_mask is None or attn_mask.dim() == 2
    plain = query is key and key is value and query.dim() == 3 and key_padding_mask is None and shared_mask
    if not plain or (need_weights and not average_attn_weights) or (is_causal and attn_mask is None):
        return nn.MultiheadAttention.forward(
            self, query, key, value, key_padding_mask=key_padding_mask, attn_mask=attn_mask, **options
        )
    x = query if self.batch_first else query.transpose(0, 1)
    projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
    heads = projected.view(x.shape[0], x.shape[1], 3, self.num_heads, self.head_dim)
    q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # True forbids here, and allows in scaled_dot_product_attention
        attn_mask = torch.zeros_like(attn_mask, dtype=x.dtype).masked_fill(attn_mask, float("-inf"))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask)
    output = self.out_proj(mixed.transpose(1, 2).flatten(2))
    output = output if self.batch_first else output.transpose(0, 1)
    return output, _weights(q, k, attn_mask) if need_weights else None


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """The attention weights, averaged over heads; tracing drops them if the model does not use them."""
    products = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
    return torch.softmax(products if mask is None else products + mask, -1).mean(1)
