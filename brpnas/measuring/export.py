"""What a store holds of one device, as a table with a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brpnas import __version__
from brpnas.datasets import Card, Table, write_table
from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.store import ModelRecord
from brpnas.devices.sweep import SweepResult
from brpnas.devices.tflite.sources import ModelSource
from brpnas.devices.timing import Round
from brpnas.errors import UserError
from brpnas.measuring.choice import Wanted
from brpnas.measuring.jobs import Job, check_same_device, device_name

__all__ = ["Ended", "end", "export"]

_DECIMALS = 5
_REASONS = 5


@dataclass(frozen=True)
class Ended:
    """What became of one device and its table.

    Attributes:
        job: the device and what was asked of it.
        table: as it was written; None if there is none.
        error: what ended the sweep or kept the table from being written, if something did.
        convert_s: seconds spent on making models; None if the sweep did not end well.
    """

    job: Job
    table: Table | None
    error: Exception | None
    convert_s: float | None = None

    def summary(self) -> dict[str, Any]:
        """Count the table's rows with figures and without, and say whose they are."""
        if self.table is None:
            return {}
        measured = int(self.table.frame["latency_ms"].notna().sum())
        return {
            "measured": measured,
            "failed": len(self.table) - measured,
            "table": str(self.job.table),
            "device": dict(self.job.device.identity()),
            "convert_s": None if self.convert_s is None else round(self.convert_s, 3),
        }


def end(
    job: Job,
    result: SweepResult | Exception,
    sources: Mapping[str, ModelSource],
    wanted: Wanted,
    command: str,
) -> Ended:
    """Write the table of one device, also of one that was lost, as far as it came.

    Args:
        job: the device, its store and series.
        result: of its sweep.
        sources: as for ``export``, and so are the others.
        wanted: what the user named.
        command: repeats the measurement.
    """
    lost = result if isinstance(result, Exception) else None
    try:
        table = export(job, sources, wanted, command)
        check_same_device(job.table, job.device)  # another command may have made it meanwhile
        write_table(table, job.table)
    except Exception as error:  # noqa: BLE001 - the tables of other devices are still to come
        return Ended(job, None, lost or error)
    if isinstance(result, Exception):
        return Ended(job, table, result)
    return Ended(job, table, None, result.convert_s)


def export(job: Job, sources: Mapping[str, ModelSource], wanted: Wanted, command: str) -> Table:
    """Make the table of one device.

    Args:
        job: the device, its store and series.
        sources: by what stands in the first column; several rows may share one source.
        wanted: what the user named.
        command: repeats the measurement.

    Returns:
        One row for each source; one that failed has no figures, and the reason as ``error``.

    Raises:
        UserError: nothing was measured.
    """
    records: dict[str, ModelRecord] = {}
    rows: list[dict[str, Any]] = []
    for text, source in sources.items():
        if source.key not in records:
            record = job.store.record(job.series, source.key)
            records[source.key] = record or ModelRecord(text, None, None, None, None, {})
        rows.append({wanted.column: text, **_row(job.device, records[source.key])})
    if not any("latency_ms" in row for row in rows):
        reasons = list(dict.fromkeys(row["error"] for row in rows))
        more = [f"and {len(reasons) - _REASONS} more"] if len(reasons) > _REASONS else []
        text = "; ".join([*reasons[:_REASONS], *more])
        raise UserError(f"none of {len(rows)} models could be measured: {text}")
    frame = pd.DataFrame(rows)
    if "error" in frame:  # last, where people look for it
        frame = frame[[*(name for name in frame if name != "error"), "error"]]
    return Table(frame, _card(job, list(records.values()), wanted, command), job.table.name)


def _row(device: LiteRTDevice, record: ModelRecord) -> dict[str, Any]:
    rounds = [record.rounds[number] for number in sorted(record.rounds)][: device.plan.rounds]
    if record.error is not None or len(rounds) < device.plan.rounds:
        return {"error": record.error or "not measured yet"}
    return {
        **{name: round(value, _DECIMALS) for name, value in device.summarise(rounds).items()},
        "model_bytes": record.bytes,
        "samples_ms": _samples_text(device, rounds),
    }


def _samples_text(device: LiteRTDevice, rounds: Sequence[Round]) -> str:
    """Write all samples: spaces between those of one round, semicolons between rounds."""
    return ";".join(" ".join(f"{value:.4f}" for value in device.samples([one])) for one in rounds)


def _card(job: Job, records: Sequence[ModelRecord], wanted: Wanted, command: str) -> Card:
    plan, identity = job.device.plan, job.device.identity()
    makers = sorted({record.maker for record in records if record.maker})
    more = {
        name: str(value)
        for name, value in job.series.description.items()
        if name not in ("device", "plan")
    }
    conditions = [
        f"{plan.rounds} rounds in random order over the models, each {plan.warmup} warm-up and "
        f"{plan.runs} counted runs",
        f"threads: {plan.threads}",
        f"delegate: {plan.delegate}",
        *(f"{name}: {value}" for name, value in more.items()),
        *_ranges([one.conditions for record in records for one in record.rounds.values()]),
    ]
    return Card(
        title=f"Latency on {device_name(identity)}",
        source=f"measured by brpnas {__version__}; models made by {', '.join(makers) or '?'}",
        device="; ".join(f"{name}: {value}" for name, value in identity.items()),
        conditions="; ".join(conditions),
        rebuild=command,
        space=wanted.space.name if wanted.space else "",
        columns={
            **job.device.notes,
            "n_samples": "counted runs",
            "model_bytes": "size of the flatbuffer",
            "samples_ms": "what latency_ms is made of; a semicolon between rounds",
        },
    )


def _ranges(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in which range each condition was seen."""
    texts = []
    for name in dict.fromkeys(name for one in conditions for name in one):
        values = [one[name] for one in conditions if one.get(name) is not None]
        numbers = [value for value in values if isinstance(value, int | float)]
        if numbers:
            low, middle, high = min(numbers), float(np.median(numbers)), max(numbers)
            texts.append(f"{name}: {low:g} to {high:g}, median {middle:g}")
        elif values:
            texts.append(
                f"{name}: {', '.join(str(one) for one, _ in Counter(values).most_common(3))}"
            )
    return texts
