from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brpnas.datasets import read_table
from brpnas.devices import LocalDevice, Round, TFLiteModel, TimingPlan
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring import Ended, TableSettings, Wanted, choose_models, measure
from brpnas.measuring.choice import Models
from brpnas.spaces import NASBench201, NetworkShape
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=2, runs=2, warmup=0)
SMALL = NetworkShape(channels=4, cells_per_stage=1, input_size=8)


def _named(*names: str) -> Models:
    return Models({name: NamedSource(name) for name in names}, {"precision": "fp32"})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[Ended]]:
    def run(models: Models, *devices: Any, resume: bool = False, **more: Any) -> list[Ended]:
        settings = TableSettings(tmp_path / "t.parquet", resume, command="again")
        return measure(models, devices, InProcess(retries=0), settings, **more)

    return run


def test_networks_of_a_space_on_this_machine(
    run: Callable[..., list[Ended]], tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'measure'")
    models = choose_models(Wanted(NASBench201(), sample=2), SMALL)
    counted: list[tuple[int, int]] = []
    with LocalDevice(PLAN) as device:
        (ended,) = run(models, device, progress=lambda *count: counted.append(count))
    assert ended.error is None
    table = read_table(tmp_path / "t.parquet")
    assert table.archs == list(models.sources)
    assert (table.metric("latency_ms") > 0).all()
    assert table.card.rebuild == "again"
    assert "space: nasbench201; channels: 4; cells_per_stage: 1; input_size: 8;" in (
        table.card.conditions
    )
    assert counted[-1] == (4, 4)


def test_each_device_has_a_table(run: Callable[..., list[Ended]], tmp_path: Path) -> None:
    ended = run(_named("a"), ScriptedDevice(PLAN, name="x"), ScriptedDevice(PLAN, name="y"))
    assert [one.job.table.name for one in ended] == ["t-x.parquet", "t-y.parquet"]
    assert all(one.job.table.exists() for one in ended)
    assert not (tmp_path / "t.parquet").exists()


def test_others_are_added_and_other_conditions_are_refused(
    run: Callable[..., list[Ended]], tmp_path: Path
) -> None:
    run(_named("a"), ScriptedDevice(PLAN))
    with pytest.raises(UserError, match=r"t\.sqlite is there already: add --resume"):
        run(_named("b"), ScriptedDevice(PLAN))
    (ended,) = run(_named("b"), ScriptedDevice(PLAN), resume=True)
    assert ended.earlier == 1
    wider = Models(_named("c").sources, {"precision": "fp32", "channels": "8"}, "nasbench201")
    with pytest.raises(UserError, match="do not compare: channels was None, now '8'; choose"):
        run(wider, ScriptedDevice(PLAN), resume=True)
    assert read_table(tmp_path / "t.parquet").archs == ["a", "b"]


def test_files_that_cannot_be_read_leave_nothing_behind(
    run: Callable[..., list[Ended]], tmp_path: Path
) -> None:
    models = choose_models(Wanted(models=(str(tmp_path / "none.tflite"),)))
    with pytest.raises(UserError, match=r"cannot read .*none\.tflite"):
        run(models, ScriptedDevice(PLAN))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupt_says_how_to_go_on(
    run: Callable[..., list[Ended]], tmp_path: Path, after: int
) -> None:
    class Interrupted(ScriptedDevice):
        def time(self, model: TFLiteModel) -> Round:
            if len(self.timed) == after:
                raise KeyboardInterrupt
            return super().time(model)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(_named("a", "b"), Interrupted(PLAN))
    said = "repeat the command with --resume" if after else "before anything was measured"
    assert said in str(caught.value)
    assert (tmp_path / "t.sqlite").exists() == bool(after)
