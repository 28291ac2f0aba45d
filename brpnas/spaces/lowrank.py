"""All low-rank versions of one trained network: the LR-space of SVD-NAS (Yu and Bouganis 2023)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError, unknown_name
from brpnas.lowrank import DENSE, Choice, LayerShape
from brpnas.lowrank.flow import IMAGE, JOIN, SCORES, Flow
from brpnas.lowrank.schemes import check_choice
from brpnas.spaces.space import Graph, GraphSchema, Space

__all__ = ["LowRankNetwork", "LowRankSpace", "Option"]

_ENDS = ("image", "scores")
_FAMILIES = ("separable", "input", "output", "plain", "rows")
_OPERATIONS = (
    *_ENDS,
    "join",
    "fixed",  # a layer that no pair can replace
    "dense",
    *_FAMILIES,
    *(f"{first}+{second}" for first in _FAMILIES for second in _FAMILIES),
)
_PLACE = {name: place for place, name in enumerate(_OPERATIONS)}
_TRIES = 100
_NEAR = 4


@dataclass(frozen=True)
class LowRankNetwork:
    """What takes the place of each layer of a network.

    Attributes:
        replaced: the layers that are not left as they are, in the network's order, and what is in
            their place.
    """

    replaced: tuple[tuple[str, Choice], ...] = ()

    @functools.cached_property
    def choices(self) -> dict[str, Choice]:
        """What is in the place of the layers that are replaced, by name."""
        return dict(self.replaced)

    def __str__(self) -> str:
        return " ".join(f"{name}={choice}" for name, choice in self.replaced) or "dense"


@dataclass(frozen=True)
class Option:
    """A choice that a search considers for a layer.

    Attributes:
        choice: the choice.
        error: mean squared change of the layer's outputs as a share of their power.
        damage: mean squared change of the network's scores to first order (`find_damages`).
    """

    choice: Choice
    error: float
    damage: float


class LowRankSpace(Space[LowRankNetwork]):
    """All low-rank versions of a network; a search walks through those that ``options`` names.

    Graphs are the network's own, with the choice on each layer's node.

    Attributes:
        layers: shapes of the layers that a pair may replace, in the network's order.
        options: for each of them, what to draw from; `DENSE` is always the first.

    Args:
        layers: see above.
        flow: how data goes from layer to layer.
        options: see above; layers without any stay as they are. The order of a layer's options,
            such as by cost, is what mutation takes small steps in.
        fixed_macs: multiply-accumulates, for one image, of what cannot be replaced.
        fixed_params: parameters of what cannot be replaced.
        adds_bias: whether pairs have a bias where the layer has none (`Method.adds_bias`).

    Raises:
        UserError: a layer whose name cannot stand in an architecture's text, or an option that
            the layer does not have.
    """

    name = "lowrank"
    schema = GraphSchema(
        space="lowrank",
        operations=_OPERATIONS,
        numbers=(
            "depth",
            "log_macs",
            "log_params",
            "log_first_macs",
            "log_rank",
            "log_groups",
            "log_second_rank",
            "log_inputs",
            "log_outputs",
            "kernel",
            "log_positions",
            "saved_macs_share",
            "error",
            "log_error",
            "log_damage",
        ),
    )

    def __init__(
        self,
        layers: Mapping[str, LayerShape],
        flow: Flow,
        options: Mapping[str, Sequence[Option]],
        fixed_macs: int = 0,
        fixed_params: int = 0,
        adds_bias: bool = False,
    ) -> None:
        self.layers = dict(layers)
        for name in layers:
            if "=" in name or any(map(str.isspace, name)):
                raise UserError(f"layer '{name}': its name holds '=' or a space: rename it")
        self.options: dict[str, tuple[Option, ...]] = {}
        for name, shape in layers.items():
            others = [one for one in options.get(name, ()) if one.choice != DENSE]
            for option in others:
                check_choice(name, shape, option.choice)
            self.options[name] = (Option(DENSE, 0.0, 0.0), *others)
        self._known = {
            (name, option.choice): option
            for name, known in self.options.items()
            for option in known
        }
        self._flow = flow
        self._edges = np.array(flow.edges, dtype=np.int64).reshape(-1, 2)
        self._fixed_macs = fixed_macs
        self._fixed_params = fixed_params
        self._adds_bias = adds_bias
        self._nodes: dict[tuple[str, Choice], tuple[int, NDArray[np.float32]]] = {}
        self._dense_macs = self.macs(LowRankNetwork())

    def network(self, choices: Mapping[str, Choice]) -> LowRankNetwork:
        """Return the architecture with these choices; layers without one stay as they are.

        Raises:
            UserError: a layer that there is not, or a choice that it does not have.
        """
        for name, choice in choices.items():
            if name not in self.layers:
                raise unknown_name("layer", name, self.layers)
            check_choice(name, self.layers[name], choice)
        return self._network(choices)

    def parse(self, text: str) -> LowRankNetwork:
        """Read a text such as ``conv1=separable:r6 layer1.0.conv1=output:g4:r3``, or ``dense``."""
        if text == "dense":
            return LowRankNetwork()
        choices: dict[str, Choice] = {}
        for part in text.split(" "):
            name, equals, choice = part.rpartition("=")
            if not equals or choice == "dense":
                raise UserError(
                    f"malformed network '{text[:200]}': expected LAYER=CHOICE, separated by "
                    "spaces, of the layers that are replaced; or 'dense'"
                )
            if name in choices:
                raise UserError(f"layer '{name}' is there twice")
            choices[name] = Choice.parse(choice)
        return self.network(choices)

    def sample(self, n: int, rng: np.random.Generator) -> list[LowRankNetwork]:
        """Draw different networks as `draw` does.

        Raises:
            UserError: so many are not found.
        """
        drawn = self.draw(n, rng)
        if len(drawn) < n:
            raise UserError(f"asked for {n} networks; only {len(drawn)} were found")
        return drawn

    def draw(self, most: int, rng: np.random.Generator) -> list[LowRankNetwork]:
        """Draw up to so many different networks, fewer where the space has few.

        They are spread over sizes: a share of cost to keep is drawn evenly, then choices near it.
        Each layer takes an option at random among the few whose share of the layer's
        multiply-accumulates lies nearest to a draw around the network's share.
        """
        drawn: dict[LowRankNetwork, None] = {}
        for _ in range(most * _TRIES):
            if len(drawn) == most:
                break
            level = rng.uniform(0, 1)
            choices = {}
            for name, known in self.options.items():
                wanted = level + rng.normal(scale=0.15)
                distance = np.abs(self._shares[name] - wanted)
                near = np.argsort(distance, kind="stable")[:_NEAR]
                choices[name] = known[int(rng.choice(near))].choice
            drawn[self._network(choices)] = None
        return list(drawn)

    def mutate(self, arch: LowRankNetwork, rng: np.random.Generator) -> LowRankNetwork:
        """Change one layer: half of the time to a nearby option, else to any."""
        free = [name for name, known in self.options.items() if len(known) > 1]
        if not free:
            raise UserError("no layer of the network can be replaced")
        name = free[int(rng.integers(len(free)))]
        known, choices = self.options[name], arch.choices
        known = (*known[1:], known[0])  # the layer as it is comes after the dearest option
        here = [i for i, one in enumerate(known) if one.choice == choices.get(name, DENSE)]
        if here and rng.random() < 0.5:
            steps = [step for step in (-2, -1, 1, 2) if 0 <= here[0] + step < len(known)]
            place = here[0] + steps[int(rng.integers(len(steps)))]
        else:
            others = [i for i in range(len(known)) if i not in here]
            place = others[int(rng.integers(len(others)))]
        return self._network({**choices, name: known[place].choice})

    def macs(self, arch: LowRankNetwork) -> int:
        """Return the multiply-accumulates for one image, without building the network."""
        choices = arch.choices
        own = (choices.get(name, DENSE).macs(shape) for name, shape in self.layers.items())
        return self._fixed_macs + sum(own)

    def params(self, arch: LowRankNetwork) -> int:
        """Return the parameters, without building the network."""
        own = (
            arch.choices.get(name, DENSE).params(shape, self._adds_bias)
            for name, shape in self.layers.items()
        )
        return self._fixed_params + sum(own)

    def graph(self, arch: LowRankNetwork) -> Graph:
        """Draw the network's layers with what is in their places."""
        choices = arch.choices
        nodes = [self._node(name, choices.get(name, DENSE)) for name in self._flow.nodes]
        numbers = np.stack([row for _, row in nodes])
        numbers[:, 0] = np.arange(len(nodes)) / len(nodes)
        return Graph(
            schema=self.schema,
            operations=np.array([operation for operation, _ in nodes]),
            numbers=numbers,
            edges=self._edges,
            live=np.ones(len(nodes), dtype=bool),
        )

    def _network(self, choices: Mapping[str, Choice]) -> LowRankNetwork:
        kept = ((name, choices.get(name, DENSE)) for name in self.layers)
        return LowRankNetwork(tuple((name, choice) for name, choice in kept if choice != DENSE))

    @functools.cached_property
    def _shares(self) -> dict[str, NDArray[np.float64]]:
        """Multiply-accumulates of each option as a share of the layer's."""
        return {
            name: np.array([one.choice.macs(self.layers[name]) for one in known])
            / self.layers[name].macs
            for name, known in self.options.items()
        }

    def _node(self, name: str, choice: Choice) -> tuple[int, NDArray[np.float32]]:
        """Return operation and numbers of a node; the first number is left to the caller."""
        key = (name, choice)
        if key not in self._nodes:
            self._nodes[key] = self._new_node(name, choice)
        return self._nodes[key]

    def _new_node(self, name: str, choice: Choice) -> tuple[int, NDArray[np.float32]]:
        if name not in self.layers:
            kind = {IMAGE: "image", SCORES: "scores"}.get(name, "fixed")
            kind = "join" if name.startswith(JOIN) else kind
            return _PLACE[kind], np.zeros(len(self.schema.numbers), np.float32)
        shape = self.layers[name]
        pairs = [*choice.pairs, None, None][:2]
        ranks = [pair.rank if pair else 0 for pair in pairs]
        groups = [pair.scheme.groups if pair else 1 for pair in pairs]
        first = [pair.scheme.first_macs(shape, pair.rank) for pair in choice.pairs]
        option = self._known.get((name, choice))
        if option is None:
            raise UserError(f"nothing is known of layer '{name}' as {choice}: not an option")
        macs = choice.macs(shape)
        saved = (shape.macs - macs) / self._dense_macs
        numbers = [
            0.0,
            *np.log1p([macs, choice.params(shape, self._adds_bias), sum(first)]),
            *np.log1p([ranks[0], groups[0], ranks[1], shape.inputs, shape.outputs]),
            max(shape.kernel),
            np.log1p(shape.positions.outputs),
            saved,
            option.error,
            np.log(option.error + 1e-4),
            np.log(option.damage + 1e-6),
        ]
        names = [pair.scheme.family for pair in choice.pairs]
        return _PLACE["+".join(names) or "dense"], np.array(numbers, np.float32)
