"""Why no design fits."""

from __future__ import annotations

import itertools

from brpnas.devices.fpga.foldings import RESOURCES
from brpnas.devices.fpga.mapping.design import cut_places, reload_counts
from brpnas.devices.fpga.mapping.fill import Filler
from brpnas.devices.fpga.partition import Problem, Segment
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
    needs, limits = problem.needs(segment.judge(choice).resources), problem.limits
    over = [at for at in range(len(RESOURCES)) if needs[at] > limits[at]]
    names = ", ".join(node.name for node in segment.nodes[:3])
    more = f" and {len(segment.nodes) - 3} more" if len(segment.nodes) > 3 else ""
    if not over:
        return UserError(
            f"no design of '{problem.network.name}' for {problem.platform.name} was found within "
            "the limits; try a larger board, a smaller margin or shorter words"
        )
    at = max(over, key=lambda at: float(needs[at]) / max(float(limits[at]), 1.0))
    rows = zip(segment.ways, choice, strict=True)
    taken = [float(way.resources[row, at]) for way, row in rows]
    layer = segment.nodes[taken.index(max(taken))].name
    return UserError(
        f"'{problem.network.name}' does not fit on {problem.platform.name}: its smallest part "
        f"({names}{more}), folded as far as it goes, needs {needs[at]:.0f} {RESOURCES[at]} of "
        f"{limits[at]:.0f}, most of it for layer '{layer}'; accepted: a larger board, a smaller "
        "margin or shorter words"
    )
