"""A device and models that exist in memory only, for tests of what is around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan


@dataclass
class ScriptedDevice(LiteRTDevice):
    """Does what its script says when a model of that name is timed: raise, or return a time."""

    plan: TimingPlan
    script: dict[str, list[Exception | float]] = field(default_factory=dict)
    name: str = "scripted"
    timed: list[str] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)
    reconnected: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)

    def identity(self) -> Mapping[str, str]:
        return {"name": self.name}

    def time(self, model: TFLiteModel) -> Round:
        self.timed.append(model.name)
        todo = self.script.get(model.name)
        answer = todo.pop(0) if todo else 1.0
        if isinstance(answer, Exception):
            raise answer
        return Round({"cpu_ms": (answer,) * self.plan.runs, "wall_ms": (answer,)}, {"load": 1.0})

    def summarise(self, rounds: Sequence[Round]) -> dict[str, float]:
        values = self.samples(rounds)
        return {
            "latency_ms": sum(values) / len(values),
            "latency_ms_min": min(values),
            "latency_ms_std": 0.0,
            "latency_ms_wall_median": float("nan"),
            "n_samples": len(values),
        }

    def samples(self, rounds: Sequence[Round]) -> list[float]:
        return [value for one in rounds for value in one.samples["cpu_ms"]]

    def reconnect(self) -> None:
        self.reconnected += 1
        if self.lost:
            raise self.lost.pop(0)


@dataclass(frozen=True)
class NamedSource:
    """A model whose content is its name; a name that starts with ``bad`` cannot be made."""

    name: str

    @property
    def key(self) -> str:
        return f"key of {self.name}"

    def __call__(self) -> TFLiteModel:
        if self.name.startswith("bad"):
            raise ValueError(f"{self.name} cannot be made")
        return TFLiteModel(self.name, self.name.encode(), "test")


@pytest.fixture
def scripted() -> Any:
    return ScriptedDevice


@pytest.fixture
def named() -> Any:
    return NamedSource
