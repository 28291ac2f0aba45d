"""What a store holds of one device, as a table with a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from brpnas import __version__
from brpnas.datasets import Card, Table, read_table, write_table
from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.store import ModelRecord
from brpnas.devices.sweep import SweepResult
from brpnas.devices.timing import Round
from brpnas.errors import UserError
from brpnas.measuring.choice import Chosen
from brpnas.measuring.jobs import AnyJob, Job, check_same_device, device_name

__all__ = ["Ended", "Form", "end", "export", "timed"]

Row = dict[str, Any]

_DECIMALS = 5
_REASONS = 5
_NOT_YET = "not measured yet"
_UNKNOWN = ModelRecord("", None, None, None, None, {})


@dataclass(frozen=True)
class Form:
    """How what a store holds of a device becomes a table.

    Attributes:
        row: makes the columns of one model besides its name; without ``latency_ms`` if it failed,
            and then with ``error``.
        card: of the table, but for what rebuilds it and the space.
    """

    row: Callable[[ModelRecord], Row]
    card: Card


def timed(job: Job, records: Sequence[ModelRecord]) -> Form:
    """Return the form of a table of timed models.

    Args:
        job: the device, its store and series.
        records: of all models that the store knows of.
    """
    usual = job.device.usual(one for record in records for one in record.rounds.values())
    return Form(lambda record: _row(job.device, record, usual), _card(job, records))


@dataclass(frozen=True)
class Ended:
    """What became of one device and its table.

    Attributes:
        job: the device and what was asked of it.
        table: as it was written; None if there is none.
        error: what ended the sweep or kept the table from being written, if something did.
        convert_s: seconds spent on making models; None if the sweep did not end well.
        earlier: rows of the table that were asked for by earlier commands.
    """

    job: AnyJob[Any]
    table: Table | None
    error: Exception | None
    convert_s: float | None = None
    earlier: int = 0

    def summary(self) -> dict[str, Any]:
        """Count the table's rows with figures and without, and say whose they are."""
        if self.table is None:
            return {}
        measured = int(self.table.frame["latency_ms"].notna().sum())
        return {
            "measured": measured,
            "failed": len(self.table) - measured,
            "earlier": self.earlier,
            "table": str(self.job.table),
            "device": dict(self.job.device.identity()),
            "convert_s": None if self.convert_s is None else round(self.convert_s, 3),
        }


def end(
    job: AnyJob[Any],
    result: SweepResult | Exception,
    models: Chosen[Any],
    command: str,
    form: Callable[[Any, Sequence[ModelRecord]], Form] = timed,
) -> Ended:
    """Write the table of one device, also of one that was lost, as far as it came.

    Args:
        job: the device, its store and series.
        result: of its sweep.
        models: what was to be measured.
        command: repeats the measurement.
        form: of the table.
    """
    lost = result if isinstance(result, Exception) else None
    try:
        check_same_device(job.table, job.device)  # another command may have made it meanwhile
        table = export(job, models, command, form)
        write_table(table, job.table)
    except Exception as error:  # noqa: BLE001 - the tables of other devices are still to come
        return Ended(job, None, lost or error)
    earlier = len(table) - len(models.sources)
    convert_s = None if isinstance(result, Exception) else result.convert_s
    return Ended(job, table, lost, convert_s, earlier)


def export(
    job: AnyJob[Any],
    models: Chosen[Any],
    command: str,
    form: Callable[[Any, Sequence[ModelRecord]], Form] = timed,
) -> Table:
    """Make the table of one device, on top of the one that is there.

    Args:
        job: the device, its store and series.
        models: what was to be measured.
        command: repeats the measurement.
        form: of the table.

    Returns:
        One row for each source; one that failed has no figures, and the reason as ``error``.
        Rows of earlier commands stay as they are, and what the store holds of a command that was
        stopped before it wrote a table becomes rows too: nothing that was measured is lost.

    Raises:
        UserError: nothing was measured, or the table that is there cannot be read.
    """
    keys = {text: source.key for text, source in models.sources.items()}
    found = {
        key: job.store.record(job.series, key)
        for key in dict.fromkeys([*keys.values(), *job.store.done(job.series)])
    }
    records = {key: record for key, record in found.items() if record is not None}
    shaped = form(job, list(records.values()))
    asked = {text: shaped.row(records.get(key, _UNKNOWN)) for text, key in keys.items()}
    if not any("latency_ms" in row for row in asked.values()):
        reasons = list(dict.fromkeys(row["error"] for row in asked.values()))
        more = [f"and {len(reasons) - _REASONS} more"] if len(reasons) > _REASONS else []
        text = "; ".join([*reasons[:_REASONS], *more])
        raise UserError(f"none of {len(asked)} models could be measured: {text}")
    before = read_table(job.table) if job.table.exists() else None
    others = records.keys() - set(keys.values())
    rows = _earlier(before, [records[key] for key in records if key in others], shaped)
    rows |= {
        # What failed now has kept the figures of the rounds that it had before.
        text: row if "latency_ms" in row else {**rows.get(text, {}), **row}
        for text, row in asked.items()
        if text not in rows or row.get("error") != _NOT_YET  # more rounds that did not come
    }
    # The error comes last, where people look for it: no row that is measured has one.
    ordered = sorted(rows.values(), key=lambda row: "error" in row)
    columns = dict.fromkeys([models.column, *(name for row in ordered for name in row)])
    frame = pd.DataFrame(
        [{models.column: text, **row} for text, row in rows.items()], columns=list(columns)
    )
    if before is not None and len(rows) > len(asked):
        command = _after(before.card.rebuild, command)
    card = replace(shaped.card, rebuild=command, space=models.space)
    return Table(frame, card, job.table.name)


def _earlier(before: Table | None, records: Iterable[ModelRecord], form: Form) -> dict[str, Row]:
    """Return the rows of a table that is there, and those of further models that are measured."""
    rows: dict[str, Row] = {}
    if before is not None:
        kept = before.frame[before.metrics].to_dict("records")
        for text, values in zip(before.archs, kept, strict=True):
            rows[text] = {str(name): one for name, one in values.items() if not pd.isna(one)}
    # Rows that share a model bear other texts than the store has.
    there = {row.get("model_sha256") for row in rows.values()}
    for record in records:
        row = form.row(record)
        if record.name not in rows and record.sha256 not in there and "error" not in row:
            rows[record.name] = row
    return rows


def _after(before: str, command: str) -> str:
    """Return what makes a table that several commands added to, for a POSIX shell."""
    steps = before.split(" && ") if before else []
    if command not in (step.removesuffix(" --resume") for step in steps):
        steps.append(f"{command} --resume" if steps else command)
    return " && ".join(steps)


def _row(device: LiteRTDevice, record: ModelRecord, usual: float | None) -> Row:
    made = {"model_bytes": record.bytes, "model_sha256": record.sha256, "maker": record.maker}
    made = {name: value for name, value in made.items() if value is not None}
    rounds = [record.rounds[number] for number in sorted(record.rounds)][: device.plan.rounds]
    if record.error is not None or len(rounds) < device.plan.rounds:
        return {**made, "error": record.error or _NOT_YET}
    columns = device.summarise(rounds, usual)
    references = [one.conditions.get("reference_ms") for one in rounds]
    return {
        **{name: round(value, _DECIMALS) for name, value in columns.items()},
        **made,
        "samples_ms": _samples_text(device, rounds),
        **({} if None in references else {"reference_ms": ";".join(map(str, references))}),
    }


def _samples_text(device: LiteRTDevice, rounds: Sequence[Round]) -> str:
    """Write all samples: spaces between those of one round, semicolons between rounds."""
    return ";".join(" ".join(f"{value:.4f}" for value in device.samples([one])) for one in rounds)


def _card(job: Job, records: Sequence[ModelRecord]) -> Card:
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
        columns={
            **job.device.notes,
            "n_samples": "counted runs",
            "model_bytes": "size of the flatbuffer",
            "model_sha256": "of the flatbuffer that was measured",
            "maker": "what wrote the flatbuffer",
            "samples_ms": "what latency_ms is made of; a semicolon between rounds",
            "reference_ms": "time of the reference network in each round",
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
