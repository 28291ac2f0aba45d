"""How models are timed: the plan of a measurement, and what one round of it gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Round", "TimingPlan"]


@dataclass(frozen=True)
class TimingPlan:
    """How often a model runs, and how.

    The rounds of different models alternate in random order, so that a disturbance that lasts
    hits all models alike and few rounds of each.

    Attributes:
        rounds: how often a model's turn comes.
        runs: counted runs in each round.
        warmup: runs before them, not counted, in each round.
        threads: of the runtime.
        delegate: what runs the model: ``cpu``, ``gpu`` or ``dsp``.
        timeout_s: after which one round of one model counts as hung on a phone, and on this machine
            the first run of a model that brpnas did not write.

    Raises:
        ValueError: a number below its smallest, or a time without end.
    """

    rounds: int = 5
    runs: int = 10
    warmup: int = 5
    threads: int = 1
    delegate: str = "cpu"
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        smallest = {"rounds": 1, "runs": 1, "warmup": 0, "threads": 1}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s must be a number above 0, not {self.timeout_s}")


@dataclass(frozen=True)
class Round:
    """What one round of one model gave.

    Attributes:
        samples: by name, with the unit in it. Of each run, in the order of time: ``wall_ms``, and
            ``cpu_ms`` (CPU time of the running thread). A program that reports summaries only
            gives one value for the round: ``min_ms``, ``max_ms``, ``mean_ms``, ``std_ms``,
            ``first_ms`` (the first counted run), ``count`` (of runs), ``init_ms``.
        conditions: what was seen meanwhile, such as temperature and governor, by name.
    """

    samples: Mapping[str, tuple[float, ...]]
    conditions: Mapping[str, str | float | None] = field(default_factory=dict)
