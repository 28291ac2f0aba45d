"""How far a training has come, on disk, so that a killed one continues."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from brpnas.errors import DAMAGE, UserError
from brpnas.files import replace_file
from brpnas.lowrank.cache import model_hash

__all__ = ["Saved"]

_log = logging.getLogger(__name__)
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Saved:
    """A file with a training's state after its last epoch; without a folder, nothing is kept.

    A file that is damaged is as good as none.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        """Keep the place.

        Args:
            folder: made if need be.
            key: hash of all that the training depends on: another's file is not taken for its own.
        """
        self._path = None if folder is None else folder / f"repair-{key[:16]}.safetensors"

    def load(self, parameters: Sequence[Tensor], adam: torch.optim.Adam) -> int:
        """Put parameters and optimiser back to where they were, and return the epochs done."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            state = load(self._path.read_bytes())
            digest = state.pop("sha256")
            if bytes(digest.tolist()).hex() != model_hash(state):
                raise ValueError("its hash is another")
        except (OSError, SafetensorError, *DAMAGE) as error:
            _log.warning("%s: damaged (%s); training starts again", self._path, error)
            return 0
        with torch.no_grad():
            for i, parameter in enumerate(parameters):
                parameter.copy_(state[f"{i}"])
                if f"{i} step" in state:
                    adam.state[parameter] = {kind: state[f"{i} {kind}"] for kind in _MOMENTS}
        return int(state["epochs"])

    def keep(self, epochs: int, parameters: Sequence[Tensor], adam: torch.optim.Adam) -> None:
        """Keep the state after so many epochs.

        Raises:
            UserError: the file cannot be written.
        """
        if self._path is None:
            return
        state = {"epochs": torch.tensor(epochs)}
        for i, parameter in enumerate(parameters):
            state[f"{i}"] = parameter.detach()
            for kind in _MOMENTS if adam.state.get(parameter) else ():
                state[f"{i} {kind}"] = adam.state[parameter][kind]
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        digest = torch.tensor(list(bytes.fromhex(model_hash(state))), dtype=torch.uint8)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, save({**state, "sha256": digest}))
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error})") from None
