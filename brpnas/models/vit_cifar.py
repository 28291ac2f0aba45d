"""A small vision transformer for CIFAR's 32 x 32 images (after Dosovitskiy et al., 2021).

Patches of 4 x 4 pixels, a class token and learnt positions; each block normalises after its sums
(x = norm(x + attention(x)), x = norm(x + mlp(x))), and the class token is normalised once more
and read by a linear layer. Queries, keys and values come from one fused linear layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ViTCIFAR", "vit_cifar"]

_SIZE, _PATCH = 32, 4


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, 3 * width)  # queries, keys and values, in this order
        self.o = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        fused = self.q(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = fused.permute(2, 0, 3, 1, 4).unbind()  # (batch, heads, tokens, _)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.o(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.a = _Attention(width, heads)
        self.n1 = nn.LayerNorm(width)
        self.f1 = nn.Linear(width, hidden)
        self.f2 = nn.Linear(hidden, width)
        self.n2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.n1(x + self.a(x))
        out: Tensor = self.n2(x + self.f2(F.relu(self.f1(x))))
        return out


class ViTCIFAR(nn.Module):
    """A vision transformer; takes (batch, 3, 32, 32).

    Args:
        blocks: of attention and a perceptron.
        width: of the tokens.
        heads: of each attention.
        classes: of the images.
    """

    def __init__(self, blocks: int, width: int, heads: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.p = nn.Conv2d(3, width, _PATCH, _PATCH)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.zeros(1, (_SIZE // _PATCH) ** 2 + 1, width))
        self.b = nn.Sequential(*(_Block(width, heads, 2 * width) for _ in range(blocks)))
        self.hn = nn.LayerNorm(width)
        self.hd = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (batch, classes)."""
        patches = self.p(x).flatten(2).transpose(1, 2)  # (batch, 64, width)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), patches], 1) + self.pos
        scores: Tensor = self.hd(self.hn(self.b(tokens)[:, 0]))
        return scores


def vit_cifar() -> ViTCIFAR:
    """Build the network of 6 blocks and a width of 128."""
    return ViTCIFAR(6, 128)
