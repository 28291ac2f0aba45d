"""The contract of a device that runs TFLite models, as tests, and a device without hardware."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import sleep

import pytest
import torch
from torch import nn

from brpnas.devices import DeviceLostError, LiteRTDevice, ModelError, Round, TFLiteModel, TimingPlan
from brpnas.devices.tflite import convert

__all__ = ["LiteRTDeviceContract", "NamedSource", "ScriptedDevice"]


class LiteRTDeviceContract:
    """What every device that runs TFLite models has to do.

    To test one, subclass and override ``device``. Models are made by brpnas's own converter; a
    device that is computed passes too.
    """

    def device(self, plan: TimingPlan) -> LiteRTDevice:
        """Return a connected device."""
        raise NotImplementedError

    def test_says_what_it_is(self) -> None:
        """Its identity is text, has a name, and stays the same."""
        with self.device(_PLAN) as device:
            identity = dict(device.identity())
            assert identity["name"]
            assert all(isinstance(value, str) for value in identity.values())
            device.time(_model(4))
            assert dict(device.identity()) == identity

    def test_times_a_model_in_rounds(self) -> None:
        """The columns that every table has follow from the rounds, and are plausible."""
        with self.device(_PLAN) as device:
            rounds = [device.time(_model(8)) for _ in range(_PLAN.rounds)]
            columns = device.summarise(rounds)
            samples = device.samples(rounds)
        assert {"latency_ms", "latency_ms_min", "latency_ms_wall_median", "latency_ms_std"} < {
            *columns
        }
        assert 0 < columns["latency_ms_min"] < 1000
        assert 0.5 * columns["latency_ms_min"] < columns["latency_ms"] <= 2 * max(samples)
        assert columns["n_samples"] >= _PLAN.rounds * _PLAN.runs
        assert all(math.isfinite(value) and value > 0 for value in samples)
        assert columns["latency_ms_min"] == min(samples)

    def test_explains_its_columns(self) -> None:
        """The headline has a note, for the table's card."""
        with self.device(_PLAN) as device:
            assert device.notes["latency_ms"]

    def test_a_larger_model_takes_longer(self) -> None:
        """Thirty times the multiply-accumulates show in the headline."""
        with self.device(_PLAN) as device:
            small, large = (
                device.summarise([device.time(_model(width)) for _ in range(2)])["latency_ms"]
                for width in (4, 128)
            )
        assert large > 2 * small

    def test_a_model_that_is_none_fails_alone(self) -> None:
        """The device goes on with the next model."""
        with self.device(_PLAN) as device:
            with pytest.raises(ModelError):
                device.time(TFLiteModel("garbage", b"garbage" * 99, "file"))
            assert device.time(_model(4)).samples

    def test_measures_a_module_as_every_device_does(self) -> None:
        """Through the noun Device."""
        with self.device(_PLAN) as device:
            measurement = device.measure(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 16, 16))
        assert measurement.unit == "ms"
        assert measurement.min > 0
        assert measurement.conditions


_PLAN = TimingPlan(rounds=2, runs=3, warmup=1)


def _model(channels: int) -> TFLiteModel:
    layers = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 3, 3)).eval()
    return convert(layers, torch.zeros(1, 3, 32, 32), f"{channels} channels")


@dataclass
class ScriptedDevice(LiteRTDevice):
    """Does what its script says when a model of that name is timed: raise, or return a time.

    Attributes:
        plan: how models are timed.
        script: answers in their order, by the model's name; 1 ms after the last.
        name: of the device.
        timed: names of the models that were timed, in order.
        away: errors of the next attempts to reconnect.
        reconnected: how often that was tried.
        busy: seconds that it is to be waited for, before the next models.
        notes: on the headline.
    """

    plan: TimingPlan
    script: dict[str, list[Exception | float]] = field(default_factory=dict)
    name: str = "scripted"
    timed: list[str] = field(default_factory=list)
    away: list[DeviceLostError] = field(default_factory=list)
    reconnected: int = 0
    busy: list[float] = field(default_factory=list)
    notes: Mapping[str, str] = field(default_factory=lambda: {"latency_ms": "as scripted"})

    def identity(self) -> Mapping[str, str]:
        """Return the name."""
        return {"name": self.name}

    def time(self, model: TFLiteModel) -> Round:
        """Return or raise what the script says."""
        self.timed.append(model.name)
        left = self.script.get(model.name)
        answer = left.pop(0) if left else 1.0
        if isinstance(answer, Exception):
            raise answer
        return Round({"cpu_ms": (answer,) * self.plan.runs}, {"load": 1.0})

    def summarise(
        self,
        rounds: Sequence[Round],
        usual: float | None = None,  # noqa: ARG002
    ) -> dict[str, float]:
        """Return the mean as headline."""
        values = self.samples(rounds)
        return {
            "latency_ms": sum(values) / len(values),
            "latency_ms_min": min(values),
            "latency_ms_std": 0.0,
            "latency_ms_wall_median": math.nan,
            "n_samples": len(values),
        }

    def samples(self, rounds: Sequence[Round]) -> list[float]:
        """Return all times."""
        return [value for one in rounds for value in one.samples["cpu_ms"]]

    def wait_until_fit(
        self, say: Callable[[str], None], pause: Callable[[float], object] = sleep
    ) -> Mapping[str, str | float | None]:
        """Wait as long as it is busy."""
        if self.busy:
            say("waiting: busy")
            pause(self.busy.pop(0))
        return {}

    def reconnect(self) -> None:
        """Fail as often as it is away."""
        self.reconnected += 1
        if self.away:
            raise self.away.pop(0)


@dataclass(frozen=True)
class NamedSource:
    """A model whose content is its name; one whose name starts with ``bad`` cannot be made."""

    name: str

    @property
    def key(self) -> str:
        """Identifies it."""
        return f"key of {self.name}"

    def __call__(self) -> TFLiteModel:
        """Make it."""
        if self.name.startswith("bad"):
            raise ValueError(f"{self.name} cannot be made")
        return TFLiteModel(self.name, self.name.encode(), "test")
