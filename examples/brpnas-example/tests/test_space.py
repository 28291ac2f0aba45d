from typing import Any

import pytest
from brpnas.resolver import SPACES
from brpnas.spaces import Space
from brpnas.testing import SpaceContract

from brpnas_example.space import Stacks


class TestStacks(SpaceContract):
    @pytest.fixture
    def space(self) -> Space[Any]:
        return Stacks()


def test_it_is_found_by_its_name() -> None:
    assert SPACES["stacks"] is Stacks
