"""Where a search takes its metrics from: a table, training on the user's images, a device."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.datasets import Table, content_sha256
from brpnas.devices.fpga.device import FPGADevice
from brpnas.devices.fpga.sources import SpaceNetwork
from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.sweep import describe_series
from brpnas.devices.tflite.sources import SpaceModel
from brpnas.errors import UserError, unknown_name
from brpnas.evaluate.computed import ComputingEvaluator
from brpnas.evaluate.evaluator import Evaluator
from brpnas.evaluate.images import Split, read_split
from brpnas.evaluate.joined import JoinedEvaluator
from brpnas.evaluate.lookup import DeployedTableEvaluator, TableEvaluator
from brpnas.evaluate.measured import MeasuringEvaluator
from brpnas.evaluate.trained import Training, TrainingEvaluator
from brpnas.evaluate.training import Protocol
from brpnas.executors import Executor, InProcess
from brpnas.resolver import parse_archs
from brpnas.search import Constraint, check_reachable
from brpnas.spaces import FiniteSpace, NetworkShape

__all__ = [
    "ImageFiles",
    "Source",
    "divide_limits",
    "pair_limits",
    "table_source",
    "training_source",
    "with_cost_table",
    "with_device",
    "with_fpga",
]

_TRACE_COLUMNS = ("step", "iteration", "origin", "expected", "error")


@dataclass(frozen=True)
class Source:
    """Where the metrics come from.

    Attributes:
        pool: the networks to choose from.
        evaluator: finds their metrics.
        identity: what makes two sources the same, for the run's record.
        known: the metrics of the whole pool, where they are known before the search: each has
            the shape (len(pool),).
        shape: of the networks whose metrics these are.
    """

    pool: list[Any]
    evaluator: Evaluator[Any]
    identity: dict[str, Any]
    known: dict[str, NDArray[np.float64]]
    shape: NetworkShape = field(default_factory=NetworkShape)

    def unknown(self, names: Sequence[str]) -> int:
        """Count the networks of which some of these metrics is known to be missing."""
        columns = [np.isnan(self.known[name]) for name in names if name in self.known]
        return int(np.any(columns, axis=0).sum()) if columns else 0

    def ranks(
        self, names: Sequence[str], best: dict[str, float], limits: Sequence[Constraint]
    ) -> dict[str, tuple[int, int]]:
        """Return the best network's rank, from 1, by each known metric, and among how many.

        Those are the networks of the pool that keep the limits and have a value, also those that
        the search did not pay for: a rank judges the search, it does not help it.
        """
        within = np.ones(len(self.pool), dtype=bool)
        for limit in limits:
            if limit.metric in self.known:
                within &= limit.excess(self.known[limit.metric]) == 0
        ranks = {}
        for name in names:
            if name in self.known and np.isfinite(best[name]):
                values = self.known[name][within]
                better, known = (values > best[name]).sum(), np.isfinite(values).sum()
                ranks[name] = (1 + int(better), int(known))
        return ranks


@dataclass(frozen=True)
class ImageFiles:
    """The user's images: files, and the part that is held back for validation."""

    train: Path
    test: Path | None
    valid_fraction: float

    def identity(self) -> dict[str, Any]:
        """Return hashes of the files and the fraction."""
        return {
            "train_sha256": _sha256(self.train),
            "test_sha256": _sha256(self.test) if self.test else None,
            "valid_fraction": self.valid_fraction,
        }


def pair_limits(metrics: Sequence[str], limits: Sequence[float]) -> list[Constraint]:
    """Pair ``--latency`` with ``--latency-limit``, in order.

    Raises:
        UserError: not as many of one as of the other, a metric that is given twice.
    """
    if len(metrics) != len(limits):
        raise UserError(
            f"--latency is given {len(metrics)} times, --latency-limit {len(limits)} times: each "
            "metric needs its limit"
        )
    for metric in metrics:
        if metrics.count(metric) > 1:
            raise UserError(f"--latency {metric} is given twice")
    return [Constraint(metric, limit) for metric, limit in zip(metrics, limits, strict=True)]


def divide_limits(
    limits: Sequence[Constraint], priced: Sequence[str], metrics: Sequence[str], where: str
) -> tuple[list[Constraint], list[Constraint]]:
    """Divide limits into those on costs from a source of their own and the others.

    A metric that is in both places counts for the costs, which were asked for by name.

    Args:
        limits: all of them.
        priced: metrics that the source of costs has.
        metrics: what is known of the networks without it.
        where: what errors call the two sources.

    Raises:
        UserError: a metric that is in neither place.
    """
    costs = [limit for limit in limits if limit.metric in priced]
    others = [limit for limit in limits if limit.metric not in priced]
    for limit in others:
        if priced and limit.metric not in metrics:
            both = dict.fromkeys([*priced, *metrics])
            raise unknown_name(f"column of {where}", limit.metric, both)
    return costs, others


def table_source(
    table: Table,
    space: FiniteSpace[Any],
    metrics: Sequence[str],
    limits: Sequence[Constraint] = (),
) -> Source:
    """Look metrics up in a table; its rows are the pool.

    Args:
        table: one row per network.
        space: of the networks.
        metrics: columns to read.
        limits: on further columns to read; checked to be within reach.

    Raises:
        UserError: a column or a value that cannot be used, a limit that no network keeps.
    """
    metrics = list(dict.fromkeys([*metrics, *(limit.metric for limit in limits)]))
    _check_names(table, metrics)
    evaluator: TableEvaluator[Any] = TableEvaluator(table, metrics)
    archs = parse_archs(table, space)
    known = {name: table.metric(name) for name in metrics}
    _check_limits(table.name, limits, known)
    identity = {"table_sha256": content_sha256(table.frame)}
    return Source(archs, evaluator, identity, known, space.shape)


def training_source(
    space: FiniteSpace[Any],
    shape: NetworkShape,
    protocol: Protocol,
    files: ImageFiles,
    seed: int,
    folder: Path,
    executor: Executor,
) -> Source:
    """Train every network that is asked for; the canonical ones of the space are the pool.

    Args:
        space: of the networks.
        shape: widths and depths; classes and sizes are those of the images.
        protocol: the recipe.
        files: the images.
        seed: of the validation part and of every training.
        folder: keeps the trained networks.
        executor: where to train.

    Raises:
        UserError: images that cannot be used.
    """
    # Workers on other machines run in other folders.
    files = ImageFiles(
        files.train.absolute(), files.test and files.test.absolute(), files.valid_fraction
    )
    load = functools.partial(_load, files, seed)
    split = load()  # so that bad files are an error before the first network, not in each
    identity = files.identity()
    training: Training[Any] = Training(
        space, shape, protocol, load, repr(sorted(identity.items())), seed, folder.absolute()
    )
    pool = list(dict.fromkeys(map(space.canonical, space)))
    evaluator = TrainingEvaluator(training, executor, test=split.test is not None)
    size = split.train.x.shape[1]
    built = replace(
        shape, classes=split.classes, input_size=size, input_channels=split.train.x.shape[3]
    )
    return Source(pool, evaluator, identity, known={}, shape=built)


def with_cost_table(
    source: Source,
    table: Table,
    space: FiniteSpace[Any],
    limits: Sequence[Constraint],
    say: Callable[[str], None],
) -> Source:
    """Add costs from a table of its own, which may write the networks in another way.

    Networks without a cost leave the pool: they could be tried, but never be the answer.

    Args:
        source: finds the other metrics.
        table: what networks cost, such as ``brpnas measure`` makes.
        space: of the networks.
        limits: on columns of that table; checked to be within reach.
        say: called with a line for people if networks are left out.

    Raises:
        UserError: a column or a value that cannot be used, a metric that the source has already,
            no network of the pool with a value, a limit that no network keeps.
    """
    metrics = [limit.metric for limit in limits]
    _check_names(table, metrics)
    parse_archs(table, space)  # names the row of what is malformed
    costs: DeployedTableEvaluator[Any] = DeployedTableEvaluator(table, metrics, space)
    evaluator = JoinedEvaluator([source.evaluator, costs])
    rows = list(costs.evaluate(source.pool))
    known = {name: np.array([row.metrics[name] for row in rows]) for name in metrics}
    priced = np.all([np.isfinite(costs) for costs in known.values()], axis=0)
    known = {name: values[priced] for name, values in {**source.known, **known}.items()}
    _check_limits(table.name, limits, known)
    if left_out := int((~priced).sum()):
        say(
            f"{left_out} of {len(priced)} networks lack a value of {' or '.join(metrics)} in "
            f"{table.name}: they are left out"
        )
    return replace(
        source,
        pool=[arch for arch, keep in zip(source.pool, priced, strict=True) if keep],
        evaluator=evaluator,
        identity={**source.identity, "latency_table_sha256": content_sha256(table.frame)},
        known=known,
    )


def with_device(
    source: Source,
    device: LiteRTDevice,
    space: FiniteSpace[Any],
    precision: str,
    folder: Path,
    say: Callable[[str], None],
) -> Source:
    """Add latencies that are measured during the search, of each network that is asked for.

    All networks of a request are timed before the source begins with them: workers that train
    would disturb the timing.

    Args:
        source: finds the other metrics; its pool stays the pool.
        device: connected.
        space: of the networks.
        precision: ``fp32`` or ``int8``.
        folder: of the run; keeps what was measured.
        say: called with lines for people.

    Raises:
        UserError: unknown precision, or a metric that the source has already.
    """

    def model(arch: Any) -> SpaceModel:  # noqa: ANN401 - any space's
        return SpaceModel(space, str(space.deployed(arch)), source.shape, precision)

    model(source.pool[0])  # so that a wrong option is an error before the first network
    timing: MeasuringEvaluator[Any] = MeasuringEvaluator(device, folder, InProcess(), model, say)
    return replace(
        source,
        evaluator=JoinedEvaluator([timing, source.evaluator]),
        identity={
            **source.identity,
            "device": describe_series(device, rounds=str(device.plan.rounds), precision=precision),
        },
    )


def with_fpga(
    source: Source, device: FPGADevice, space: FiniteSpace[Any], executor: Executor
) -> Source:
    """Add latencies that are computed during the search, of each network that is asked for.

    Args:
        source: finds the other metrics; its pool stays the pool.
        device: the board.
        space: of the networks.
        executor: maps them.

    Raises:
        UserError: the source has a metric of that name already.
    """

    def network(arch: Any) -> SpaceNetwork:  # noqa: ANN401 - any space's
        return SpaceNetwork(space, str(space.deployed(arch)), source.shape)

    mapping: ComputingEvaluator[Any] = ComputingEvaluator(device, executor, network)
    return replace(
        source,
        evaluator=JoinedEvaluator([mapping, source.evaluator]),
        identity={**source.identity, "device": {"device": dict(device.identity())}},
    )


def _check_names(table: Table, metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric in _TRACE_COLUMNS:
            raise UserError(f"{table.name}: '{metric}' is a column of every trace; rename it")


def _check_limits(
    name: str, limits: Sequence[Constraint], known: dict[str, NDArray[np.float64]]
) -> None:
    for limit in limits:
        try:
            check_reachable(limit, known[limit.metric])
        except UserError as error:
            raise UserError(f"{name}: {error}") from None


@functools.lru_cache(maxsize=1)
def _load(files: ImageFiles, seed: int) -> Split:
    """Read the images once in each process that trains."""
    return read_split(files.train, files.test, files.valid_fraction, seed)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
