"""The contract of a space, as tests."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from brpnas.errors import UserError
from brpnas.spaces import Architecture, CategoricalSpace, FiniteSpace, NetworkShape, Space

__all__ = ["SpaceContract"]

_ENUMERABLE = 100_000


class SpaceContract:
    """What every space has to do. To test one, subclass and override the fixture ``space``.

    What only finite spaces or those of categorical choices can do is skipped for others, and so is
    what only those can do that build networks.

    Attributes:
        drawn: architectures that a test looks at; the space has more of them.
        small: of the networks that are built, so that building and running them takes no time.
    """

    drawn = 50
    small = NetworkShape(channels=4, cells_per_stage=1, classes=7, input_size=8, input_channels=2)

    @pytest.fixture
    def space(self) -> Space[Any]:
        """Return the space under test."""
        raise NotImplementedError

    def _draw(self, space: Space[Any], seed: int = 0) -> list[Any]:
        return space.sample(self.drawn, np.random.default_rng(seed))

    def test_text_parses_back(self, space: Space[Any]) -> None:
        """The text of an architecture gives an equal one with an equal hash."""
        for arch in self._draw(space):
            assert isinstance(arch, Architecture)
            again = space.parse(str(arch))
            assert again == arch
            assert hash(again) == hash(arch)
            assert str(again) == str(arch)

    @pytest.mark.parametrize("text", ["", " ", "no architecture", "|", "0", "\x00", "é" * 1000])
    def test_malformed_text_is_the_users_error(self, space: Space[Any], text: str) -> None:
        """Text that is no architecture raises UserError and nothing else."""
        with pytest.raises(UserError):
            space.parse(text)

    def test_different_architectures_have_different_texts(self, space: Space[Any]) -> None:
        """Equality, hash and text agree."""
        drawn = self._draw(space)
        assert len({str(arch) for arch in drawn}) == len(set(drawn)) == len(drawn)

    def test_sample_is_distinct_and_seeded(self, space: Space[Any]) -> None:
        """No architecture is drawn twice; the seed decides which ones are."""
        drawn = self._draw(space, seed=1)
        assert len(drawn) == len(set(drawn)) == self.drawn
        assert self._draw(space, seed=1) == drawn
        assert self._draw(space, seed=2) != drawn
        assert space.sample(0, np.random.default_rng(0)) == []

    def test_sample_of_more_than_there_are_is_the_users_error(self, space: Space[Any]) -> None:
        """A finite space says that it is too small."""
        size = _size(space)
        with pytest.raises(UserError):
            space.sample(size + 1, np.random.default_rng(0))

    def test_canonical_is_idempotent_and_in_the_space(self, space: Space[Any]) -> None:
        """The representative is an architecture like any other, and represents itself."""
        members = set(space) if isinstance(space, FiniteSpace) and _small(space) else None
        for arch in self._draw(space):
            canonical = space.canonical(arch)
            assert space.canonical(canonical) == canonical
            assert space.parse(str(canonical)) == canonical
            assert members is None or canonical in members

    def test_deployed_lies_between_written_and_canonical(self, space: Space[Any]) -> None:
        """What runs alike computes the same; each representative represents itself."""
        for arch in self._draw(space):
            deployed, canonical = space.deployed(arch), space.canonical(arch)
            assert space.deployed(deployed) == deployed
            assert space.canonical(deployed) == canonical
            assert space.deployed(canonical) == canonical
            assert space.parse(str(deployed)) == deployed

    def test_graph_is_well_formed(self, space: Space[Any]) -> None:
        """Shapes, types and indices fit the schema; data flows in no circle."""
        for arch in self._draw(space):
            graph = space.graph(arch)
            nodes = len(graph.operations)
            assert graph.schema == space.schema
            assert graph.schema.space == space.name
            assert graph.operations.shape == graph.live.shape == (nodes,)
            assert graph.numbers.shape == (nodes, len(space.schema.numbers))
            assert graph.edges.shape[1:] == (2,)
            assert np.issubdtype(graph.operations.dtype, np.integer)
            assert np.issubdtype(graph.edges.dtype, np.integer)
            assert graph.numbers.dtype == np.float32
            assert graph.live.dtype == np.bool_
            assert np.isfinite(graph.numbers).all()
            assert (
                (graph.operations >= 0) & (graph.operations < len(space.schema.operations))
            ).all()
            assert ((graph.edges >= 0) & (graph.edges < nodes)).all()
            assert len({*map(tuple, graph.edges.tolist())}) == len(graph.edges)
            assert _acyclic(graph.edges.tolist(), nodes)

    def test_live_nodes_lie_on_live_paths(self, space: Space[Any]) -> None:
        """A live node is fed by a live node and feeds one, unless it begins or ends the graph."""
        for arch in self._draw(space):
            graph = space.graph(arch)
            live = graph.live
            for here, there in ((0, 1), (1, 0)):
                for node in np.flatnonzero(live):
                    others = graph.edges[graph.edges[:, here] == node][:, there]
                    assert not len(others) or live[others].any()

    def test_equal_architectures_have_equal_graphs(self, space: Space[Any]) -> None:
        """The graph follows from the architecture alone."""
        for arch in self._draw(space):
            graph, again = space.graph(arch), space.graph(space.parse(str(arch)))
            for name in ("operations", "numbers", "edges", "live"):
                assert np.array_equal(getattr(graph, name), getattr(again, name))

    def test_neighbours_are_other_architectures_each_once(self, space: Space[Any]) -> None:
        """They are in the space, and none is the architecture itself."""
        finite = _finite(space)
        for arch in self._draw(space):
            neighbours = finite.neighbours(arch)
            assert neighbours
            assert len({*neighbours, arch}) == len(neighbours) + 1
            assert all(space.parse(str(other)) == other for other in neighbours)

    def test_mutants_are_neighbours(self, space: Space[Any]) -> None:
        """The seed decides which one."""
        finite = _finite(space)
        rng, same = np.random.default_rng(0), np.random.default_rng(0)
        for arch in self._draw(space):
            mutant = finite.mutate(arch, rng)
            assert mutant in finite.neighbours(arch)
            assert finite.mutate(arch, same) == mutant

    def test_mutants_are_others_and_in_the_space(self, space: Space[Any]) -> None:
        """They can be written and drawn; the seed decides which one."""
        if type(space).mutate is Space.mutate:
            pytest.skip("a space without neighbours")
        rng, same = np.random.default_rng(0), np.random.default_rng(0)
        for arch in self._draw(space):
            mutant = space.mutate(arch, rng)
            assert mutant != arch
            assert space.parse(str(mutant)) == mutant
            assert space.graph(mutant).schema == space.schema
            assert space.mutate(arch, same) == mutant

    def test_travels_to_workers(self, space: Space[Any]) -> None:
        """Space and architectures can be pickled, and are the same there."""
        arch = self._draw(space)[0]
        there, same = pickle.loads(pickle.dumps((space, arch)))  # noqa: S301 - made just now
        assert same == arch
        assert there.name == space.name
        assert there.graph(same).schema == space.schema

    def test_built_networks_classify_images(self, space: Space[Any]) -> None:
        """Of the size and with the classes that are asked for; also as copies side by side."""
        if type(space).build is Space.build:
            pytest.skip("a space that does not build networks")
        size = self.small
        for arch in self._draw(space)[:3]:
            for copies in (1, 2):
                network = space.build(arch, replace(size, replicas=copies)).eval()
                images = torch.rand(
                    5, copies * size.input_channels, size.input_size, size.input_size
                )
                scores = network(images)
                assert scores.shape == ((5, 7) if copies == 1 else (5, 2, 7))
                assert torch.isfinite(scores).all()

    def test_options_decode_back(self, space: Space[Any]) -> None:
        """What is encoded is in range and decodes to the same architecture."""
        categorical = _categorical(space)
        for arch in self._draw(space):
            options = categorical.encode(arch)
            assert len(options) == len(categorical.choices)
            assert all(
                0 <= o < count for o, count in zip(options, categorical.choices, strict=True)
            )
            assert categorical.decode(options) == arch

    def test_mutation_changes_one_decision(self, space: Space[Any]) -> None:
        """Exactly one, every one in its turn, and the seed decides which."""
        categorical = _categorical(space)
        rng, same = np.random.default_rng(0), np.random.default_rng(0)
        changed = set()
        for arch in self._draw(space):
            for _ in range(10):
                mutant = categorical.mutate(arch, rng)
                assert categorical.mutate(arch, same) == mutant
                places = _differences(categorical, arch, mutant)
                assert len(places) == 1
                changed.add(places[0])
        if len(categorical.choices) <= self.drawn:
            assert len(changed) == sum(count > 1 for count in categorical.choices)

    def test_neighbours_are_all_that_differ_in_one_decision(self, space: Space[Any]) -> None:
        """As many as there are other options, each once."""
        categorical = _categorical(space)
        arch = self._draw(space)[0]
        neighbours = categorical.neighbours(arch)
        assert len(set(neighbours)) == len(neighbours)
        assert len(neighbours) == sum(count - 1 for count in categorical.choices)
        assert all(len(_differences(categorical, arch, other)) == 1 for other in neighbours)

    def test_enumeration_agrees_with_length(self, space: Space[Any]) -> None:
        """Iteration gives every architecture once."""
        size = _size(space)
        if size > _ENUMERABLE:
            pytest.skip(f"{size} architectures are too many to enumerate here")
        everything = list(iter(_finite(space)))
        assert len(set(everything)) == len(everything) == size
        assert set(self._draw(space)) <= set(everything)


def _finite(space: Space[Any]) -> FiniteSpace[Any]:
    if not isinstance(space, FiniteSpace):
        pytest.skip("not a finite space")
    return space


def _categorical(space: Space[Any]) -> CategoricalSpace[Any]:
    if not isinstance(space, CategoricalSpace):
        pytest.skip("not a space of categorical choices")
    return space


def _size(space: Space[Any]) -> int:
    if not hasattr(space, "__len__"):
        pytest.skip("not a finite space")
    return len(space)


def _small(space: FiniteSpace[Any]) -> bool:
    return len(space) <= _ENUMERABLE


def _differences(space: CategoricalSpace[Any], one: Any, other: Any) -> list[int]:  # noqa: ANN401
    pairs = zip(space.encode(one), space.encode(other), strict=True)
    return [place for place, (a, b) in enumerate(pairs) if a != b]


def _acyclic(edges: list[list[int]], nodes: int) -> bool:
    """Take away nodes that nothing leads to until none is left (Kahn)."""
    left = set(range(nodes))
    while left:
        fed = {target for source, target in edges if source in left}
        free = left - fed
        if not free:
            return False
        left -= free
    return True
