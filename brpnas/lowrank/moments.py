"""What a network's layers see: second moments of their inputs, from one pass over images.

A layer's outputs are W z, where z is the patch of its input that an output position sees (C Kh Kw
numbers; of a linear layer, the vector). The mean squared change of the outputs, when W becomes V,
is tr((W - V) S (W - V)^T) with S the mean of z z^T: so S says all that any scheme has to know.
Patches exist for a few images at a time; the sums of their products are of float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.lowrank.cache import Cache, content_hash
from brpnas.lowrank.layers import Layers, evaluation, layer_input
from brpnas.lowrank.shapes import LayerShape

__all__ = ["Moment", "cached_moments", "gather_moments", "moment_bytes"]

_PATCH_NUMBERS = 1 << 23
"""Numbers of the patches that exist at a time: 32 MiB of float32."""


@dataclass(frozen=True, eq=False)
class Moment:
    """What one layer saw.

    Attributes:
        second: mean of z z^T over images and positions, shape (C Kh Kw, C Kh Kw), float64.
        mean: mean of z, shape (C Kh Kw,), float64.
        count: patches that were seen.
    """

    second: Tensor
    mean: Tensor
    count: int

    @property
    def covariance(self) -> Tensor:
        """Second moment about the mean, in the shape of ``second``."""
        return self.second - torch.outer(self.mean, self.mean)


def moment_bytes(layers: Layers) -> int:
    """Return the memory that the moments of all layers take, in bytes."""
    return sum(8 * (shape.patch**2 + shape.patch) for shape in layers.shapes.values())


def gather_moments(
    model: nn.Module, layers: Layers, batches: Iterable[Tensor]
) -> dict[str, Moment]:
    """Run a network over images and return what each of its layers saw.

    Args:
        model: run in evaluation mode, and left as it was.
        layers: those of the network (`find_layers`); `moment_bytes` says what memory is needed,
            besides 32 MiB for patches and what the network itself takes for a batch.
        batches: images as the network takes them.

    Raises:
        UserError: no images, images that the network does not run on, or a layer that saw
            values that are not finite.
    """
    sums = {name: _Sums(shape) for name, shape in layers.shapes.items()}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - torch's signature
            sums[name].add(module, layer_input(args, kwargs))

        return hook

    modules = dict(model.named_modules())
    with evaluation(model), contextlib.ExitStack() as hooks:
        for name in sums:
            handle = modules[name].register_forward_pre_hook(note(name), with_kwargs=True)
            hooks.callback(handle.remove)
        for batch in batches:
            try:
                model(batch)
            except (RuntimeError, ValueError, TypeError) as error:
                size = " x ".join(map(str, batch.shape))
                raise UserError(
                    f"the network does not run on calibration images of {size}: {one_line(error)}"
                ) from error
    return {name: kept.moment(name) for name, kept in sums.items()}


def cached_moments(
    cache: Cache, key: str, gather: Callable[[], dict[str, Moment]]
) -> dict[str, Moment]:
    """Return the moments kept under a hash of the network and the images, or gather and keep them.

    Args:
        cache: on disk.
        key: such as ``content_hash(model_hash(model.state_dict()), images)``.
        gather: makes them.
    """

    def make() -> dict[str, Tensor]:
        return {
            f"{part} {name}": value
            for name, moment in gather().items()
            for part, value in (
                ("second", moment.second),
                ("mean", moment.mean),
                ("count", torch.tensor(moment.count)),
            )
        }

    kept = cache.get(content_hash("moments", key), make)
    names = [name.removeprefix("count ") for name in kept if name.startswith("count ")]
    return {
        name: Moment(kept[f"second {name}"], kept[f"mean {name}"], int(kept[f"count {name}"]))
        for name in names
    }


class _Sums:
    """Sums over the patches of one layer."""

    def __init__(self, shape: LayerShape) -> None:
        self.second = torch.zeros(shape.patch, shape.patch, dtype=torch.float64)
        self.total = torch.zeros(shape.patch, dtype=torch.float64)
        self.count = 0

    def add(self, module: nn.Module, x: Tensor) -> None:
        for z in _patches(module, x):  # (patches, C Kh Kw)
            self.second += (z.T @ z).to("cpu", torch.float64)
            self.total += z.sum(0).to("cpu", torch.float64)
            self.count += len(z)

    def moment(self, name: str) -> Moment:
        if not self.count:
            raise UserError("no calibration images: second moments need some")
        if not bool(torch.isfinite(self.second).all()):
            raise UserError(f"layer '{name}' saw values of the calibration images that are not "
                            "finite numbers")  # fmt: skip
        return Moment(self.second / self.count, self.total / self.count, self.count)


def _patches(module: nn.Module, x: Tensor) -> Iterable[Tensor]:
    """Yield the patches that a layer sees, of a few images at a time, shape (patches, C Kh Kw)."""
    # Sums of half-precision products would be of little use.
    x = x if x.dtype in (torch.float32, torch.float64) else x.float()
    if not isinstance(module, nn.Conv2d):
        yield x.reshape(-1, x.shape[-1])
        return
    pads = [pad for before_after in reversed(_padding(module)) for pad in before_after]
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    if any(pads):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, pads, mode)
    numbers = x[0].numel() * kernel[0] * kernel[1] // (stride[0] * stride[1])
    step = max(1, _PATCH_NUMBERS // max(1, numbers))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        z = F.unfold(part, kernel, dilation, 0, stride)  # (n, C K K, P)
        yield z.transpose(1, 2).reshape(-1, z.shape[1])


def _padding(layer: nn.Conv2d) -> list[tuple[int, int]]:
    """Return the padding before and after, for height and width."""
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(pad), int(pad)) for pad in layer.padding]
