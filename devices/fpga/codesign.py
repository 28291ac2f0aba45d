"""Which of several ways to compute each layer suits a board best, foldings and all.

Words stream through layers that follow each other. What a layer has to take comes in during so many
cycles, the pace; if it needs more cycles than that, the last word leaves so much later, and the
first word leaves once a window of the feature map is there. So what is left of an image after a
layer comes in max(pace, latency) (1 - window) cycles (`PhysicalTiming`). With a price for room on
the board, the time of an image, what its layers take of the board, and what they do to the network
are a sum over layers that depends only on the pace between them: the least is a shortest path over
layers and paces (Bellman), for all alternatives and foldings at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import Foldings
from brpnas.devices.fpga.mapping.shares import utilisation
from brpnas.devices.fpga.network import Node
from brpnas.devices.fpga.problem import Problem

__all__ = ["Alternative", "Codesign", "Plan"]

Array = NDArray[np.float64]

_STEP = 1.05
"""From one pace to the next."""
_PACES = (0.02, 10.0)
"""The least and the greatest, in times of what all multipliers of a board would need."""
_NEVER = 1e6
"""Boards that a layer takes which cannot keep a pace."""
_WHOLE = 0.999
"""Share of a feature map that is as good as all of it."""


@dataclass(frozen=True)
class Alternative:
    """A way to compute a stage of a network.

    Attributes:
        nodes: layers, one behind the other.
        damage: what it does to the network, in any unit that adds up.
    """

    nodes: tuple[Node, ...]
    damage: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Alternatives that go well together.

    Attributes:
        chosen: of each stage, the place of one.
        cycles: of one image, if no room is lost to squeezes between layers, nor to queues.
        room: share that is taken so of DSP slices, or of the rest, whichever is more.
        damage: the sum.
    """

    chosen: tuple[int, ...]
    cycles: float
    room: float
    damage: float


class Codesign:
    """Chooses an alternative for each stage, for little damage and the least time of one image.

    A network that is no chain is taken for one, in the order of its layers: a branch delays what
    follows as if it were behind the branches before it.

    Args:
        problem: the board, and the network as it is.
        stages: alternatives of each, in the order of the network.
        multipliers: what DSP slices cost, between 0 and 1; the rest is what the other resource
            costs that a folding takes most of.
    """

    def __init__(
        self, problem: Problem, stages: Sequence[Sequence[Alternative]], multipliers: float
    ) -> None:
        self._problem, self._multipliers = problem, multipliers
        work = sum(node.macs for node in problem.network.nodes)
        self.least_cycles = max(1.0, work / max(1.0, float(problem.limits[0])))
        """What the network as it is would take if all multipliers were always at work."""
        low, high = (share * self.least_cycles for share in _PACES)
        self._paces = low * _STEP ** np.arange(math.ceil(math.log(high / low, _STEP)))
        known: dict[int, tuple[Array, float]] = {}  # layers repeat
        self._stages = [self._stage(stage, known) for stage in stages]

    @property
    def damages(self) -> Array:
        """All damages that are not 0."""
        every = np.concatenate([stage.damages for stage in self._stages])
        return np.asarray(every[every > 0])

    def plan(self, room_price: float, damage_price: float) -> Plan:
        """Return the plan of the least time, room and damage.

        Args:
            room_price: cycles that the whole board is worth.
            damage_price: cycles that a unit of damage is worth.
        """
        after = np.zeros(len(self._paces))
        solved: list[_Solved] = []
        for stage in reversed(self._stages):
            costs: Array = np.broadcast_to(after, stage.room.shape[1:3])
            steps = []
            for at in reversed(range(len(stage.room))):
                # A layer may take as long as words come, or longer, which delays all that follows.
                handed_on = stage.handed_on[at]
                later = costs if handed_on is None else handed_on(costs)
                cost = room_price * stage.cost[at] + self._paces + later
                costs = np.minimum.accumulate(cost[:, ::-1], axis=1)[:, ::-1] - self._paces
                steps.append(cost)
            total = costs + damage_price * stage.damages[:, None]
            after = total.min(0)
            solved.append((stage, total.argmin(0), steps[::-1]))
        return self._walk(solved[::-1])

    def _stage(self, stage: Sequence[Alternative], known: dict[int, tuple[Array, float]]) -> _Stage:
        longest = max(len(one.nodes) for one in stage)
        room = np.zeros((longest, len(stage), len(self._paces), 2))
        windows = np.zeros((longest, len(stage)))
        for row, one in enumerate(stage):
            for at, node in enumerate(one.nodes):
                ways = self._problem.foldings(node)
                if id(ways) not in known:
                    known[id(ways)] = self._room(ways), float(ways.window.max())
                room[at, row], windows[at, row] = known[id(ways)]
        handed_on = [_HandedOn.of(window, len(self._paces)) for window in windows]
        damages = np.array([one.damage for one in stage])
        return _Stage(room, room @ self._costs, windows, handed_on, damages)

    @property
    def _costs(self) -> Array:
        return np.array([self._multipliers, 1 - self._multipliers])

    def _room(self, ways: Foldings) -> Array:
        """Return what the cheapest folding takes that keeps each pace, shape (paces, 2)."""
        shares = utilisation(ways.resources, self._problem)
        traffic = ways.weight_bits / self._problem.bits_per_cycle
        dsp = np.broadcast_to(shares[:, 0], (len(self._paces), len(ways)))
        rest = np.maximum(shares[:, 1:].max(1), traffic / self._paces[:, None])
        taken = np.stack([dsp, rest], axis=2)
        taken[ways.latency > self._paces[:, None] * (1 + 1e-9)] = _NEVER
        cheapest = (taken @ self._costs).argmin(1)
        return np.asarray(taken[np.arange(len(self._paces)), cheapest])

    def _walk(self, solved: Sequence[_Solved]) -> Plan:
        """Follow the least sums from the first layer on."""
        pace = cycles = float(self._paces[0])
        damage, taken = 0.0, np.zeros(2)
        chosen = []
        for stage, best, steps in solved:
            row = int(best[self._place(pace)])
            chosen.append(row)
            damage += float(stage.damages[row])
            for room, window, cost in zip(stage.room, stage.windows, steps, strict=True):
                at = self._place(pace)
                at += int(cost[row, at:].argmin())
                taken += room[row, at]
                slower = max(pace, float(self._paces[at]))
                cycles += slower - pace
                pace = slower * (1 - min(float(window[row]), _WHOLE))
        return Plan(tuple(chosen), cycles, float(taken.max()), damage)

    def _place(self, pace: float) -> int:
        """Return the place of the nearest pace."""
        at = round(math.log(pace / self._paces[0], _STEP))
        return min(max(at, 0), len(self._paces) - 1)


@dataclass(frozen=True, eq=False)
class _HandedOn:
    """Looks up costs at the paces at which layers hand on, (1 - window) of those they take in at.

    Attributes:
        below: places of the paces below, shape (alternatives, paces).
        part: how far it is from there to the pace above.
    """

    below: NDArray[np.intp]
    part: Array

    @classmethod
    def of(cls, windows: Array, paces: int) -> _HandedOn | None:
        """Return what does it for layers with these windows; None where nothing changes."""
        if not windows.any():
            return None
        shift = np.log1p(-np.minimum(windows, _WHOLE))[:, None] / math.log(_STEP)
        place = np.clip(np.arange(paces) + shift, 0, paces - 1)
        below = np.minimum(place.astype(np.intp), paces - 2)
        return cls(below, place - below)

    def __call__(self, costs: Array) -> Array:
        """Return costs (alternatives, paces), interpolated."""
        rows = np.arange(len(self.below))[:, None]
        one, other = costs[rows, self.below], costs[rows, self.below + 1]
        return np.asarray(one + self.part * (other - one))


@dataclass(frozen=True, eq=False)
class _Stage:
    """Alternatives side by side; those with fewer nodes have some that take nothing.

    Attributes:
        room: shares that nodes need to keep each pace, of DSP slices and of the rest, shape
            (nodes, alternatives, paces, 2).
        cost: of that room, shape (nodes, alternatives, paces).
        windows: of the nodes, shape (nodes, alternatives).
        handed_on: of each node.
        damages: shape (alternatives,).
    """

    room: Array
    cost: Array
    windows: Array
    handed_on: list[_HandedOn | None]
    damages: Array


_Solved = tuple[_Stage, NDArray[np.intp], list[Array]]
"""A stage, the best alternative at each pace, and the costs of each of its nodes."""
