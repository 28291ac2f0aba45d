"""A device: serial flash, from which a model is read before it runs. Computed, not measured."""

import math
from collections.abc import Mapping, Sequence

from brpnas.devices import LiteRTDevice, ModelError, Round, TFLiteModel, TimingPlan
from brpnas.devices.tflite.inspect import check
from brpnas.errors import UserError

_BYTES_PER_MS = 20_000  # 20 MB/s


class Flash(LiteRTDevice):
    """Tells how long a model's bytes take to read.

    Args:
        plan: how models are timed.
    """

    notes: Mapping[str, str] = {"latency_ms": "to read the model's bytes; computed"}

    def __init__(self, plan: TimingPlan) -> None:
        self.plan = plan

    def identity(self) -> Mapping[str, str]:
        """Return what the figures depend on."""
        return {"name": "flash", "bytes_per_ms": str(_BYTES_PER_MS)}

    def time(self, model: TFLiteModel) -> Round:
        """Run one round of a model: here is where yours would run it."""
        try:
            check(model.content, model.name)
        except UserError as error:
            raise ModelError(str(error)) from None
        return Round({"wall_ms": (len(model.content) / _BYTES_PER_MS,) * self.plan.runs})

    def samples(self, rounds: Sequence[Round]) -> list[float]:
        """Return all times."""
        return [time for one in rounds for time in one.samples["wall_ms"]]

    def summarise(self, rounds: Sequence[Round], usual: float | None = None) -> dict[str, float]:
        """Reduce the rounds of a model to the columns of a table."""
        times = self.samples(rounds)
        return {
            "latency_ms": min(times),
            "latency_ms_min": min(times),
            "latency_ms_std": 0.0,
            "latency_ms_wall_median": math.nan,
            "n_samples": len(times),
        }
