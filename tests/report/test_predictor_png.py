from __future__ import annotations

from pathlib import Path

import numpy as np

from brpnas.judging import Case, Fit, Trial, judge
from brpnas.predictors import Prediction
from brpnas.report.predictor_png import save_predictor_plots, save_scatter

HOSTILE = "<b> $\\frac{ [red] 精度\n\"'&"
KINDS = {"errors", "calibration", "ranks", "learning"}


def fit(predictor: str, train: int, seed: int, std: bool = True, column: str = "latency_ms") -> Fit:
    rng = np.random.default_rng([train, seed])
    truth = rng.uniform(1, 3, 60)
    error = 3 / train
    mean = truth + rng.normal(0, error, 60)
    said = Prediction(mean, np.full(60, error) if std else None)
    case = Case(column, predictor, train, 10, seed)
    return Fit(case, judge(Trial(truth, said, 0.1, 0.1), points=seed == 0))


def drawn(plots: dict[str, Path], number: int = 1) -> set[str]:
    for path in plots.values():
        assert path.read_bytes().startswith(b"\x89PNG")
    prefix = f"column_{number}_"
    names = [path.stem for path in plots.values()]
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def test_every_column_has_its_plots(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(8)]  # more than there are colours
    fits = [
        fit(name, train, seed, column=column)
        for column in ("latency_ms", HOSTILE)
        for name in names
        for train in (10, 100)
        for seed in range(2)
    ]
    plots = save_predictor_plots(fits, tmp_path)
    assert drawn(plots, 1) == drawn(plots, 2) == KINDS
    assert "learning curves of latency_ms" in plots
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in plots.values()}


def test_no_interval_no_calibration(tmp_path: Path) -> None:
    plots = save_predictor_plots([fit("flops", 10, 0, std=False)], tmp_path)
    assert drawn(plots) == KINDS - {"calibration"}


def test_failed_fits_are_left_out(tmp_path: Path) -> None:
    failed = Fit(Case("latency_ms", "gp", 10, 0, 0), error="too few")
    assert save_predictor_plots([failed], tmp_path) == {}
    assert drawn(save_predictor_plots([failed, fit("gp", 20, 0)], tmp_path)) == KINDS


def test_predictions_without_ranks(tmp_path: Path) -> None:
    truth = np.arange(1.0, 11)
    constant = Trial(truth, Prediction(np.full(10, 5.0)), 0.1, 0.1)
    plots = save_predictor_plots(
        [Fit(Case("x", "flops", 5, 0, 0), judge(constant, True))], tmp_path
    )
    assert drawn(plots) == KINDS - {"calibration"}


def test_scatter(tmp_path: Path) -> None:
    truth = np.linspace(1, 2, 50)
    save_scatter(tmp_path / "s.png", truth, truth * 1.1, HOSTILE)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
