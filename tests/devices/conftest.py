"""Stand-ins for devices and models."""

from __future__ import annotations

import pytest

from brpnas.testing import NamedSource, ScriptedDevice


@pytest.fixture
def scripted() -> type[ScriptedDevice]:
    """A device without hardware."""
    return ScriptedDevice


@pytest.fixture
def named() -> type[NamedSource]:
    """A model that is nothing but its name."""
    return NamedSource
