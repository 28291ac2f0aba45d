from __future__ import annotations

import pytest

from brpnas.models import LoadedModel, load_model


@pytest.fixture(scope="session")
def digits() -> LoadedModel:
    return load_model("digits-cnn")
