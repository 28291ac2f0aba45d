from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.spaces import CategoricalSpace, Graph, GraphSchema, NetworkShape, Space
from brpnas.testing import SpaceContract


class _Colours(CategoricalSpace[str]):
    """Decisions with different numbers of options, one of them no choice at all."""

    name = "colours"
    schema = GraphSchema("colours", ("a", "b", "c", "d", "e"), ())
    choices: tuple[int, ...] = (3, 1, 5, 2, 4)

    def parse(self, text: str) -> str:
        if len(text) != 5 or any(
            not "a" <= letter < chr(97 + count)
            for letter, count in zip(text, self.choices, strict=False)
        ):
            raise UserError(f"not five letters in range: {text!r}")
        return text

    def encode(self, arch: str) -> tuple[int, ...]:
        return tuple(ord(letter) - 97 for letter in arch)

    def decode(self, options: Sequence[int]) -> str:
        return "".join(chr(97 + option) for option in options)

    def graph(self, arch: str) -> Graph:
        return Graph(
            self.schema,
            np.array(self.encode(arch)),
            np.zeros((5, 0), np.float32),
            np.array([(node, node + 1) for node in range(4)]),
            np.ones(5, bool),
        )


class TestColours(SpaceContract):
    @pytest.fixture
    def space(self) -> Space[Any]:
        return _Colours()


def test_length_is_the_product_and_order_is_lexical() -> None:
    assert len(_Colours()) == 120
    assert list(_Colours())[:3] == ["aaaaa", "aaaab", "aaaac"]
    assert list(_Colours())[-1] == "caebd"


def test_whole_space_can_be_drawn_but_no_more() -> None:
    assert set(_Colours().sample(120, np.random.default_rng(0))) == set(_Colours())
    for n in (121, -1):
        with pytest.raises(UserError, match=f"asked for {n} networks; space 'colours' has 120"):
            _Colours().sample(n, np.random.default_rng(0))


def test_draws_and_mutations_are_uniform() -> None:
    rng = np.random.default_rng(0)
    drawn = [arch for _ in range(1000) for arch in _Colours().sample(12, rng)]
    counts = np.array([drawn.count(arch) for arch in _Colours()])
    assert counts.min() > 60  # 100 expected, standard deviation 9.5
    assert counts.max() < 140
    # "aaaaa" has 10 mutants where every decision is a choice; take a space where all are.
    mutants = [_Flags().mutate("aaa", rng) for _ in range(3000)]
    assert {text: mutants.count(text) for text in ("baa", "aba", "aab")} == {
        "baa": pytest.approx(1000, abs=120),
        "aba": pytest.approx(1000, abs=120),
        "aab": pytest.approx(1000, abs=120),
    }


class _Flags(_Colours):
    choices = (2, 2, 2)


def test_decision_without_alternative_is_never_the_one_that_changes() -> None:
    rng = np.random.default_rng(0)
    assert all(_Colours().mutate("aaaaa", rng) != "aaaaa" for _ in range(100))


def test_architectures_are_their_own_representatives_unless_the_space_says_otherwise() -> None:
    assert _Colours().canonical("babaa") == _Colours().deployed("babaa") == "babaa"


def test_space_that_builds_no_networks_says_so() -> None:
    with pytest.raises(UserError, match="'colours' does not build networks"):
        _Colours().build("aaaaa")


@pytest.mark.parametrize(
    ("field", "value"),
    [("channels", 0), ("cells_per_stage", 0), ("classes", -1), ("input_size", 3), ("replicas", 0)],
)
def test_impossible_shapes_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least"):
        NetworkShape(**{field: value})
