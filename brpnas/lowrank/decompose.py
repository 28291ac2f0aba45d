"""The pairs of one layer and scheme: all ranks from one decomposition.

Each scheme unfolds W into matrices M_i; the pair's second layer is A_i, its first one B_i, and
M_i is approximated by A_i B_i. What is minimised is, by method (S: see `moments`):

- ``plain``: the error of the weights, |M - A B|, for each matrix alone.
- ``whitened``: |(M - A B) S'^(1/2)| with S' the second moment of what B sees: the mean of the
  blocks of S for the places of the second layer's window, or the block of a group. It is the
  error of the outputs for ``plain``, ``rows`` and ``input:g1``. For the others it leaves out how
  the terms of the second layer's sum (Kh rows, Kh x Kw places, or groups: n of them) go together:
  n times it is a bound on the error of the outputs.
- ``output``: with the covariance in place of the second moment, since the pair's bias makes good
  what the mean of the inputs loses. S is taken for a product T x S', T the second moment between
  the places of the second layer's window (Van Loan and Pitsianis 1993 ask for the nearest such
  product; T and S' are its partial traces here), for which |T^(1/2) (M - A B) S'^(1/2)| is the
  error of the outputs. Then the second layer is found again by least squares with the whole S,
  the first layer given: the least error of the outputs that a pair with this first layer has.

The smaller side's Gram matrix is decomposed (G = X X^T = U s^2 U^T, X the weighted M), and rank r
is the projection on the first r columns of U: M is met exactly at the greatest rank, however S is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from brpnas.errors import UserError
from brpnas.lowrank.moments import Moment
from brpnas.lowrank.schemes import Scheme

__all__ = ["METHODS", "Decomposition", "Method", "decompose", "output_error"]

_RIDGE = 1e-6
"""Of the mean of the diagonal, added to it before a matrix is inverted."""
_PLACES_RIDGE = 1e-3
"""The same of T, which has few rows and serves an approximation."""


@dataclass(frozen=True)
class Method:
    """How a pair's weights are found.

    Attributes:
        name: as users write it.
        needs_moments: whether images have to be seen.
        adds_bias: whether a pair has a bias where the layer has none.
    """

    name: str
    needs_moments: bool
    adds_bias: bool


METHODS = {
    method.name: method
    for method in (
        Method("plain", False, False),
        Method("whitened", True, False),
        Method("output", True, True),
    )
}
"""Ways to find a pair's weights, by name; the last is the best, see the module's text."""


class Decomposition:
    """All ranks of a layer's weights in one scheme.

    Attributes:
        basis: columns that rank r has the first r of, shape (matrices, k, k), float64: all that
            has to be kept, since the rest follows from the weights.
        energy: squared singular values of the weighted matrices, shape (matrices, k), falling.
    """

    def __init__(
        self,
        scheme: Scheme,
        weight: Tensor,
        moment: Moment | None,
        method: Method,
        basis: Tensor | None = None,
    ) -> None:
        """Decompose, unless the basis is known.

        Args:
            scheme: one that the layer has.
            weight: of the layer, shape (O, C, Kh, Kw), float64.
            moment: what the layer saw, for methods that need it.
            method: how weights are found.
            basis: of an earlier decomposition of the same.
        """
        self._scheme, self._method = scheme, method
        self._size = weight.shape
        matrices = _unfold(scheme, weight)  # (i, o, places, n)
        self._places = matrices.shape[2]
        matrices = matrices.flatten(1, 2)  # (i, m, n)
        self._seen: Tensor | None = None
        self._outer = inner = None
        if moment is not None and method.needs_moments:
            self._seen = moment.covariance if method.adds_bias else moment.second
            between, within = _factors(scheme, self._seen, weight.shape)
            inner = root_of(within, _RIDGE)
            if method.adds_bias and self._places > 1:
                self._outer = root_of(between, _PLACES_RIDGE)
                matrices = self._weighted_places(matrices, self._outer.T)
        self._weight, self._matrices, self._inner = weight, matrices, inner
        self._tall = matrices.shape[1] > matrices.shape[2]
        self._product = matrices if inner is None else matrices @ inner
        if basis is None:
            x = self._product.mT if self._tall else self._product
            basis = torch.linalg.eigh(x @ x.mT).eigenvectors.flip(-1)
        self.basis = basis
        x = self._product.mT if self._tall else self._product
        self.energy = (basis.mT @ x).square().sum(2)

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return A, shape (matrices, m, rank), and B, shape (matrices, rank, n), float64."""
        kept = self.basis[..., :rank]
        if not self._tall:
            second, first = kept, kept.mT @ self._matrices
        else:
            second, first = self._product @ kept, kept.mT
            if self._inner is not None:
                first = torch.linalg.solve_triangular(self._inner, first, upper=False, left=False)
        if self._outer is not None:
            second = self._weighted_places(second, torch.linalg.inv(self._outer.T))
        if self._seen is not None and self._method.adds_bias and self._refittable:
            second = self._refitted(second, first)
        return _balanced(second, first)

    def part_ranks(self, total: int) -> tuple[int, ...]:
        """Divide a rank among the matrices of ``rows``: the greatest singular values, one each."""
        count, k = self.energy.shape
        order = self.energy.clone()
        order[:, 0] = torch.inf
        chosen = order.flatten().topk(total).indices // k
        return tuple(torch.bincount(chosen, minlength=count).tolist())

    def approximation(self, second: Tensor, first: Tensor) -> Tensor:
        """Return the weights that a pair of factors stands for, shape (O, C, Kh, Kw)."""
        return _fold(self._scheme, second @ first, self._size)

    @property
    def _refittable(self) -> bool:
        """Whether least squares over the whole S can do better than the projection did."""
        return self._places > 1 or (self._scheme.family == "input" and self._scheme.groups > 1)

    def _weighted_places(self, matrices: Tensor, weights: Tensor) -> Tensor:
        count, rows, columns = matrices.shape
        split = matrices.reshape(count, -1, self._places, columns)
        return torch.einsum("pq,ioqn->iopn", weights, split).reshape(count, rows, columns)

    def _refitted(self, second: Tensor, first: Tensor) -> Tensor:
        """Find the second layer again: A + (W - A F) S F^T (F S F^T + ridge)^-1.

        F is the first layer as it acts on a whole patch. The ridge draws towards the A that is
        given, so that at the greatest rank, where W = A F, nothing changes.
        """
        assert self._seen is not None  # noqa: S101 - for the type checker
        outputs, inputs, height, width = self._size
        count, rank = first.shape[:2]
        s = self._seen
        if self._scheme.family == "separable":
            split = s.view(inputs, height, width, inputs, height, width)
            b = first.view(rank, inputs, width)
            half = torch.einsum("rcw,chwdjx->rhdjx", b, split)
            gram = torch.einsum("rhdjx,sdx->rhsj", half, b).reshape(1, rank * height, -1)
        elif self._scheme.family == "input":
            split = s.view(count, -1, s.shape[1])
            half = first @ split  # (i, r, patch)
            gram = torch.einsum("irjn,jsn->irjs", half.view(count, rank, count, -1), first)
            gram = gram.reshape(1, count * rank, -1)
        else:
            places = height * width
            split = s.view(inputs, places, inputs, places)
            half = torch.einsum("irc,cpdq->irpdq", first, split)
            gram = torch.einsum("irpdq,isd->irpsq", half, first).reshape(count, rank * places, -1)
        half = half.reshape(len(gram), -1, s.shape[1])  # F S: (b, q, patch)
        given = _to_outputs(self._scheme, second, self._places).reshape(
            len(gram), -1, half.shape[1]
        )
        target = self._weight.reshape(len(gram), -1, s.shape[1])
        lacking = target @ half.mT - given @ gram
        lower = root_of(gram, _RIDGE)
        better = given + torch.cholesky_solve(lacking.mT, lower).mT
        better = better.reshape(outputs, -1)
        return _from_outputs(self._scheme, better, second.shape, self._places)


def decompose(
    scheme: Scheme, weight: Tensor, moment: Moment | None, method: Method
) -> Decomposition:
    """Decompose a layer's weights, shape (O, C, Kh, Kw), float64, in one scheme.

    Raises:
        UserError: a method that needs to know what the layer saw, which is not given.
    """
    if method.needs_moments and moment is None:
        raise UserError(f"method '{method.name}' needs calibration images")
    return Decomposition(scheme, weight, moment, method)


def output_error(difference: Tensor, weight: Tensor, seen: Tensor | None) -> float:
    """Return the mean squared change of a layer's outputs, as a share of their mean square.

    Args:
        difference: the layer's weights less those that it gets, shape (O, C, Kh, Kw).
        weight: the layer's, in the same shape.
        seen: moment or covariance of its patches; without it that of white noise.
    """

    def power(matrix: Tensor) -> float:
        flat = matrix.flatten(1)
        return float(((flat if seen is None else flat @ seen) * flat).sum())

    whole = power(weight)
    return power(difference) / whole if whole > 0 else 0.0


def to_layers(scheme: Scheme, second: Tensor, first: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """Return the weights of the second and first layer: (O, inputs, places), (r, inputs, n)."""
    return _to_outputs(scheme, second, places), first.flatten(0, 1)


def _unfold(scheme: Scheme, weight: Tensor) -> Tensor:
    """Return the matrices of a scheme, shape (matrices, outputs, places, inputs of B)."""
    outputs, inputs, height, width = weight.shape
    groups = scheme.groups
    if scheme.family == "separable":
        return weight.permute(0, 2, 1, 3).reshape(1, outputs, height, inputs * width)
    if scheme.family in ("input", "plain"):
        return weight.reshape(outputs, groups, -1).transpose(0, 1).unsqueeze(2)
    return weight.reshape(groups, outputs // groups, inputs, -1).transpose(2, 3)


def _fold(scheme: Scheme, matrices: Tensor, size: torch.Size) -> Tensor:
    """Undo `_unfold`, from shape (matrices, m, n)."""
    outputs, inputs, height, width = size
    if scheme.family == "separable":
        return matrices.view(outputs, height, inputs, width).permute(0, 2, 1, 3)
    if scheme.family in ("input", "plain"):
        return matrices.transpose(0, 1).reshape(size)
    return matrices.view(outputs, height * width, inputs).transpose(1, 2).reshape(size)


def _factors(scheme: Scheme, s: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Return T, shape (places, places), and S', (1 or matrices, n, n); scales do not matter."""
    _, inputs, height, width = size
    if scheme.family in ("input", "plain"):
        n = len(s) // scheme.groups
        blocks = s.view(scheme.groups, n, scheme.groups, n).diagonal(dim1=0, dim2=2)
        return torch.ones(1, 1, dtype=s.dtype), blocks.permute(2, 0, 1)
    if scheme.family == "separable":
        split = s.view(inputs, height, width, inputs, height, width)
        between = torch.einsum("chwcjw->hj", split)
        within = torch.einsum("chwdhx->cwdx", split).reshape(inputs * width, -1) / height
    else:
        places = height * width
        split = s.view(inputs, places, inputs, places)
        between = torch.einsum("cpcq->pq", split)
        within = torch.einsum("cpdp->cd", split) / places
    return between, within.unsqueeze(0)


def root_of(matrix: Tensor, ridge: float) -> Tensor:
    """Return the lower triangular L with L L^T = matrix + ridge; of zeros, the unit matrix.

    Args:
        matrix: shape (..., n, n), positive semi-definite but for rounding, finite.
        ridge: of the mean of the diagonal; more where it is needed.
    """
    # Rounding may leave variances of both signs where there is none: they must not cancel.
    size = matrix.diagonal(dim1=-2, dim2=-1).abs().mean(-1)
    size = torch.where(size > 0, size, torch.ones_like(size))[..., None, None]
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    zero = (matrix.abs().amax((-2, -1), keepdim=True) == 0).to(matrix.dtype)
    for power in range(18):
        # More where rounding has made small eigenvalues negative: products are of float32.
        added = (ridge * 10**power + zero) * size * unit
        lower, failed = torch.linalg.cholesky_ex(matrix + added)
        if not bool(failed.any()):
            return torch.as_tensor(lower)
    raise UserError(
        "what layers see of the calibration images is not finite, or too large for second moments"
    )


def _balanced(second: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Split the singular values of the product evenly between its factors."""
    left, upper = torch.linalg.qr(second)
    right, upper_first = torch.linalg.qr(first.mT)
    u, s, v = torch.linalg.svd(upper @ upper_first.mT, full_matrices=False)
    even = s.sqrt()
    return left @ (u * even.unsqueeze(-2)), (even.unsqueeze(-1) * v) @ right.mT


def _to_outputs(scheme: Scheme, second: Tensor, places: int) -> Tensor:
    """From (matrices, m, r) to the second layer's order: (O, inputs, places)."""
    count, _, rank = second.shape
    if scheme.family in ("input", "plain"):
        return second.transpose(0, 1).reshape(-1, count * rank, 1)
    return second.reshape(-1, places, rank).transpose(1, 2)


def _from_outputs(scheme: Scheme, weights: Tensor, size: torch.Size, places: int) -> Tensor:
    """Undo `_to_outputs`, from shape (O, inputs x places)."""
    count, _, rank = size
    if scheme.family in ("input", "plain"):
        return weights.view(-1, count, rank).transpose(0, 1)
    return weights.view(-1, rank, places).transpose(1, 2).reshape(size)
