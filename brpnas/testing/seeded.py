"""The contract of what a seed decides: the same in every process, as tests."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["SeededContract"]


class SeededContract:
    """What everything random has to do. A subclass says in ``_trace`` what its subject did.

    It lives at the top level of its module and its constructor takes nothing, so that another
    process can make it.

    Attributes:
        random: whether the seed decides anything.
    """

    random = True

    def _trace(self, seed: int) -> list[list[object]]:
        """Return what the subject does with a seed, as JSON keeps it."""
        raise NotImplementedError

    def test_seed_decides(self) -> None:
        """The same seed gives the same trace; another seed another one, if it matters."""
        assert self._trace(seed=3) == self._trace(seed=3)
        assert (self._trace(seed=3) != self._trace(seed=4)) == self.random

    def test_same_trace_in_another_process(self, tmp_path: Path) -> None:
        """Nothing depends on the process: hash order, global random state."""
        assert _trace_elsewhere(self, 3, tmp_path) == self._trace(seed=3)


def _trace_elsewhere(contract: SeededContract, seed: int, folder: Path) -> Any:  # noqa: ANN401 - JSON
    """Return the trace that a contract finds in another process, with another order of hashes.

    Args:
        contract: of a class at the top level of its module, whose constructor takes nothing.
        seed: of the trace.
        folder: for the answer.
    """
    output = folder / "trace.json"
    where = [inspect.getfile(type(contract)), type(contract).__name__, str(seed), str(output)]
    code = "import sys; from brpnas.testing import seeded as s; s._write_trace(*sys.argv[1:])"
    subprocess.run(  # noqa: S603 - this interpreter, our own arguments
        [sys.executable, "-c", code, *where],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    return json.loads(output.read_text())


def _write_trace(path: str, name: str, seed: str, output: str) -> None:
    """Write the trace of the contract class ``name`` in the file ``path``, as JSON."""
    spec = importlib.util.spec_from_file_location("contract", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    contract: SeededContract = getattr(module, name)()
    Path(output).write_text(json.dumps(contract._trace(seed=int(seed))))
