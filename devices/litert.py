"""Hardware that runs TFLite models: what this machine and phones have in common."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import sleep
from typing import Self

from torch import Tensor, nn

from brpnas.devices.device import Device, Measurement
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.convert import convert
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError

__all__ = ["DeviceLostError", "LiteRTDevice", "ModelError"]

_log = logging.getLogger(__name__)


class ModelError(UserError):
    """One model could not be timed: the runtime rejects it, it hung, a delegate left parts of it.

    The device is fine, and other models may be timed.
    """


class DeviceLostError(UserError):
    """The device cannot be reached any more; after ``reconnect`` it may be.

    What was being timed has no result.
    """


class LiteRTDevice(Device):
    """A connected machine that times TFLite models; a context manager.

    Attributes:
        plan: how models are timed.
        notes: what the columns of ``summarise`` mean on this device, by name.
    """

    plan: TimingPlan
    notes: Mapping[str, str]

    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """Return what the figures depend on and a sweep must not change.

        Such as the machine's name, its build fingerprint, the runtime's version and hash, the
        cores that are used. Read once, when the device was connected.
        """

    @abstractmethod
    def time(self, model: TFLiteModel) -> Round:
        """Run one round of a model: the plan's warm-up runs, then its counted runs.

        Raises:
            ModelError: this model cannot be timed; says why.
            DeviceLostError: the device does not answer.
        """

    def usual(self, rounds: Iterable[Round]) -> float | None:  # noqa: ARG002
        """Return the condition of a series that ``summarise`` compares each round's with.

        Args:
            rounds: of all models of the series.

        Returns:
            A number; None where the device knows no such condition, or no round has it.
        """
        return None

    @abstractmethod
    def summarise(self, rounds: Sequence[Round], usual: float | None = None) -> dict[str, float]:
        """Reduce a model's rounds to the columns of a table.

        Args:
            rounds: of one model.
            usual: what ``usual`` returned of the series; None: of these rounds.

        Returns:
            At least ``latency_ms`` (the headline: the most repeatable figure of this device),
            ``latency_ms_min``, ``latency_ms_wall_median``, ``latency_ms_std`` and ``n_samples``;
            NaN where the device does not tell.
        """

    @abstractmethod
    def samples(self, rounds: Sequence[Round]) -> list[float]:
        """Return all figures of a model's rounds that the headline is made of, in ms."""

    def room_bytes(self) -> float:
        """Return how many bytes of models stay on the device from one round to the next.

        Raises:
            DeviceLostError: the device does not answer.
        """
        return math.inf

    def hold(self) -> None:
        """Keep others away from the device, where others can reach it, while nothing runs there.

        Raises:
            UserError: others took it meanwhile.
            DeviceLostError: the device does not answer.
        """

    def prepare(self, model: TFLiteModel) -> None:
        """Put a model where the device can run it, unless it is; ``time`` does so too.

        Raises:
            ModelError: the device has no room for this model.
            DeviceLostError: the device does not answer, which is not the model's fault.
        """

    def wait_until_fit(
        self,
        say: Callable[[str], None],  # noqa: ARG002
        pause: Callable[[float], object] = sleep,  # noqa: ARG002
    ) -> Mapping[str, str | float | None]:
        """Wait until figures can be trusted (not busy, not hot); return the conditions.

        Args:
            say: called with a line for people when it has to wait.
            pause: waits for so many seconds; what it raises ends the wait.

        Raises:
            UserError: it did not become fit in time; says what is in the way.
            DeviceLostError: the device does not answer.
        """
        return {}

    def reconnect(self) -> None:
        """Connect anew after a fault.

        Raises:
            DeviceLostError: still not there.
            UserError: another device answers, or one that changed.
        """

    def close(self) -> None:
        """Release the device."""

    def measure(self, model: nn.Module, example_input: Tensor) -> Measurement:
        """Convert a module and time all rounds of it.

        Raises:
            UserError: the device was not reached, or cannot run the model.
        """
        compiled = convert(model, example_input, type(model).__name__)
        conditions = self.wait_until_fit(_log.info)
        rounds = [self.time(compiled) for _ in range(self.plan.rounds)]
        described = "; ".join(
            f"{name}: {value}"
            for name, value in {**self.identity(), **conditions}.items()
            if value is not None
        )
        return Measurement(tuple(self.samples(rounds)), "ms", described)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
