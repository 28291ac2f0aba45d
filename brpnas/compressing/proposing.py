"""Low-rank versions of a network that suit a board: ranks and foldings chosen together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
_ROOMS = (1.0, 0.9, 0.8)
"""Shares of the board: the rest is for what adapts streams, for queues, and for less depth."""
_LADDER = 2.0
"""From one price of damage to the next, while the ends are looked for."""
_RUNGS = 24
_BELOW = 0.85
"""Of the least time that is asked for: whole designs take longer than their layers need."""


_Way = tuple[Mapping[str, Choice], Alternative]
"""What takes a layer's place, by its name, and its nodes; a layer that stays has no name."""


def propose(
    subject: Subject, board: FPGADevice, count: int, span: tuple[float, float]
) -> list[LowRankNetwork]:
    """Return versions that are quick for the damage that they do, by what their layers need.

    Args:
        subject: the network.
        board: that it is for.
        count: the most versions.
        span: of the time of one image, as shares of the network's as it is.

    Returns:
        Each once, the dearest first; few or none where few fit the board.
    """
    network = _read(subject, LowRankNetwork())
    stages = _stages(subject, network)
    alternatives = [[alternative for _, alternative in stage] for stage in stages]
    if not any(one.damage for stage in alternatives for one in stage):
        return []
    problem = board.problem(network)
    codesigns = [Codesign(problem, alternatives, cost) for cost in _MULTIPLIERS]
    best = sorted(codesigns, key=_sum_of_middle)[:_TAKEN]
    kinds = [(codesign, room) for codesign in best for room in _ROOMS]
    found: dict[LowRankNetwork, None] = {}
    for rows, (codesign, room) in zip(np.array_split(range(count), len(kinds)), kinds, strict=True):
        for plan in _spread(codesign, room, len(rows), span):
            chosen = [stage[row][0] for stage, row in zip(stages, plan.chosen, strict=True)]
            choices = {name: choice for one in chosen for name, choice in one.items()}
            found[subject.space.network(choices)] = None
    return list(found)


def _stages(subject: Subject, network: Network) -> list[list[_Way]]:
    """Return the layers in their order, each with its nodes for every option."""
    options = subject.space.options
    ways: dict[str, list[_Way]] = {name: [] for name in options}
    for row in range(max(map(len, options.values()))):
        known = {name: one[row] for name, one in options.items() if row < len(one)}
        choices = {name: one.choice for name, one in known.items()}
        for name, nodes in _nodes(subject, choices).items():
            ways[name].append(({name: choices[name]}, Alternative(nodes, known[name].damage)))
    stages: list[list[_Way]] = []
    for node in network.nodes:
        owner = _owner(node, ways)
        if owner is None:
            stages.append([({}, Alternative((node,)))])
        elif ways[owner] not in stages:
            stages.append(ways[owner])
    return stages


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


def _middle(codesign: Codesign) -> float:
    """Return a price of damage at which there is some, and not too much: cycles for a unit."""
    return codesign.least_cycles / float(np.median(codesign.damages))


def _sum_of_middle(codesign: Codesign) -> float:
    """Return what a plan costs at that price; infinite if it does not fit."""
    plan = codesign.least(_middle(codesign), max(_ROOMS))
    return np.inf if plan is None else plan.cycles + _middle(codesign) * plan.damage


def _spread(codesign: Codesign, room: float, count: int, span: tuple[float, float]) -> list[Plan]:
    """Return plans whose times lie in the span, at prices of damage evenly spread."""
    high = _middle(codesign)
    for _ in range(_RUNGS):
        mildest = codesign.least(high, room)
        if mildest:
            break
        high /= _LADDER
    else:
        return []
    for _ in range(_RUNGS):
        milder = codesign.least(high * _LADDER, room)
        if milder is None:  # it does not fit the board without more damage
            break
        mildest, high = milder, high * _LADDER
        if not milder.damage:
            break
    low = high
    for _ in range(2 * _RUNGS):
        plan = codesign.least(low, room)
        if plan is None or plan.cycles <= _BELOW * span[0] * mildest.cycles:
            break
        if plan.cycles > span[1] * mildest.cycles:
            high = low
        low /= _LADDER
    plans = [codesign.least(price, room) for price in np.geomspace(high, low, count)]
    return [plan for plan in plans if plan and plan.cycles <= span[1] * mildest.cycles]
