from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from brpnas.quiet import quiet


def test_nothing_is_seen_and_all_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", flush=False)  # noqa: T201
    with quiet():
        print("printed")  # noqa: T201
        print("printed", file=sys.stderr)  # noqa: T201
        os.write(1, b"native\n")
        os.write(2, b"native\n")
        logging.getLogger("some").error("logged")
        warnings.warn("warned", stacklevel=1)
    os.write(1, b"native after\n")
    print("after")  # noqa: T201
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert out == "before\nnative after\nafter\n"
    assert err == ""
    assert logging.root.manager.disable == 0


def test_all_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), quiet():
        raise ValueError("inside")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_no_descriptor_is_left_open() -> None:
    before = os.dup(0)
    os.close(before)
    for _ in range(5):
        with quiet():
            pass
    after = os.dup(0)
    os.close(after)
    assert before == after
