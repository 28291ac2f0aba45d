"""A Gaussian process with noise that has outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Kernel", "Process"]

_JITTER = 1e-5
_FREEDOM = 4.0
"""Of Student's t-distribution: outliers are expected, but its variance is finite."""
_LENGTHS = 3.0
"""How far lengths are expected to lie from where they start, as a factor's logarithm."""
_STEPS = 80
_FIRST_WEIGHTS = 10
_NEW_WEIGHTS = 4
_LAST_WEIGHTS = 5
_RATE = 0.05
_PORTION = 2048


@dataclass
class Kernel:
    """A sum of Matern kernels (5/2), one for each view, with a length for every column.

    Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, eq. 4.17 and 5.1.

    Attributes:
        views: logarithm of one over each column's length, one tensor for each view.
        sizes: logarithm of each kernel's variance, shape (views,).
        noise: logarithm of the squared scale of the noise.
    """

    views: list[Tensor]
    sizes: Tensor
    noise: Tensor

    @classmethod
    def start(cls, columns: Sequence[tuple[int, int]]) -> Kernel:
        """Return where learning starts, for views with (flags, amounts) columns."""
        return cls(
            [
                torch.cat([torch.full((flags,), 0.35), torch.full((amounts,), 0.15)]).log()
                for flags, amounts in columns
            ],
            torch.zeros(len(columns)),
            torch.tensor(-3.0),
        )

    def parameters(self) -> list[Tensor]:
        """Return all that is learnt."""
        return [*self.views, self.sizes, self.noise]

    def __call__(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Return covariances between networks given by their views: (len(a), len(b))."""
        total = torch.zeros(())
        for view, size, left, right in zip(self.views, self.sizes, a, b, strict=True):
            scale = view.exp()
            distance = math.sqrt(5) * _distance(left * scale, right * scale)
            total = total + size.exp() * (
                (1 + distance + distance.square() / 3) * torch.exp(-distance)
            )
        return total

    def variance(self) -> Tensor:
        """Return every network's variance before anything was measured."""
        return self.sizes.exp().sum()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return (squares.clamp_min(0) + 1e-9).sqrt()  # the root of zero has no gradient


def _factorise(covariance: Tensor) -> Tensor:
    """Return the Cholesky factor; of a matrix that rounding made singular, with more noise."""
    factor: Tensor
    for extra in (0.0, 1e-5, 1e-4, 1e-3, 1e-2):
        more = covariance + extra * torch.eye(len(covariance)) if extra else covariance
        factor, failed = torch.linalg.cholesky_ex(more)
        if not failed:
            return factor
    raise ValueError("covariances that are no numbers")


class Process:
    """Gaussian-process regression with Student-t noise.

    The noise of each value has a scale of its own, whose expectation is found by expectation
    maximisation in turn with gradient steps on the marginal likelihood: Jylänki, Vanhatalo &
    Vehtari, "Robust Gaussian process regression with a Student-t likelihood", JMLR 2011, sec. 3.3.

    Args:
        kernel: where learning starts.
        views: of the training networks.
        targets: standardised, shape (networks,).
    """

    def __init__(self, kernel: Kernel, views: Sequence[Tensor], targets: Tensor) -> None:
        self.kernel = kernel
        self.views = list(views)
        self.targets = targets
        self.weights = torch.ones_like(targets)  # of each value's noise variance

    @classmethod
    def learnt(cls, kernel: Kernel, views: Sequence[Tensor], targets: Tensor, most: int) -> Process:
        """Learn from some of the networks, then make predictions from all.

        Args:
            kernel: where learning starts; changed.
            views: of the training networks.
            targets: standardised, shape (networks,).
            most: networks to learn from, the first ones; the time grows with its third power.
        """
        process = cls(kernel, [view[:most] for view in views], targets[:most])
        process._learn()
        if most < len(targets):
            process = cls(kernel, views, targets)
            for _ in range(_LAST_WEIGHTS):
                process._weigh(*process._solve())
        process._condition()
        return process

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Process:
        """Put a process together from what ``state`` gave.

        Raises:
            KeyError or RuntimeError: it is not of a process.
        """
        count = len(state["sizes"])
        kernel = Kernel(
            [state[f"lengths.{place}"] for place in range(count)], state["sizes"], state["noise"]
        )
        process = cls(kernel, [state[f"view.{place}"] for place in range(count)], state["targets"])
        process.weights = state["weights"]
        process._condition()
        return process

    def state(self) -> dict[str, Tensor]:
        """Return what was learnt and what predictions are made from."""
        return {
            **{f"lengths.{place}": value for place, value in enumerate(self.kernel.views)},
            **{f"view.{place}": value for place, value in enumerate(self.views)},
            "sizes": self.kernel.sizes,
            "noise": self.kernel.noise,
            "targets": self.targets,
            "weights": self.weights,
        }

    def _learn(self) -> None:
        """Find the kernel's lengths and sizes, and every value's noise."""
        parameters = self.kernel.parameters()
        for parameter in parameters:
            parameter.requires_grad_(True)
        started = [view.detach().clone() for view in self.kernel.views]
        optimiser = torch.optim.Adam(parameters, lr=_RATE)
        for step in range(_STEPS):
            optimiser.zero_grad()
            factor, alpha = self._solve()
            surprise = 0.5 * self.targets @ alpha + factor.diagonal().log().sum()
            for start, view in zip(started, self.kernel.views, strict=True):
                surprise = surprise + 0.5 * ((view - start) / _LENGTHS).square().sum()
            torch.autograd.backward(surprise / len(self.targets))
            if step >= _FIRST_WEIGHTS and step % _NEW_WEIGHTS == 0:
                self._weigh(factor.detach(), alpha.detach())
            optimiser.step()
        for parameter in parameters:
            parameter.requires_grad_(False)

    def _weigh(self, factor: Tensor, alpha: Tensor) -> None:
        """Expect every value's noise from how far it lies from what the others say."""
        with torch.no_grad():
            scale = self._noise()
            noise = scale * self.weights
            spread = noise - noise.square() * torch.cholesky_inverse(factor).diagonal()
            squares = (noise * alpha).square() + spread.clamp_min(0)
            self.weights = (_FREEDOM + squares / scale) / (_FREEDOM + 1)

    def _noise(self) -> Tensor:
        return self.kernel.noise.exp() + _JITTER

    def _solve(self) -> tuple[Tensor, Tensor]:
        covariance = self.kernel(self.views, self.views)
        covariance = covariance + torch.diag(self._noise() * self.weights + _JITTER)
        factor = _factorise(covariance)
        return factor, torch.cholesky_solve(self.targets[:, None], factor)[:, 0]

    def _condition(self) -> None:
        """Prepare predictions."""
        with torch.no_grad():
            self._factor, self._alpha = self._solve()

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Return every value's error when all others predict it, and its expected deviation.

        Rasmussen & Williams, 2006, eq. 5.12.
        """
        with torch.no_grad():
            inverse = torch.cholesky_inverse(self._factor).diagonal()
            latent = (1 / inverse - self._noise() * self.weights).clamp_min(0)
            return self._alpha / inverse, self._deviation(latent)

    def predict(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, shape (networks,) each; noise included."""
        means, variances = [], []
        with torch.no_grad():
            for portion in zip(*(torch.split(view, _PORTION) for view in views), strict=True):
                across = self.kernel(portion, self.views)
                means.append(across @ self._alpha)
                half = torch.linalg.solve_triangular(self._factor, across.T, upper=False)
                variances.append(self.kernel.variance() - half.square().sum(0))
        return torch.cat(means), self._deviation(torch.cat(variances).clamp_min(0))

    def _deviation(self, latent: Tensor) -> Tensor:
        """Add the variance of a Student-t noise of our scale to that of what it hides."""
        return (latent + self._noise() * _FREEDOM / (_FREEDOM - 2)).sqrt()
