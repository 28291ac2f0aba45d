"""Attention whose projections are layers of their own, so that each can be replaced.

`torch.nn.MultiheadAttention` multiplies by its weights itself: no layer is called that something
else could take the place of. What is made of it here computes the same with two linear layers.
"""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

__all__ = ["Attention", "open_attention"]


def open_attention(model: nn.Module) -> nn.Module:
    """Return a network with `Attention` in the place of each `torch.nn.MultiheadAttention`.

    Those with inputs of several sizes, or with keys and values of their own, stay as they are, as
    do subclasses and what is pruned, parametrised or has hooks.

    Args:
        model: is changed; its parameters are kept, under the names of the new layers.
    """
    if _opens(model):
        return Attention(model)
    made: dict[int, Attention] = {}
    for module in list(model.modules()):
        opened = {name: inner for name, inner in module._modules.items() if _opens(inner)}
        for name, inner in opened.items():
            if id(inner) not in made:  # a module that is held twice stays one
                made[id(inner)] = Attention(inner)
            setattr(module, name, made[id(inner)])
        # Their fast paths read the weights of all layers inside themselves.
        if opened and isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and any(
            isinstance(inner, Attention) for inner in module.modules()
        ):
            module.use_nested_tensor = False
    return model


def _opens(module: nn.Module | None) -> TypeGuard[nn.MultiheadAttention]:
    if type(module) is not nn.MultiheadAttention or not module._qkv_same_embed_dim:
        return False
    # What is pruned or parametrised has hooks, or weights that are no parameters.
    weights = (module.in_proj_weight, module.out_proj.weight)
    biases = (module.in_proj_bias, module.out_proj.bias)
    kept = [*weights, *(bias for bias in biases if bias is not None)]
    return (
        all(isinstance(one, nn.Parameter) for one in kept)
        and type(module.out_proj) is NonDynamicallyQuantizableLinear
        and module.bias_k is None
        and not module.add_zero_attn
        and not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())
    )


class Attention(nn.Module):
    """Scaled dot-product attention with several heads, as `torch.nn.MultiheadAttention` has it.

    Vaswani et al., "Attention is all you need", 2017, section 3.2.

    Attributes:
        in_proj: makes queries, keys and values, (..., width) -> (..., 3 width).
        out_proj: of what all heads found, (..., width) -> (..., width).

    Args:
        module: that it takes the place of and the parameters from; one that `open_attention` opens.
    """

    def __init__(self, module: nn.MultiheadAttention) -> None:
        super().__init__()
        width = module.embed_dim
        self.num_heads, self.head_dim = module.num_heads, module.head_dim
        self.batch_first = module.batch_first
        # For modules that read them.
        self.embed_dim = self.kdim = self.vdim = width
        self._qkv_same_embed_dim, self.add_zero_attn = True, False
        self.bias_k = self.bias_v = None
        self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        self.dropout = module.dropout
        biased = module.in_proj_bias is not None
        self.in_proj = nn.Linear(width, 3 * width, biased, device="meta")
        self.out_proj = nn.Linear(width, width, module.out_proj.bias is not None, device="meta")
        self.in_proj.weight, self.in_proj.bias = module.in_proj_weight, module.in_proj_bias
        self.out_proj.weight, self.out_proj.bias = module.out_proj.weight, module.out_proj.bias
        self.train(module.training)

    @property
    def in_proj_weight(self) -> Tensor:
        """For modules that read it: the weight of ``in_proj``."""
        return self.in_proj.weight

    @property
    def in_proj_bias(self) -> Tensor | None:
        """For modules that read it: the bias of ``in_proj``; None where a pair is in its place."""
        bias: Tensor | None = getattr(self.in_proj, "bias", None)
        return bias

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # noqa: ARG002 - a hint; the mask says it, too
    ) -> tuple[Tensor, Tensor | None]:
        """See `torch.nn.MultiheadAttention.forward`."""
        batched = query.ndim == 3
        if not batched:
            query, key, value = (x[None] for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = self._turned(query, key, value)
        q, k, v = (self._heads(x) for x in self._projected(query, key, value))
        mask = _bias(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        shown = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout)
            shown = weights.mean(1) if average_attn_weights else weights
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if not batched:
            y, shown = y[0], None if shown is None else shown[0]
        elif not self.batch_first:
            y = y.transpose(0, 1)
        return y, shown

    def _turned(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the batch first; what was the same stays the same."""
        turned = {id(x): x.transpose(0, 1) for x in (query, key, value)}
        return turned[id(query)], turned[id(key)], turned[id(value)]

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key and key is value:
            return tuple(self.in_proj(query).chunk(3, -1))
        inputs = enumerate((query, key, value))
        if not isinstance(self.in_proj, nn.Linear):  # replaced, for calls with one input
            return tuple(self.in_proj(x).chunk(3, -1)[at] for at, x in inputs)
        weights = self.in_proj.weight.chunk(3)
        biases = (None,) * 3 if self.in_proj.bias is None else self.in_proj.bias.chunk(3)
        return tuple(F.linear(x, weights[at], biases[at]) for at, x in inputs)

    def _heads(self, x: Tensor) -> Tensor:
        """Split (batch, tokens, width) into (batch, heads, tokens, width of a head)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


def _bias(mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
    """Return what is added to scores, (batch or 1, heads or 1, queries, keys): -inf hides a key."""
    added = None
    if mask is not None:
        mask = _numbers(mask, q)
        added = (
            mask.reshape(-1, q.shape[1], *mask.shape[1:]) if mask.ndim == 3 else mask[None, None]
        )
    if padding is not None:
        hidden = _numbers(padding, q)[:, None, None]
        added = hidden if added is None else added + hidden
    return added


def _numbers(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)
