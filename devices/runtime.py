"""The TFLite runtime of this machine, whichever package provides it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brpnas.errors import UserError, extra_hint

__all__ = ["Runtime", "find_runtime"]

# The first that is installed is used. tflite-runtime is the older name of the same program.
_PACKAGES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)


@dataclass(frozen=True)
class Runtime:
    """An installed TFLite interpreter.

    Attributes:
        package: name of the package that provides it.
        version: of the package.
        sha256: hash of its compiled libraries: builds of one version may differ in speed.
        interpreter: its class.
    """

    package: str
    version: str
    sha256: str
    interpreter: Callable[..., Any]

    def load(self, content: bytes, threads: int) -> Any:  # noqa: ANN401 - it comes without types
        """Make an interpreter of a flatbuffer, with its memory allocated.

        Raises:
            ValueError, RuntimeError: the runtime rejects the model.
        """
        with _first_line_hidden():
            interpreter = self.interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        return interpreter


@functools.cache
def find_runtime() -> Runtime:
    """Return the runtime of this machine.

    Raises:
        UserError: none is installed, or the one that is cannot be loaded.
    """
    for package, module in _PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        try:
            loaded = importlib.import_module(module)
        except (ImportError, AttributeError) as error:  # the latter: built for another numpy
            raise UserError(
                f"{package} {version} is installed but cannot be loaded ({error}); "
                f"reinstall it: pip install --force-reinstall {package}"
            ) from None
        folder = Path(str(loaded.__file__)).parent
        return Runtime(package, version, _hash_libraries(folder), loaded.Interpreter)
    names = " nor ".join(package for package, _ in _PACKAGES)
    raise UserError(f"neither {names} is installed: {extra_hint('measure')}")


def _hash_libraries(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*interpreter_wrapper*")) + sorted(folder.glob("libpywrap*")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


_shown: set[str] = set()


@contextlib.contextmanager
def _first_line_hidden() -> Iterator[None]:
    """Hide what the runtime writes when its first interpreter is made.

    Native code writes "INFO: Created TensorFlow Lite XNNPACK delegate" to the process's own
    stderr, once; errors come as exceptions, so nothing else is lost.
    """
    if _shown:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
        _shown.add("interpreter")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
