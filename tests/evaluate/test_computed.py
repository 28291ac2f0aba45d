from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.devices.fpga.device import FPGADevice, open_fpga
from brpnas.devices.fpga.sources import SpaceNetwork
from brpnas.errors import UserError
from brpnas.evaluate.computed import COMPUTED, ComputingEvaluator
from brpnas.executors import InProcess
from brpnas.spaces import NASBench201, NetworkShape

SPACE = NASBench201()
CELLS = [
    "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
]


def _source(text: str) -> SpaceNetwork:
    return SpaceNetwork(SPACE, text, NetworkShape(channels=4, cells_per_stage=1, input_size=8))


def _evaluator(device: FPGADevice) -> ComputingEvaluator[str]:
    return ComputingEvaluator(device, InProcess(retries=0), _source)  # type: ignore[arg-type]


def test_answers_are_in_order_and_of_the_device() -> None:
    device = open_fpga("fpga:zedboard")
    evaluator = _evaluator(device)
    answers = list(evaluator.evaluate([CELLS[1], CELLS[0], CELLS[1]]))
    wanted = [device.map(_source(text)()).seconds * 1000 for text in CELLS]
    found = [answer.metrics["latency_ms"] for answer in answers]
    assert found == pytest.approx([wanted[1], wanted[0], wanted[1]])
    assert wanted[0] != wanted[1]
    assert tuple(answers[0].metrics) == COMPUTED == evaluator.metrics


def test_what_does_not_fit_has_no_latency() -> None:
    (answer,) = _evaluator(FPGADevice(open_fpga("fpga:zedboard").platform, margin=0.999)).evaluate(
        CELLS[1:]
    )
    assert np.isnan(answer.metrics["latency_ms"])
    assert "does not fit on zedboard" in str(answer.error)


def test_what_was_computed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh(board: str = "fpga:zedboard") -> ComputingEvaluator[Any]:
        source: Any = _source
        return ComputingEvaluator(open_fpga(board), InProcess(retries=0), source, kept)

    kept = tmp_path / "run" / "computed.jsonl"
    found = [one.metrics for one in fresh().evaluate(CELLS)]
    whole = kept.read_text()
    broken = whole.splitlines()[1].replace('"latency_ms": ', '"latency_ms": N').encode()
    # Killed in the second line, and damaged otherwise.
    kept.write_bytes(whole[:-9].encode() + b"\n\xff\xfe\n" + broken + b"\n[]\n{}")
    (second,) = fresh().evaluate(CELLS[1:])
    assert second.metrics == found[1]
    (elsewhere,) = fresh("fpga:zc706").evaluate(CELLS[:1])
    assert elsewhere.metrics["latency_ms"] < found[0]["latency_ms"]
    monkeypatch.setattr(FPGADevice, "map", lambda *_: pytest.fail("mapped again"))
    assert [one.metrics for one in fresh().evaluate(CELLS)] == found


def test_a_file_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source: Any = _source
    kept = tmp_path / "file" / "computed.jsonl"
    evaluator: ComputingEvaluator[Any] = ComputingEvaluator(
        open_fpga("fpga:zedboard"), InProcess(retries=0), source, kept
    )
    with pytest.raises(UserError, match=r"computed\.jsonl: cannot be written"):
        list(evaluator.evaluate(CELLS[:1]))
