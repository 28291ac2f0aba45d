"""How much each rank of a decomposition changes a layer's outputs, all ranks at once.

The first layer of rank r is the first r rows of that of the greatest rank. With F the first layer
as it acts on a whole patch, G = F S F^T and H = F S W^T (S: see `moments`), the mean squared change
of the outputs is

    tr(W S W^T) - 2 tr(A H) + tr(A G A^T)     where the projection's second layer A is kept,
    tr(W S W^T) - |L^-1 H|^2  with G = L L^T  where least squares find it again,

and what they take away are running sums over the rows of F: one pass gives all ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brpnas.lowrank.decompose import Decomposition, root_of

__all__ = ["Spectrum"]

_RIDGE = 1e-12
"""Of the mean of the diagonal of G. That of `decompose` is greater, and changes errors by 1e-9."""


class Spectrum(Decomposition):
    """A decomposition that tells the errors of all its ranks."""

    def errors(self, weight: Tensor) -> Tensor:
        """Return what `output_error` finds for ranks from 1 on, shape (k,), float64.

        Of ``rows``, for the least rank and all after it, each shared out as `part_ranks` does.

        Args:
            weight: that was decomposed, shape (O, C, Kh, Kw), float64.
        """
        flat = weight.flatten(1)
        if self._seen is None:
            gains, whole = self.energy, float(flat.square().sum())
        else:
            gains, whole = self._gains(flat), float((flat @ self._seen * flat).sum())
        if self._scheme.family == "rows":
            count = len(self.energy)
            order = self.energy.clone()
            order[:, 0] = torch.inf  # as in `part_ranks`
            gains = gains.flatten()[order.flatten().argsort(descending=True)]
            gains = torch.cat([gains[:count].sum(0, keepdim=True), gains[count:]])
        else:
            gains = gains.sum(0)
        lost = (whole - gains.cumsum(0)).clamp(min=0)
        return lost / whole if whole > 0 else torch.zeros_like(lost)

    def _gains(self, weight: Tensor) -> Tensor:
        """Return what each rank takes from the change of the outputs, shape (matrices or 1, k)."""
        second, first = self._projection()
        through, gram = self._through(first)  # F S: (parts, k n, patch), G: (parts, k n, k n)
        h = through @ weight.view(len(gram), -1, weight.shape[1]).mT  # (parts, k n, outputs)
        if self._method.adds_bias and self._refittable:
            gains = torch.linalg.solve_triangular(root_of(gram, _RIDGE), h, upper=False).square()
        else:
            a = self._by_rank(second)  # (parts, k n, outputs)
            once = gram.diagonal(dim1=1, dim2=2).unsqueeze(2)
            gains = a * (2 * h - 2 * gram.tril() @ a + once * a)
        per_row: Tensor = gains.sum(2)
        return per_row.view(len(gram), first.shape[1], -1).sum(2)

    def _projection(self) -> tuple[Tensor, Tensor]:
        """Return A and B of the greatest rank as the basis has them, one rank after the other."""
        if not self._tall:
            return self.basis, self.basis.mT @ self._matrices
        first = self.basis.mT
        if self._inner is not None:
            first = torch.linalg.solve_triangular(self._inner, first, upper=False, left=False)
        return self._product @ self.basis, first

    def _through(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return F S and F S F^T; the rows of F that belong to one rank are side by side."""
        _, inputs, height, width = self._size
        family, places = self._scheme.family, height * width
        count, k, _ = first.shape
        patch = inputs * places
        s = self._seen
        assert s is not None  # noqa: S101 - for the type checker
        if family == "separable":
            split = s.view(inputs, height, width, inputs, height, width)
            b = first.view(k, inputs, width)
            half = torch.einsum("rcw,chwdjx->rhdjx", b, split)
            gram = torch.einsum("rhdjx,sdx->rhsj", half, b)
        elif family in ("input", "plain"):
            half = (first @ s.view(count, -1, patch)).transpose(0, 1)  # (r, i, patch)
            gram = torch.einsum("rijn,jsn->risj", half.reshape(k, count, count, -1), first)
        elif family == "output":
            half = torch.einsum("irc,cpdq->irpdq", first, s.view(inputs, places, inputs, places))
            gram = torch.einsum("irpdq,isd->irpsq", half, first)
        else:
            half = first @ s
            gram = half @ first.mT
        parts = count if family in ("output", "rows") else 1
        half = half.reshape(parts, -1, patch)
        return half, gram.reshape(parts, half.shape[1], -1)

    def _by_rank(self, second: Tensor) -> Tensor:
        """Return A^T with its rows in the order of F's: (parts, k n, outputs)."""
        count, rows, k = second.shape
        if self._scheme.family in ("input", "plain"):
            return second.permute(2, 0, 1).reshape(1, -1, rows)
        split = second.view(count, -1, self._places, k)
        return split.permute(0, 3, 2, 1).flatten(1, 2)
