"""Tests that every implementation of a noun has to pass, and cheap stand-ins to test with.

Each contract is a class of tests. A test class of your own inherits it and says what is tested, in
one method or fixture; pytest collects the rest. They come with the package, for other packages that
offer spaces, predictors, strategies or devices (see docs/extending.md). Needs pytest, which the
``dev`` extra installs.
"""

import pytest

# Before the import: so that a failing assert shows its values, as in a test file.
for _module in ("devices", "fronts", "predictors", "seeded", "spaces", "strategies"):
    pytest.register_assert_rewrite(f"brpnas.testing.{_module}")

from brpnas.testing.devices import LiteRTDeviceContract, NamedSource, ScriptedDevice
from brpnas.testing.fronts import FrontStrategyContract, SyntheticFront
from brpnas.testing.predictors import PredictorContract
from brpnas.testing.spaces import SpaceContract
from brpnas.testing.strategies import StrategyContract
from brpnas.testing.synthetic import LinearPredictor, SyntheticEvaluator, synthetic_problem

__all__ = [
    "FrontStrategyContract",
    "LinearPredictor",
    "LiteRTDeviceContract",
    "NamedSource",
    "PredictorContract",
    "ScriptedDevice",
    "SpaceContract",
    "StrategyContract",
    "SyntheticEvaluator",
    "SyntheticFront",
    "synthetic_problem",
]
