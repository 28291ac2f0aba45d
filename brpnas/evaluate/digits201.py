"""The embedded table: every distinct NAS-Bench-201 cell, really trained on small digits."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from brpnas.datasets import Card, Table
from brpnas.errors import UserError
from brpnas.evaluate.digits import DESCRIPTION, distorted_digits
from brpnas.evaluate.trained import Training, TrainingEvaluator
from brpnas.evaluate.training import Protocol
from brpnas.executors import Executor
from brpnas.spaces import Cell, NASBench201, NetworkShape

__all__ = ["PROTOCOL", "SHAPE", "build_digits201"]

SHAPE = NetworkShape(channels=16, cells_per_stage=1)
# Few steps at a low rate: what a cell makes of them differs more between cells than between seeds
# (trained to the end, all cells come out alike on digits). With 8 or 12 channels the luck of the
# initial weights weighs as much as the cell.
PROTOCOL = Protocol(epochs=5, batch=64, learning_rate=0.015, crop=0, flip=False, seeds=2)


def build_digits201(
    folder: Path,
    executor: Executor,
    seeds: int = PROTOCOL.seeds,
    cells: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Train every distinct cell and collect the accuracies; continue what a killed build did.

    Args:
        folder: keeps one result per cell; those that are there are not computed again.
        executor: where to train.
        seeds: networks per cell; the table holds each one's accuracies and their mean.
        cells: train only the first so many, to try it out.
        progress: called with (cells done, cells) after every cell.

    Raises:
        UserError: the training of a cell failed, even when it was tried again.
    """
    space = NASBench201()
    protocol = Protocol(**{**vars(PROTOCOL), "seeds": seeds})
    training: Training[Cell] = Training(
        space, SHAPE, protocol, distorted_digits, "digits", 0, folder.absolute(), keep_weights=False
    )
    archs = sorted({space.canonical(cell) for cell in space}, key=str)[:cells]
    rows = []
    evaluator = TrainingEvaluator(training, executor, test=True)
    for arch, evaluation in zip(archs, evaluator.evaluate(archs), strict=True):
        if evaluation.error is not None:
            raise UserError(f"training {arch} failed: {evaluation.error}")
        rows.append({"arch": str(arch), **evaluation.metrics})
        if progress:
            progress(len(rows), len(archs))
    # Four decimals: far below one image, and the same whatever the precision of the mean.
    return Table(pd.DataFrame(rows).round(4), _card(protocol, len(rows)), "digits201")


def _card(protocol: Protocol, cells: int) -> Card:
    return Card(
        title=f"digits201: {cells:,} distinct NAS-Bench-201 cells, trained on distorted digits",
        source=(
            "trained by brpnas on the handwritten digits of scikit-learn (load_digits): "
            f"{DESCRIPTION}"
        ),
        device=f"CPU, float32, torch {version('torch')}, one thread per cell",
        conditions=(
            f"{SHAPE.channels} channels, {SHAPE.cells_per_stage} cell per stage; SGD with Nesterov "
            f"momentum {protocol.momentum:g}, {protocol.epochs} epochs, batch {protocol.batch}, "
            f"learning rate {protocol.learning_rate:g} to 0 by a cosine, weight decay "
            f"{protocol.weight_decay:g}, no crops or flips; batch-norm statistics averaged over "
            f"the training images at the end; {protocol.seeds} seeds of weights and order"
        ),
        rebuild=(
            f"brpnas datasets build digits201 --seeds {protocol.seeds} --out digits201.parquet "
            "--work digits201.work"
        ),
        space="nasbench201",
        columns={
            "valid_acc_pct": "mean over the seeds, in percent; search on this one",
            "test_acc_pct": "mean over the seeds, in percent; report this one",
            "valid_acc_pct_seed0": "of the first seed alone, and so on",
            "params_m": "millions of parameters of the canonical cell, at the width trained here",
        },
    )
