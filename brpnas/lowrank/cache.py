"""Tensors kept on disk by the hash of what they were computed from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brpnas.errors import UserError
from brpnas.files import replace_file

__all__ = ["Cache", "content_hash", "model_hash"]

_log = logging.getLogger(__name__)
Tensors = dict[str, Tensor]


class Cache:
    """A folder of files, one for each hash; a file that is damaged is made anew."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: no folder for a cache ({error})") from None
        self._folder = folder

    def get(self, key: str, make: Callable[[], Tensors]) -> Tensors:
        """Return what is kept under a hash; make and keep it where there is nothing.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self._folder / f"{key}.safetensors"
        if path.exists():
            try:
                return _read(path)
            except (OSError, SafetensorError, ValueError) as error:
                _log.warning("%s: damaged (%s); made anew", path, error)
        made = {name: tensor.contiguous() for name, tensor in make().items()}
        content = save(made, {"sha256": model_hash(made)})
        try:
            replace_file(path, content)
        except OSError as error:
            if not path.exists():  # or another process has written the same meanwhile
                raise UserError(f"{path}: cannot be written ({error})") from None
        return made


def _read(path: Path) -> Tensors:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        # A flipped bit is no error to safetensors.
        if (file.metadata() or {}).get("sha256") != model_hash(tensors):
            raise ValueError("its hash is another")
    return tensors


def content_hash(*parts: str | Tensor) -> str:
    """Return the SHA-256 of texts and tensors: values, shapes and kinds."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(f"text {len(part.encode())} {part}".encode())
        else:
            plain = part.detach().cpu().contiguous()
            digest.update(f"tensor {plain.dtype} {tuple(plain.shape)} ".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a network's state: names and tensors, in the order of the names."""
    return content_hash(*(part for name in sorted(state) for part in (name, state[name])))
