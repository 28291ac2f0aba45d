import threading
from pathlib import Path

import pytest

from brpnas.devices import TFLiteModel
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring import shared
from brpnas.measuring.shared import SharedExecutor
from brpnas.testing import NamedSource


def _make(source: NamedSource) -> TFLiteModel:
    return source()


def test_few_models_wait_on_disk_and_those_that_are_gone_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_KEPT", 3)
    executor = SharedExecutor(InProcess(), tmp_path, threading.Event())
    sources = [NamedSource(name) for name in "abcdef"]
    for _ in range(2):
        found = [outcome.value for outcome in executor.run(_make, sources)]
        assert [model.content for model in found if model] == [b"a", b"b", b"c", b"d", b"e", b"f"]
        assert len(list(tmp_path.iterdir())) == 3


def test_a_sweep_that_gave_up_halfway_does_not_block_the_others(tmp_path: Path) -> None:
    executor = SharedExecutor(InProcess(), tmp_path, threading.Event())
    sources = [NamedSource(name) for name in "ab"]
    left = executor.run(_make, sources)
    next(left)
    other = threading.Thread(target=list, args=(executor.run(_make, sources),), daemon=True)
    other.start()
    other.join(20)
    assert not other.is_alive()


def test_making_ends_when_it_is_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        list(SharedExecutor(InProcess(), tmp_path, stop).run(_make, [NamedSource("a")]))


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    executor = SharedExecutor(InProcess(), tmp_path / "gone", threading.Event())
    with pytest.raises(UserError, match=r"cannot keep models in .*gone: No such file"):
        list(executor.run(_make, [NamedSource("a")]))
