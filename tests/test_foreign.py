"""What measuring and fpga need of it is tested there; here, what no other test reaches."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from brpnas.errors import UserError
from brpnas.foreign import call_function, read_exported, users_code


def test_any_value_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "users_own.py").write_text("def give():\n    return [1, 2]\n")
    assert call_function("users_own:give") == [1, 2]
    for target in ("users_own", "users_own:", "a/b:c", "a:b.c", "../a:b"):
        with pytest.raises(UserError, match=r"not of the form package\.module:function"):
            call_function(target)


def test_errors_of_users_code_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^it failed: ValueError: a b$"), users_code("it failed"):
        raise ValueError("a\nb")


@pytest.mark.parametrize("before", [None, "0"])
def test_reading_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(2),)), file)
    program = read_exported(file.getvalue(), "a.pt2")
    assert torch.equal(program.module()(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
    assert os.environ.get(name) == before
    content = file.getvalue()
    for broken in (b"", b"garbage", content[: len(content) // 2]):
        with pytest.raises(UserError, match=r"a\.pt2: "):
            read_exported(broken, "a.pt2")
    assert os.environ.get(name) == before
