import math

import pytest

from brpnas.devices.timing import TimingPlan


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"runs": 0}, {"warmup": -1}, {"threads": 0}])
def test_a_plan_refuses_numbers_below_the_smallest(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        TimingPlan(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_plan_refuses_an_impossible_timeout(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be a number above 0"):
        TimingPlan(timeout_s=seconds)
