"""A made-up low-rank space, and the contract of strategies that search it, as tests."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.lowrank import Choice, LayerShape
from brpnas.lowrank.flow import IMAGE, SCORES, Flow
from brpnas.lowrank.schemes import Pair, greatest_rank, schemes_for
from brpnas.lowrank.shapes import Positions
from brpnas.search.front_problem import FrontProblem, on_front
from brpnas.search.fronts import OptionCosts
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork, LowRankSpace, Option
from brpnas.testing.seeded import SeededContract

__all__ = ["FrontStrategyContract", "SyntheticFront"]

_FIXED_MACS = 50_000


class SyntheticFront:
    """A chain of convolutions, and what its low-rank versions are worth: no network is run.

    Errors of options fall with their cost, for some layers faster than for others; their damage
    is what a layer's weight makes of the error. The objective, in percent, is less than additive
    (damages to the power of 0.8, times what the layer really weighs), suffers where both of two
    neighbours are damaged, and saturates at 10.

    Attributes:
        problem: accuracy against multiply-accumulates.
        space: of its networks.
        option_costs: multiply-accumulates of each option, and of all else.

    Args:
        layers: of the network.
        options: of each layer, ``dense`` not counted.
        misjudged: standard deviation of the logarithm of what a layer really weighs, beside what
            its damages say.
        seed: of all that is made up.
        span: of the problem.
        known: whether costs are known beforehand.
    """

    def __init__(
        self,
        layers: int = 12,
        options: int = 20,
        misjudged: float = 0.5,
        seed: int = 0,
        span: tuple[float, float] = (0.2, 0.95),
        known: bool = True,
    ) -> None:
        rng = np.random.default_rng(seed)
        shapes = {f"conv{i}": _shape(i, layers) for i in range(layers)}
        found = {name: _options(shape, options, rng) for name, shape in shapes.items()}
        self._weights = np.exp(rng.normal(0, misjudged, layers))
        nodes = (IMAGE, *shapes, SCORES)
        flow = Flow(nodes, tuple((i, i + 1) for i in range(len(nodes) - 1)))
        self.space = LowRankSpace(shapes, flow, found, fixed_macs=_FIXED_MACS)
        costs = {
            name: np.array([float(one.choice.macs(shapes[name])) for one in known])
            for name, known in self.space.options.items()
        }
        self.option_costs = OptionCosts(costs, float(_FIXED_MACS))
        whole = float(self.space.macs(LowRankNetwork()))
        self.problem: FrontProblem[LowRankNetwork] = FrontProblem(
            self.space, "accuracy_pct", "macs", whole, span, self.space.macs if known else None
        )

    def observe(self, arch: LowRankNetwork) -> Observation[LowRankNetwork]:
        """Return what an evaluation would find."""
        damages = np.zeros(len(self._weights))
        for layer, (name, known) in enumerate(self.space.options.items()):
            if name in arch.choices:
                damages[layer] = next(o.damage for o in known if o.choice == arch.choices[name])
        felt = self._weights * damages**0.8
        total = felt.sum() + 1.5 * np.sqrt(felt[1:] * felt[:-1]).sum()
        accuracy_pct = 10 + 82 * float(np.exp(-0.08 * total))
        return Observation(arch, accuracy_pct, {"macs": float(self.space.macs(arch))})

    def area(self, seen: Sequence[Observation[LowRankNetwork]]) -> float:
        """Return the area under the front within the span, as a share of all there could be."""
        least, greatest = self.problem.span
        shares = np.array([self.problem.share(one) for one in seen])
        values = np.array([one.objective for one in seen])
        front = on_front(shares, values) & (shares <= greatest * (1 + 1e-9))
        order = np.argsort(shares[front])
        edges = np.append(np.clip(shares[front][order], least, greatest), greatest)
        area = (np.diff(edges) * (values[front][order] - 10)).sum()
        return float(area / (greatest - least) / 82)


def _shape(place: int, layers: int) -> LayerShape:
    stage, before = place * 3 // layers, max(place - 1, 0) * 3 // layers
    channels, inputs, size = 16 << stage, 16 << before, 32 >> stage
    area = size * size
    sizes = ((1, inputs, size, size), (1, channels, size, size))
    return LayerShape(channels, inputs, (3, 3), False, False, Positions(area, area, area), *sizes)


def _options(shape: LayerShape, count: int, rng: np.random.Generator) -> list[Option]:
    """Return options that no other one beats, the cheapest first."""
    weight, decay = np.exp(rng.normal(0, 0.8)), rng.uniform(2, 6)
    choices, costs, errors = [], [], []
    for scheme in schemes_for(shape):
        quality = rng.uniform(0.8, 1.3)
        for rank in range(1, greatest_rank(shape, scheme)):
            choice = Choice((Pair(scheme, rank),))
            share = choice.macs(shape) / shape.macs
            if share < 1:
                choices.append(choice)
                costs.append(share)
                errors.append(float(np.exp(-decay * quality * share)))
    rows: NDArray[np.int64] = np.flatnonzero(on_front(np.array(costs), -np.array(errors)))
    rows = rows[np.argsort(np.array(costs)[rows])]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(np.int64))]
    return [Option(choices[row], errors[row], float(weight * errors[row])) for row in rows]


class FrontStrategyContract(SeededContract):
    """What every strategy for fronts has to do. To test one, subclass and override ``strategy``.

    The subclass lives at the top level of its module and its constructor takes nothing, so that
    another process can make it. Where the seed decides nothing, it sets ``random`` to False.
    """

    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        """Return a fresh strategy that can be asked for ``budget`` networks."""
        raise NotImplementedError

    @pytest.mark.parametrize("n", [1, 7])
    def test_asks_for_at_most_n_and_the_same_in_any_portions(self, n: int) -> None:
        """Neither how many are asked for at a time nor how they are told makes a difference."""
        assert self._trace(seed=5, n=n) == self._trace(seed=5, portion=1) == self._trace(seed=5)

    def test_never_asks_twice_and_keeps_the_budget(self) -> None:
        """All that can be had of the budget, and then nothing."""
        trace = self._trace(seed=1)
        assert len({arch for arch, _, _ in trace}) == len(trace)
        assert 1 <= len(trace) <= 24

    def test_is_served_without_telling(self) -> None:
        """A caller that tells late still gets different networks."""
        strategy = self.strategy(SyntheticFront(6), 2, 24)
        asked = [one.arch for _ in range(24) for one in strategy.ask(1)]
        assert 1 <= len(asked) == len(set(asked))

    def test_networks_lie_within_the_span(self) -> None:
        """A narrow span too: what costs are known of is kept within it."""
        for span in ((0.2, 0.95), (0.46, 0.5)):
            front = SyntheticFront(span=span)
            shares = [front.problem.share(seen) for seen in self._walk(front)]
            assert shares
            assert all(0.999 * span[0] <= share <= 1.001 * span[1] for share in shares)

    @pytest.mark.parametrize("failing", [2, 1])
    def test_survives_failed_evaluations(self, failing: int) -> None:
        """Some or all networks without metrics do not stop it."""
        front = SyntheticFront(6)
        strategy = self.strategy(front, 6, 24)
        asked: list[LowRankNetwork] = []
        while batch := strategy.ask(24):
            archs = [one.arch for one in batch]
            strategy.tell(
                [
                    Observation(arch, np.nan, {"macs": np.nan})
                    if len(str(arch)) % failing == 0
                    else front.observe(arch)
                    for arch in archs
                ]
            )
            asked += archs
        assert 1 <= len(asked) == len(set(asked)) <= 24

    def _walk(self, front: SyntheticFront, budget: int = 24) -> list[Observation[LowRankNetwork]]:
        strategy = self.strategy(front, 0, budget)
        seen: list[Observation[LowRankNetwork]] = []
        while batch := strategy.ask(budget):
            told = [front.observe(one.arch) for one in batch]
            strategy.tell(told)
            seen += told
        return seen

    def _trace(self, seed: int, n: int = 1000, portion: int = 1000) -> list[list[object]]:
        front = SyntheticFront(6)
        strategy = self.strategy(front, seed, 24)
        trace: list[Candidate[LowRankNetwork]] = []
        while batch := strategy.ask(n):
            assert len(batch) <= n
            told = [front.observe(one.arch) for one in batch]
            for start in range(0, len(told), portion):
                strategy.tell(told[start : start + portion])
            trace += batch
        return [[str(one.arch), one.origin, one.iteration] for one in trace]
