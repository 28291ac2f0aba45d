from __future__ import annotations

import sys

import pytest

from brpnas.errors import UserError
from brpnas.executors import InProcess, Processes
from brpnas.resolver import make_executor


def test_executors_by_name() -> None:
    with make_executor("inline", 3) as inline, make_executor("processes", 2) as processes:
        assert isinstance(inline, InProcess)
        assert isinstance(processes, Processes)


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        ("rays", None, "unknown executor 'rays'. Did you mean 'ray'? Choices: inline, processes"),
        ("inline", "auto", "the address auto goes with the executor 'ray', not 'inline'"),
        ("ray", "127.0.0.1:1", "cannot join Ray at 127.0.0.1:1"),
    ],
)
def test_executors_that_cannot_be_made(name: str, address: str | None, message: str) -> None:
    if name == "ray":
        pytest.importorskip("ray")
    with pytest.raises(UserError) as caught:
        make_executor(name, 1, address)
    assert message in str(caught.value)


def test_missing_extra_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="brpnas with its extra 'ray'"):
        make_executor("ray", 1)
