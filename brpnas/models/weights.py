"""Trained weights from safetensors files, and whether they are a network's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from brpnas.errors import DAMAGE, UserError, one_line

__all__ = ["check_finite", "fill", "read_metadata", "read_weights"]

_SHOWN = 5
"""Keys that an error names."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file.

    Raises:
        UserError: no such file, or one of another kind.
    """
    try:
        return load_tensors(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (SafetensorError, *DAMAGE) as error:
        hint = ""
        if path.suffix in (".pt", ".pth", ".th", ".bin", ".ckpt"):
            hint = (
                "; pickles are not read: convert it with torch.load(..., weights_only=True) and "
                "safetensors.torch.save_file"
            )
        raise UserError(f"{path}: not a safetensors file ({one_line(error)}){hint}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a ``.safetensors`` file says of itself.

    Raises:
        UserError: no such file, or one of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a safetensors file ({one_line(error)})") from None


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str, name: str) -> None:
    """Copy weights into a network; nothing is copied if they do not fit.

    Counts of batches that batch-norms have seen may be missing: nothing depends on them. So may
    all but one key of weights that layers share.

    Args:
        module: the network.
        weights: by the network's own keys.
        source: the file, for errors.
        name: of the network, for errors.

    Raises:
        UserError: keys that are missing, unknown or of another shape or kind; NaN or infinities.
    """
    own = module.state_dict()
    given = {_place(own[key]) for key in weights if key in own}
    missing = [
        key
        for key, value in own.items()
        if key not in weights
        and not key.endswith("num_batches_tracked")
        and _place(value) not in given  # files hold what two layers share only once
    ]
    unknown = [key for key in weights if key not in own]
    shared = [key for key in own if key in weights]
    shapes = [
        f"{key} ({tuple(weights[key].shape)}, not {tuple(own[key].shape)})"
        for key in shared
        if weights[key].shape != own[key].shape
    ]
    kinds = [
        f"{key} ({weights[key].dtype})"
        for key in shared
        if weights[key].is_floating_point() != own[key].is_floating_point()
    ]
    problems = [
        f"{what}: {_some(keys)}"
        for what, keys in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", shapes),
            ("of another kind", kinds),
        )
        if keys
    ]
    if problems:
        raise UserError(f"{source} does not fit {name}: {'; '.join(problems)}")
    check_finite(weights, source)
    module.load_state_dict(weights, strict=False)


def _place(value: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]] | int:
    """Return what tells a tensor from others, but for those that share its numbers."""
    if not isinstance(value, Tensor) or not value.numel():
        return id(value)
    return value.data_ptr(), tuple(value.shape), value.stride()


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """See to it that all weights are numbers.

    Args:
        weights: by key.
        source: where they come from, for errors.

    Raises:
        UserError: NaN or infinities; says where.
    """
    bad = [
        f"{key} ({count:,} of {value.numel():,})"
        for key, value in weights.items()
        if isinstance(value, Tensor)  # the extra state of a module may be anything
        and value.is_floating_point()
        and (count := value.numel() - int(torch.isfinite(value).sum()))
    ]
    if bad:
        raise UserError(f"{source}: NaN or infinity in {_some(bad)}")


def _some(keys: Iterable[str]) -> str:
    known = list(keys)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more
