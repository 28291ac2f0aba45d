"""What is kept of tensors: on disk by the hash of what they come from, in memory up to a size."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brpnas.errors import UserError
from brpnas.files import replace_file

__all__ = ["Cache", "Recent", "content_hash", "model_hash"]

_log = logging.getLogger(__name__)
Tensors = dict[str, Tensor]
V = TypeVar("V")


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


class Recent(Generic[V]):
    """Values with tensors that were asked for last, up to a number of bytes in all.

    Args:
        limit_bytes: those asked for longest ago go first; the last one stays, however large.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], V], *borrowed: Tensor) -> V:
        """Return what is kept under a key; make and keep it where there is nothing.

        Args:
            key: of the value.
            make: the value, an object with tensors, or a tuple of them.
            borrowed: tensors that others hold anyway; they do not count.
        """
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value = make()
        without = {tensor.untyped_storage().data_ptr() for tensor in borrowed}
        sizes = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, _tensors(value))}
        size = sum(sizes[place] for place in sizes.keys() - without)
        self._values[key] = value, size
        self.held_bytes += size
        while self.held_bytes > self.limit_bytes and len(self._values) > 1:
            self.held_bytes -= self._values.popitem(last=False)[1][1]
        return value


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors that an object holds; a part of a tensor keeps the whole in memory."""
    if isinstance(value, Tensor):
        yield value
    else:
        held = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        for part in value if isinstance(value, tuple) else held.values():
            yield from _tensors(part)


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
