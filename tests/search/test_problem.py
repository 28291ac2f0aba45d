from __future__ import annotations

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.search import Constraint, Observation, Problem, check_reachable
from brpnas.spaces import Cell, NASBench201

SPACE = NASBench201()
POOL = SPACE.sample(3, np.random.default_rng(0))
PROBLEM = Problem(SPACE, POOL, "accuracy", [Constraint("latency_ms", 10), Constraint("mj", 0)])


def observe(objective: float, **costs: float) -> Observation[Cell]:
    return Observation(POOL[0], objective, {"latency_ms": 5, "mj": 0, **costs})


def test_order_is_feasible_then_least_violation_then_unknown() -> None:
    ordered = [
        observe(90),
        observe(80),
        observe(99, latency_ms=11),
        observe(99, latency_ms=15),
        observe(99, latency_ms=np.nan),
        observe(np.nan),
    ]
    assert sorted(ordered, key=PROBLEM.merit, reverse=True) == ordered
    assert [PROBLEM.feasible(seen) for seen in ordered] == [True, True, *[False] * 4]


@pytest.mark.parametrize("objective", [np.nan, np.inf, -np.inf])
def test_objective_that_is_not_a_number_is_never_the_answer(objective: float) -> None:
    assert not PROBLEM.feasible(observe(objective))
    assert PROBLEM.merit(observe(objective)) < PROBLEM.merit(observe(-1e9, latency_ms=1e9))


def test_violation_is_relative_and_adds_up() -> None:
    assert PROBLEM.violation(observe(1, latency_ms=12, mj=0.5)) == pytest.approx(0.7)


def test_pool_is_found_by_canonical_form() -> None:
    skip = SPACE.parse("|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    canonical = SPACE.canonical(skip)
    assert skip != canonical
    assert Problem(SPACE, [canonical], "accuracy").find(skip) == canonical
    assert Problem(SPACE, [skip], "accuracy").find(skip) == skip
    assert PROBLEM.find(skip) is None


def test_a_function_is_found_by_its_first_writing() -> None:
    groups: dict[Cell, list[Cell]] = {}
    for cell in SPACE:
        groups.setdefault(SPACE.canonical(cell), []).append(cell)
    several = next(cells for canonical, cells in groups.items() if len(cells) > 3)
    alone = next(cells[0] for cells in groups.values() if len(cells) == 1)
    others = [cell for cell in several if cell != SPACE.canonical(cell)]
    problem = Problem(SPACE, [alone, *others[:2]], "accuracy")
    assert problem.find(SPACE.canonical(others[0])) == others[0]
    assert problem.find(others[1]) == others[1]
    assert list(problem.functions) == [0, 1, 1]


def test_repeats_and_limits_without_a_number_are_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        Problem(SPACE, [POOL[0], POOL[0]], "accuracy")
    with pytest.raises(UserError, match="must be a number, not nan"):
        Constraint("latency_ms", np.nan)


def test_unreachable_limit_is_known_before_the_search() -> None:
    costs = np.array([np.nan, 3.5, 8.0])
    check_reachable(Constraint("latency_ms", 3.5), costs)
    with pytest.raises(UserError, match=r"latency_ms of at most 3: the smallest is 3.5"):
        check_reachable(Constraint("latency_ms", 3), costs)
    with pytest.raises(UserError, match="no network has a value of latency_ms"):
        check_reachable(Constraint("latency_ms", 3), costs[:1])
