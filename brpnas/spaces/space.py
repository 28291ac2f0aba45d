"""What can be chosen: the nouns Architecture, Graph and Space."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from brpnas.errors import UserError

__all__ = [
    "Architecture",
    "CategoricalSpace",
    "FiniteSpace",
    "Graph",
    "GraphSchema",
    "NetworkShape",
    "Space",
]


@runtime_checkable
class Architecture(Protocol):
    """A small frozen value; ``str(architecture)`` is its text, which its space parses back."""

    def __str__(self) -> str: ...

    def __hash__(self) -> int: ...


A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class GraphSchema:
    """What the integers and columns of a space's graphs stand for.

    Attributes:
        space: name of the space that draws the graphs.
        operations: vocabulary; ``Graph.operations`` holds indices into it.
        numbers: names of the columns of ``Graph.numbers``, with their unit.
    """

    space: str
    operations: tuple[str, ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a predictor sees it: operations on nodes, data flow on directed edges.

    The graph is the network *as written*; ``live`` marks what survives pruning. Both are shown
    because some hardware runs dead branches and some does not.

    Attributes:
        schema: the meaning of operations and numbers.
        operations: operation of each node, shape (nodes,), integers into ``schema.operations``.
        numbers: properties of each node, shape (nodes, len(schema.numbers)), float32.
        edges: data flow, shape (edges, 2), each row (source node, target node).
        live: whether a node lies on a path from input to output, shape (nodes,).
    """

    schema: GraphSchema
    operations: NDArray[np.int64]
    numbers: NDArray[np.float32]
    edges: NDArray[np.int64]
    live: NDArray[np.bool_]


@dataclass(frozen=True)
class NetworkShape:
    """How a cell becomes a whole network: three stages of equal cells, then a classifier.

    Attributes:
        channels: channels of the first stage; each later stage has twice as many.
        cells_per_stage: cells in each of the three stages.
        classes: outputs of the classifier.
        input_size: height and width of the input image, in pixels.
        input_channels: channels of the input image.
        replicas: independent copies of the network that are trained side by side, as groups of
            one convolution; inputs then have ``replicas * input_channels`` channels and outputs
            the shape (batch, replicas, classes).
    """

    channels: int = 16
    cells_per_stage: int = 5
    classes: int = 10
    input_size: int = 32
    input_channels: int = 3
    replicas: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.input_size < 4:
            raise ValueError(f"input_size must be at least 4 (two halvings), not {self.input_size}")


class Space(ABC, Generic[A]):
    """A set of networks to choose from. Add one by writing a subclass and registering it.

    Attributes:
        name: what the user types after ``--space``.
        schema: the meaning of this space's graphs.
        shape: of its networks as they were published.
    """

    name: str
    schema: GraphSchema
    shape: NetworkShape = NetworkShape()

    @abstractmethod
    def parse(self, text: str) -> A:
        """Turn an architecture's text into its value; raise UserError where it is malformed."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> list[A]:
        """Draw ``n`` different architectures uniformly; raise UserError if there are fewer."""

    @abstractmethod
    def graph(self, arch: A) -> Graph:
        """Draw an architecture as a predictor sees it."""

    def canonical(self, arch: A) -> A:
        """Return the one representative of all architectures that compute the same function."""
        return arch

    def deployed(self, arch: A) -> A:
        """Return the one representative of all architectures that a runtime runs alike.

        These are the same network once what is dead is pruned and repeated work is shared: a
        device needs to measure one of them. They compute the same function, but not all that
        compute the same function run alike. A canonical architecture represents itself.
        """
        return arch

    def mutate(self, arch: A, rng: np.random.Generator) -> A:
        """Return another architecture that is near.

        Raises:
            UserError: the space knows no neighbours, or the architecture has none.
        """
        raise UserError(f"space '{self.name}' has no neighbours (asked for {arch}, {rng})")

    def build(self, arch: A, shape: NetworkShape | None = None) -> nn.Module:
        """Make the torch module, with freshly initialised weights.

        Raises:
            UserError: the space does not build networks.
        """
        raise UserError(f"space '{self.name}' does not build networks (asked for {arch}, {shape})")


class FiniteSpace(Space[A]):
    """A space that can be enumerated and walked through in small steps: what a search needs."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[A]: ...

    @abstractmethod
    def mutate(self, arch: A, rng: np.random.Generator) -> A:
        """Return a neighbour, drawn uniformly."""

    @abstractmethod
    def neighbours(self, arch: A) -> list[A]:
        """Return every architecture that is one step away, each once."""


class CategoricalSpace(FiniteSpace[A]):
    """A space whose architectures are a fixed number of independent choices.

    Sampling, enumeration, mutation and neighbours follow from the list of choices.

    Attributes:
        choices: for each decision, how many options it has.
    """

    choices: tuple[int, ...]

    @abstractmethod
    def encode(self, arch: A) -> tuple[int, ...]:
        """Return the option taken at each decision."""

    @abstractmethod
    def decode(self, options: Sequence[int]) -> A:
        """Return the architecture with these options."""

    def __len__(self) -> int:
        return int(np.prod(self.choices, dtype=object))

    def __iter__(self) -> Iterator[A]:
        return map(self.decode, itertools.product(*map(range, self.choices)))

    def sample(self, n: int, rng: np.random.Generator) -> list[A]:
        """Draw ``n`` different architectures uniformly; raise UserError if there are fewer."""
        if not 0 <= n <= len(self):
            raise UserError(f"asked for {n} networks; space '{self.name}' has {len(self)}")
        indices = rng.choice(len(self), size=n, replace=False)
        options = np.stack(np.unravel_index(indices, self.choices), axis=1)  # (n, decisions)
        return [self.decode(row) for row in options.tolist()]

    def mutate(self, arch: A, rng: np.random.Generator) -> A:
        """Change one decision, drawn uniformly, to another option, drawn uniformly."""
        options = list(self.encode(arch))
        places = [place for place, count in enumerate(self.choices) if count > 1]
        place = places[int(rng.integers(len(places)))]
        options[place] = (
            int(options[place] + rng.integers(1, self.choices[place])) % self.choices[place]
        )
        return self.decode(options)

    def neighbours(self, arch: A) -> list[A]:
        """Return every architecture that differs in exactly one decision."""
        here = self.encode(arch)
        return [
            self.decode((*here[:place], option, *here[place + 1 :]))
            for place, count in enumerate(self.choices)
            for option in range(count)
            if option != here[place]
        ]
