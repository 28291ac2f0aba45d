"""Tests that every implementation of a noun has to pass, and cheap stand-ins to test with.

Needs pytest, which the ``dev`` extra installs.
"""

import pytest

# Before the import: so that a failing assert shows its values, as in a test file.
pytest.register_assert_rewrite("brpnas.testing.strategies")

from brpnas.testing.strategies import StrategyContract
from brpnas.testing.synthetic import LinearPredictor, SyntheticEvaluator, synthetic_problem

__all__ = ["LinearPredictor", "StrategyContract", "SyntheticEvaluator", "synthetic_problem"]
