"""Why no design fits."""

from __future__ import annotations

import itertools
import math

import numpy as np

from brpnas.devices.fpga.foldings import RESOURCES
from brpnas.devices.fpga.mapping.design import cut_places, reload_counts
from brpnas.devices.fpga.mapping.fill import Filler
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

__all__ = ["too_large"]


def too_large(problem: Problem) -> UserError:
    """Return what to tell a user whose network does not fit, however it is cut and folded.

    Names the part that is furthest from fitting, the resource, what it needs and what there is.
    """
    places = cut_places(problem)
    worst = None
    for start, stop in itertools.pairwise(places):
        smallest = None
        for reloads in [1, *reload_counts(problem, start, stop)]:
            segment = Segment(problem, start, stop, reloads)
            choice, shares = Filler(segment).smallest()
            if smallest is None or shares.max() < smallest[0]:
                smallest = float(shares.max()), segment, choice
        assert smallest is not None  # noqa: S101 - loading weights once is always among them
        if worst is None or smallest[0] > worst[0]:
            worst = smallest
    assert worst is not None  # noqa: S101 - a network has layers
    _, segment, choice = worst
    names = ", ".join(node.name for node in segment.nodes[:3])
    more = f" and {len(segment.nodes) - 3} more" if len(segment.nodes) > 3 else ""
    says = f"'{problem.network.name}' does not fit on {problem.platform.name}: "
    accepted = "; accepted: a larger board, a smaller margin or shorter words"
    least = [way.resources.min(axis=0) for way in segment.ways]
    for needs, certain in (
        (problem.needs(np.sum(least, axis=0)), True),
        (problem.needs(segment.judge(choice).resources), False),
    ):
        over = [at for at in range(len(RESOURCES)) if needs[at] > problem.limits[at]]
        if not over:
            continue
        short = " and ".join(
            f"{math.ceil(needs[at])} {RESOURCES[at]} of {problem.limits[at]:.0f}" for at in over
        )
        taken = [float(way[over[0]]) for way in least]
        layer = segment.nodes[taken.index(max(taken))].name
        if certain:
            return UserError(
                f"{says}its smallest part ({names}{more}), folded as far as it goes, needs at "
                f"least {short}, most of it for layer '{layer}'{accepted}"
            )
        return UserError(
            f"{says}no folding of its smallest part ({names}{more}) keeps all limits at once; the "
            f"one nearest to it needs {short}{accepted}"
        )
    return UserError(f"{says}no design was found within the limits{accepted}")
