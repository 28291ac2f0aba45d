"""What is asked of every predictor, beyond its contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from brpnas.errors import UserError
from brpnas.predictors import (
    PREDICTORS,
    EagleRanker,
    EagleRegressor,
    EagleSize,
    EnsembleRanker,
    EnsembleRegressor,
    FlopsPredictor,
    GCNRanker,
    GCNRegressor,
    GCNSize,
    GPRanker,
    GPRegressor,
    LayerwisePredictor,
    MLPPredictor,
    Provenance,
    SavablePredictor,
    TreesPredictor,
    TreesSize,
    load_predictor,
    save_predictor,
)
from brpnas.predictors._training import Training
from brpnas.predictors.transfer import Transfer
from brpnas.testing.predictors import networks

_SMALL, _SHORT = GCNSize(16, 2, 2), Training(epochs=4)
_TINY = EagleSize(8, 2, 2)

_MAKERS: Mapping[str, Callable[[float], SavablePredictor]] = {
    "ensemble-regressor": lambda valid: EnsembleRegressor(7, valid, _SMALL, _SHORT),
    "ensemble-ranker": lambda valid: EnsembleRanker(7, valid, _SMALL, _SHORT),
    "gcn-regressor": lambda valid: GCNRegressor(7, valid, _SMALL, _SHORT),
    "gcn-ranker": lambda valid: GCNRanker(7, valid, _SMALL, _SHORT),
    "gp-regressor": lambda valid: GPRegressor(7, valid),
    "gp-ranker": lambda valid: GPRanker(7, valid),
    "trees": lambda valid: TreesPredictor(7, valid, TreesSize(9, 9)),
    "mlp": lambda valid: MLPPredictor(7, valid),
    "layerwise": lambda valid: LayerwisePredictor(7, valid),
    "flops": lambda valid: FlopsPredictor(7, valid),
    "eagle-regressor": lambda valid: EagleRegressor(7, valid, _TINY),
    "eagle-ranker": lambda valid: EagleRanker(7, valid, _TINY),
}
every_predictor = pytest.mark.parametrize("name", _MAKERS)


@pytest.mark.parametrize("family", PREDICTORS)
def test_all_are_offered_to_the_user_and_asked_here(family: str) -> None:
    for role in ("regressor", "ranker"):
        kind = getattr(PREDICTORS[family], role)
        asked = _MAKERS.get(f"{family}-{role}") or _MAKERS[family]
        assert type(asked(0.0)) is kind
        assert kind(2**63 - 1, 0.1).seed == kind(2**63 - 1).seed == 2**63 - 1


@every_predictor
def test_a_saved_one_predicts_the_same(name: str, tmp_path: Path) -> None:
    graphs, values = networks(40)
    fitted = _MAKERS[name](0.2).fit(graphs[:30], values[:30])
    save_predictor(tmp_path, fitted, Provenance("latency_ms", "t", "", 24, 6, 7))
    loaded = load_predictor(tmp_path).predictor
    assert type(loaded) is type(fitted)
    before, after = fitted.predict(graphs), loaded.predict(graphs)
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(np.array(after.std), np.array(before.std))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("predictor.json", "weights.safetensors"),  # and nothing that is a pickle
    ]


@every_predictor
def test_values_are_not_those_that_the_caller_changes_later(name: str) -> None:
    graphs, values = networks(40)
    predictor = _MAKERS[name](0.2).fit(graphs, values[::-1])  # a view, against the memory's order
    state = {key: value.copy() for key, value in predictor.state().items()}
    values[:] = 0
    for key, value in predictor.state().items():
        np.testing.assert_array_equal(value, state[key])
        assert value.flags["C_CONTIGUOUS"], key  # files keep no other order


@every_predictor
def test_global_random_state_is_left_alone(name: str) -> None:
    graphs, values = networks(20)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    _MAKERS[name](0.2).fit(graphs, values).predict(graphs)
    torch.testing.assert_close(torch.rand(3), wanted)


@every_predictor
def test_a_share_out_of_range_is_the_users_error(name: str) -> None:
    for share in (1.0, -0.1):
        with pytest.raises(UserError, match="share held out"):
            _MAKERS[name](share)


@every_predictor
def test_values_whose_squares_overflow_are_the_users_error(name: str) -> None:
    graphs, values = networks(20)
    with pytest.raises(UserError, match="too large to learn from"):
        _MAKERS[name](0.0).fit(graphs, values * 1e200)


def _predictions() -> dict[str, str]:
    """Return what each predictor says, and what a transfer would measure, to the last bit."""
    graphs, values = networks(60)
    said = {
        name: make(0.2).fit(graphs[:40], values[:40]).predict(graphs).mean.tobytes().hex()
        for name, make in _MAKERS.items()
    }
    noise = np.random.default_rng(1).normal(0, 0.1, (3, len(values)))
    columns = {str(source): values * np.exp(one) for source, one in enumerate(noise)}
    return {**said, "transfer": str(Transfer.of(graphs, columns, 5).suggest(6).tolist())}


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return _predictions()


@pytest.fixture(scope="module")
def there() -> dict[str, str]:
    """The same of another process, as on a machine with other cores."""
    done = subprocess.run(
        [sys.executable, __file__],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "3"},
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [*_MAKERS, "transfer"])
def test_same_prediction_in_another_process(
    name: str, here: dict[str, str], there: dict[str, str]
) -> None:
    assert there[name] == here[name]


def test_scikit_learn_is_loaded_by_those_that_use_it() -> None:
    """It takes long to import, and who fits a graph network need not wait for it."""
    code = (
        "import sys\n"
        "from brpnas.predictors import PREDICTORS\n"
        "from brpnas.predictors.saved import load_predictor\n"
        "PREDICTORS['ensemble'].regressor(0, 0.1)\n"
        "assert 'sklearn' not in sys.modules\n"
        "PREDICTORS['trees'].ranker(0)\n"
        "assert 'sklearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_there_is_not() -> None:
    import brpnas.predictors

    with pytest.raises(AttributeError, match="no attribute 'TreePredictor'"):
        _ = brpnas.predictors.TreePredictor


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_predictions()))
