"""What a contract finds in another process."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Traced", "trace_elsewhere"]


class Traced(Protocol):
    """A contract that can say what its subject did: as JSON keeps it, decided by the seed."""

    def _trace(self, seed: int) -> list[list[object]]: ...


def trace_elsewhere(contract: Traced, seed: int, folder: Path) -> Any:  # noqa: ANN401 - JSON
    """Return the trace that a contract finds in another process, with another order of hashes.

    Args:
        contract: of a class at the top level of its module, whose constructor takes nothing.
        seed: of the trace.
        folder: for the answer.
    """
    output = folder / "trace.json"
    where = [inspect.getfile(type(contract)), type(contract).__name__, str(seed), str(output)]
    code = "import sys; from brpnas.testing import elsewhere as e; e._write_trace(*sys.argv[1:])"
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
    contract: Traced = getattr(module, name)()
    Path(output).write_text(json.dumps(contract._trace(seed=int(seed))))
