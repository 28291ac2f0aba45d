"""What a comparison of predictors tells: their calibration and their learning curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from brpnas.errors import DAMAGE, UserError
from brpnas.judging import LEVELS
from brpnas.report.conditions import provenance
from brpnas.report.interactive import hover
from brpnas.report.summary import Axes, Curve, Facts, Summary

__all__ = ["summarise_fits"]

_ASKED = {
    "table": "Table",
    "space": "Space",
    "columns": "Learnt",
    "train": "Networks learnt from",
    "valid": "More of them",
    "seeds": "Seeds",
}
_WITHIN = "within_10pct"


def summarise_fits(folder: Path) -> Summary:
    """Return what a comparison of predictors tells.

    Args:
        folder: a run folder of ``brpnas compare``; the comparison may be unfinished.

    Raises:
        UserError: not such a folder.
    """
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    asked = record["arguments"]
    shown = [(title, _text(asked[name])) for name, title in _ASKED.items() if name in asked]
    fits = [fit for fit in _read(folder) if fit["score"] is not None]
    curves: list[Curve] = []
    found: Facts = [("Fits", len(fits))]
    for column in asked["columns"]:
        promised = False
        for name in asked["predictors"]:
            case = {"column": column, "predictor": name}
            own = [fit for fit in fits if case.items() <= fit["case"].items()]
            sizes = sorted({fit["case"]["train"] for fit in own})
            if own:
                learnt = [_median(own, size) for size in sizes]
                found.append((f"{column}: {name}, share within 10%", learnt[-1]))
                calibration = _calibration(column, name, own, sizes[-1])
                curves += calibration[:1] if promised else calibration
                promised = promised or bool(calibration)
                curves.append(_learning(column, name, sizes, learnt))
    return Summary(
        kind="Comparisons of predictors",
        found=found,
        asked=shown,
        device=[],
        command=str(asked.get("command", "")),
        provenance=provenance(record),
        curves=sorted(curves, key=lambda curve: curve.axes),
    )


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "fits").glob("*.json")):
        try:
            fit = json.loads(path.read_text(encoding="utf-8"))
            yield {"case": dict(fit["case"]), "score": fit["score"]}
        except (OSError, *DAMAGE):
            raise UserError(f"{path}: damaged; delete it, and the fit is done again") from None


def _text(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _median(fits: list[dict[str, Any]], size: int) -> float:
    shares = [fit["score"]["quality"][_WITHIN] for fit in fits if fit["case"]["train"] == size]
    known = [share for share in shares if share is not None]
    return float(np.median(known)) if known else float("nan")


def _calibration(column: str, name: str, fits: list[dict[str, Any]], size: int) -> list[Curve]:
    """Return how often intervals hold what they promise; nothing where there are none."""
    known = [fit["score"]["coverage"] for fit in fits if fit["case"]["train"] == size]
    known = [coverage for coverage in known if coverage is not None]
    if not known:
        return []
    expected = 100 * np.array(LEVELS)
    lines = {name: 100 * np.median(np.array(known, float), axis=0), "as promised": expected}
    return [
        Curve(
            Axes(
                f"Calibration for {column}: what intervals promise and hold",
                "networks expected inside, %",
                "networks found inside, %",
            ),
            x=expected,
            y=found,
            texts=[
                hover(label, [("expected, %", one), ("found, %", other), ("learnt from", size)])
                for one, other in zip(expected.tolist(), found.tolist(), strict=True)
            ],
            keys=[None] * len(expected),
            label=label,
        )
        for label, found in lines.items()
    ]


def _learning(column: str, name: str, sizes: list[int], shares: list[float]) -> Curve:
    return Curve(
        Axes(
            f"Learning curve for {column}",
            "networks learnt from",
            "share predicted within 10%, median over seeds",
        ),
        x=sizes,
        y=shares,
        texts=[
            hover(name, [("learnt from", size), ("share within 10%", share)])
            for size, share in zip(sizes, shares, strict=True)
        ],
        keys=[None] * len(sizes),
        label=name,
    )
