"""Random networks whose cost lies within a span."""

from __future__ import annotations

import numpy as np

from brpnas.search.front_problem import FrontProblem
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["outside_span", "sample"]

_TRIES = 100


def sample(
    problem: FrontProblem[LowRankNetwork], n: int, rng: np.random.Generator
) -> list[LowRankNetwork]:
    """Draw different networks of the space, within the span where costs are known beforehand.

    Args:
        problem: with the space and the span.
        n: how many; there may be fewer.
        rng: for the draws.

    Returns:
        Where too few draws lie within the span, also those that lie nearest to it.
    """
    found: dict[LowRankNetwork, float] = {}
    inside = 0
    for _ in range(_TRIES * n):
        if inside == n:
            break
        (arch,) = problem.space.sample(1, rng)
        if arch not in found:
            found[arch] = 0.0 if problem.known is None else outside_span(problem, arch)
            inside += found[arch] == 0
    return sorted(found, key=lambda arch: found[arch])[:n]


def outside_span(problem: FrontProblem[LowRankNetwork], arch: LowRankNetwork) -> float:
    """Return by how much the known cost of a network lies outside the span, as a share."""
    (share,) = problem.known_shares([arch])
    return float(max(problem.span[0] - share, share - problem.span[1] * (1 + 1e-9), 0.0))
