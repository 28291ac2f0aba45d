"""What low-rank versions of a network cost on a device, and how each option adds to that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

import brpnas
from brpnas.compressing.pricing import Prices
from brpnas.compressing.proposing import propose
from brpnas.compressing.subject import Subject
from brpnas.devices.connect import connect
from brpnas.devices.fpga.device import is_fpga, open_fpga
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.network import Network
from brpnas.devices.profile import read_profile
from brpnas.devices.sweep import exclusive
from brpnas.devices.tflite.convert import convert
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.timing import TimingPlan
from brpnas.evaluate.computed import ComputingEvaluator
from brpnas.evaluate.evaluator import Evaluator
from brpnas.evaluate.measured import MeasuringEvaluator
from brpnas.executors import Executor, InProcess
from brpnas.lowrank import content_hash
from brpnas.search.fronts import OptionCosts
from brpnas.spaces import LowRankNetwork

__all__ = [
    "LATENCY",
    "LatencySource",
    "Propose",
    "check_device",
    "counted_costs",
    "open_device",
    "priced_costs",
]

LATENCY = "latency_ms"

Propose = Callable[
    [Subject, int, tuple[float, float], Callable[[int, int], None]], Sequence[LowRankNetwork]
]


@dataclass(frozen=True, eq=False)
class LatencySource:
    """Where latencies of low-rank versions of a network come from: a device, behind an evaluator.

    Attributes:
        evaluator: of such versions; ``latency_ms`` is among its metrics.
        identity: what makes two of them the same, for the run's record.
        propose: of a device whose latencies are computed, which takes less than to judge a
            version, and not measured: returns so many versions that are thought to be quick for
            the damage that they do, within a span of latencies as shares of the original's; calls
            a function with what is done of what there is to do.
    """

    evaluator: Callable[[Subject], Evaluator[LowRankNetwork]]
    identity: Mapping[str, Any]
    propose: Propose | None = None

    @property
    def computed(self) -> bool:
        """Whether latencies are computed."""
        return self.propose is not None


def check_device(name: str) -> bool:
    """Return whether a device is timed, not computed, without connecting to it.

    Raises:
        UserError: no such device.
    """
    if is_fpga(name):
        open_fpga(name)
        return False
    read_profile(name)
    return True


def open_device(
    name: str,
    folder: Path,
    stack: ExitStack,
    say: Callable[[str], None],
    *,
    rounds: int = 5,
    serial: str | None = None,
    address: str | None = None,
    executor: Executor | None = None,
) -> LatencySource:
    """Connect to a device.

    Args:
        name: a profile's name or file, or ``fpga:PLATFORM``.
        folder: of the run; keeps what was measured, and is not made before that.
        stack: closes what was opened.
        say: called with lines for people.
        rounds: how often each network has its turn.
        serial: of a phone.
        address: of a phone in the network.
        executor: maps networks to an FPGA; None: in this process.

    Raises:
        UserError: no such device, or it is not fit to be measured on.
    """
    if is_fpga(name):
        board = open_fpga(name)
        mapping = executor or stack.enter_context(InProcess(retries=0))

        def mapped(subject: Subject) -> Evaluator[LowRankNetwork]:
            kept = folder / "computed.jsonl"
            return ComputingEvaluator(board, mapping, lambda arch: _Mapped(subject, arch), kept)

        return LatencySource(mapped, board.identity(), functools.partial(propose, board))
    profile = read_profile(name)
    plan = TimingPlan(rounds=rounds, threads=profile.threads)
    device = stack.enter_context(connect(profile, plan, serial=serial, address=address))
    stack.enter_context(exclusive(device.identity()))
    converting = stack.enter_context(InProcess())

    def timed(subject: Subject) -> Evaluator[LowRankNetwork]:
        return MeasuringEvaluator(
            device, folder, converting, lambda arch: _Converted(subject, arch), say
        )

    return LatencySource(timed, device.identity())


@dataclass(frozen=True, eq=False)
class _Built:
    """A low-rank version of a network, which stays in this process."""

    subject: Subject
    arch: LowRankNetwork

    @property
    def name(self) -> str:
        """The architecture's text."""
        return str(self.arch)

    @functools.cached_property
    def key(self) -> str:
        """Hash of network, architecture and this program's version; weights cost no time."""
        return content_hash(
            brpnas.__version__,
            repr(self.subject.model),
            self.subject.factors.method.name,
            str(self.example.shape),
            self.name,
        )

    @property
    def example(self) -> Tensor:
        """An image, as the network takes it."""
        return self.subject.images.calibration[:1]

    def module(self) -> nn.Module:
        """Build it."""
        return self.subject.build(self.arch)


class _Converted(_Built):
    """The version as a TFLite model."""

    def __call__(self) -> TFLiteModel:
        """Convert it."""
        return convert(self.module(), self.example, self.name)


class _Mapped(_Built):
    """The version as layers of an FPGA; it is built when they are asked for."""

    def __call__(self) -> Network:
        """Return the layers."""
        return network_of(self.module(), self.example, self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Sent, (self.name, self.key, self())  # to workers, without the subject


@dataclass(frozen=True)
class _Sent:
    """The layers of an FPGA."""

    name: str
    key: str
    network: Network

    def __call__(self) -> Network:
        """Return the layers."""
        return self.network


def counted_costs(subject: Subject, cost: str) -> OptionCosts:
    """Return what each option of each layer costs on paper, and what all else does.

    Args:
        subject: the network.
        cost: ``macs`` or ``params``.
    """
    space = subject.space
    count = space.macs if cost == "macs" else space.params
    prices = {
        name: np.array([count(space.network({name: one.choice})) for one in known], float)
        for name, known in space.options.items()
    }
    return OptionCosts(*_own(prices, float(count(LowRankNetwork()))))


def priced_costs(subject: Subject, measured: Mapping[LowRankNetwork, float]) -> OptionCosts:
    """Return what each option of each layer adds to a latency, learnt from a few networks.

    Args:
        subject: the network.
        measured: versions and their latencies; the network as it is among them.
    """
    learnt = Prices(subject.space, measured)
    prices = {
        name: np.array([learnt.of(name, one.choice) for one in known])
        for name, known in subject.space.options.items()
    }
    own, fixed = _own(prices, measured[LowRankNetwork()])
    return OptionCosts(own, fixed, measured, functools.partial(priced_costs, subject))


def _own(
    prices: Mapping[str, NDArray[np.float64]], whole: float
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Split the cost of the whole network into those of layers, 0 or more, and of all else.

    Args:
        prices: of options, by layer, but for a constant; the first is the layer as it is.
        whole: the cost of the network as it is.
    """
    found, fixed = {}, whole
    for name, of_layer in prices.items():
        change = of_layer - of_layer[0]
        # A layer cannot cost less than nothing: what it saves at most is its own.
        own = max(0.0, -float(change.min()))
        found[name] = change + own
        fixed -= own
    return found, max(fixed, 0.0)
