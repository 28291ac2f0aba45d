"""Low-rank versions of a network that suit a board: ranks and foldings chosen together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from brpnas.compressing.subject import Subject
from brpnas.devices.fpga import FPGADevice
from brpnas.devices.fpga.codesign import Alternative, Codesign, Plan
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.network import Network, Node
from brpnas.errors import UserError
from brpnas.lowrank import Choice
from brpnas.spaces import LowRankNetwork

__all__ = ["propose"]

_MULTIPLIERS = (1.0, 0.95, 0.9, 0.8, 0.65, 0.4)
"""What DSP slices may cost against logic and memory."""
_TAKEN = 2
"""So many of these, with which plans of little damage are quickest."""
_LEAST_ROOM = 0.75
"""Of the board that plans take: the rest is for what adapts streams, for queues, for less depth."""
_ROOM_STEP = 1.25
"""From one price of room to the next."""
_ROOM_PRICES = (1e-3, 1e3)
"""The least and the greatest, in times of what all multipliers of a board would need."""
_ROOMS = 4
"""Plans at each price of damage."""
_DAMAGE_STEP = 2.0
"""From one price of damage to the next, while the ends are looked for."""
_TRIES = 40
_BELOW = 0.85
"""Of the least time that is asked for: whole designs take longer than their layers need."""


_Way = tuple[Mapping[str, Choice], Alternative]
"""What takes a layer's place, by its name, and its nodes; a layer that stays has no name."""


def propose(
    board: FPGADevice,
    subject: Subject,
    count: int,
    span: tuple[float, float],
    progress: Callable[[int, int], None],
) -> list[LowRankNetwork]:
    """Return versions that are quick for the damage that they do, by what their layers need.

    Args:
        board: that they are for.
        subject: the network.
        count: the most versions.
        span: of the time of one image, as shares of what the least damaged version takes that fits
            the board at once.
        progress: called with (prices done, prices).

    Returns:
        Each once, the slowest first; few or none where few fit.
    """
    network = _read(subject, LowRankNetwork())
    stages = _stages(subject, network)
    alternatives = [[alternative for _, alternative in stage] for stage in stages]
    if not any(one.damage for stage in alternatives for one in stage):
        return []
    problem = board.problem(network)
    searches = [_Search(Codesign(problem, alternatives, cost)) for cost in _MULTIPLIERS]
    best = sorted(searches, key=_Search.rank)[:_TAKEN]
    prices = max(count // _TAKEN, 4)
    plans: dict[tuple[int, ...], Plan] = {}
    for at, one in enumerate(best):
        for done, found in enumerate(one.spread(prices, span), 1):
            plans |= {plan.chosen: plan for plan in found}
            progress(at * prices + done, _TAKEN * prices)
    slowest_first = sorted(plans.values(), key=lambda plan: -plan.cycles)
    kept = np.linspace(0, len(plans) - 1, min(count, len(plans))).round().astype(int)
    return [_version(subject, stages, slowest_first[row]) for row in kept]


def _version(subject: Subject, stages: Sequence[Sequence[_Way]], plan: Plan) -> LowRankNetwork:
    chosen = [stage[row][0] for stage, row in zip(stages, plan.chosen, strict=True)]
    return subject.space.network({name: one for ways in chosen for name, one in ways.items()})


def _stages(subject: Subject, network: Network) -> list[list[_Way]]:
    """Return the layers in their order, each with its nodes for every option."""
    nodes = {node.name for node in network.nodes}
    modules = {name for name, _ in subject.model.named_modules()}
    options = {
        name: known
        for name, known in subject.space.options.items()
        # A layer that is called again has further nodes, of which it cannot be told whose they are.
        if f"{name}_2" not in nodes or f"{name}_2" in modules
    }
    ways: dict[str, list[_Way]] = {name: [] for name in options}
    for row in range(max(map(len, options.values()), default=0)):
        known = {name: one[row] for name, one in options.items() if row < len(one)}
        choices = {name: one.choice for name, one in known.items() if math.isfinite(one.damage)}
        for name, found in _nodes(subject, choices).items():
            ways[name].append(({name: choices[name]}, Alternative(found, known[name].damage)))
    stages: dict[str, list[_Way]] = {}
    for node in network.nodes:
        owner = _owner(node, ways)
        if owner is None:
            stages[node.name] = [({}, Alternative((node,)))]
        else:
            stages[owner] = ways[owner]
    return list(stages.values())


def _nodes(subject: Subject, choices: Mapping[str, Choice]) -> dict[str, tuple[Node, ...]]:
    """Return the nodes of each layer with a choice; what a board has no layer for is left out."""
    try:
        network = _read(subject, subject.space.network(choices))
    except UserError:
        if len(choices) == 1:
            return {}
        alone = [_nodes(subject, {name: choice}) for name, choice in choices.items()]
        return {name: nodes for one in alone for name, nodes in one.items()}
    found: dict[str, list[Node]] = {}
    for node in network.nodes:
        owner = _owner(node, choices)
        if owner is not None:
            found.setdefault(owner, []).append(node)
    return {name: tuple(nodes) for name, nodes in found.items()}


def _owner(node: Node, names: Iterable[str]) -> str | None:
    """Return the layer whose node it is; a pair's nodes have the layer's name and more."""
    parts = node.name.split(".")
    prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return next((name for name in names if name in prefixes), None)


def _read(subject: Subject, arch: LowRankNetwork) -> Network:
    return network_of(subject.build(arch), subject.images.calibration[:1], str(arch))


class _Search:
    """Finds plans that fit the board, at prices of room that change little from one to the next.

    Args:
        codesign: has alternatives that do damage.
    """

    def __init__(self, codesign: Codesign) -> None:
        self._codesign = codesign
        # A price of damage at which there is some, and not too much.
        self._start = codesign.least_cycles / float(np.median(codesign.damages))
        self._least, self._most = (codesign.least_cycles * one for one in _ROOM_PRICES)
        self._room_price = codesign.least_cycles

    def rank(self) -> tuple[float, float]:
        """Return a key by which the best come first: minus the price of damage at which plans fit.

        Of those alike, time and damage at that price, in cycles.
        """
        plan = self._mildest()
        if plan is None:
            return 0.0, math.inf
        return -self._start, plan.cycles + self._start * plan.damage

    def _mildest(self) -> Plan | None:
        """Return the plan at the greatest price up to that in the middle at which one fits."""
        for _ in range(_TRIES):
            plan = self._fullest(self._start)
            if plan:
                return plan
            self._start /= _DAMAGE_STEP
        return None

    def spread(self, prices: int, span: tuple[float, float]) -> Iterator[list[Plan]]:
        """Yield plans whose times lie in the span, for each of so many prices of damage."""
        mildest = self._mildest()
        if mildest is None:
            return
        high = self._start
        top, bottom = (high * _DAMAGE_STEP**power for power in (_TRIES, -_TRIES))
        while mildest.damage and high < top and (milder := self._fullest(high * _DAMAGE_STEP)):
            mildest, high = milder, high * _DAMAGE_STEP
        low = high
        while low > bottom and (plan := self._fullest(low)):
            if plan.cycles <= _BELOW * span[0] * mildest.cycles:
                break
            if plan.cycles > span[1] * mildest.cycles:
                high = low
            low /= _DAMAGE_STEP
        # At the first of these prices plans are too slow.
        for price in np.geomspace(high, low, prices + 1)[1:].tolist():
            found = self._fitting(price)
            yield [plan for plan in found if plan.cycles <= span[1] * mildest.cycles]

    def _fitting(self, damage_price: float) -> list[Plan]:
        """Return plans that fit and leave little of the board, the fullest first."""
        plan = self._fullest(damage_price)
        found: list[Plan] = []
        price = self._room_price
        while plan and len(found) < _ROOMS:
            found.append(plan)
            price *= _ROOM_STEP
            plan = self._codesign.plan(price, damage_price)
            if not _LEAST_ROOM <= plan.room <= 1:
                break
        return found

    def _fullest(self, damage_price: float) -> Plan | None:
        """Return the plan that takes most of the board, and no more; None if none does."""
        price = self._room_price
        plan = self._codesign.plan(price, damage_price)
        while plan.room > 1:
            price *= _ROOM_STEP
            if price > self._most:
                return None
            plan = self._codesign.plan(price, damage_price)
        while price > self._least:
            fuller = self._codesign.plan(price / _ROOM_STEP, damage_price)
            if fuller.room > 1:
                break
            plan, price = fuller, price / _ROOM_STEP
        self._room_price = price
        return plan
