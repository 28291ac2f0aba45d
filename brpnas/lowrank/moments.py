"""What a network's layers see: second moments of their inputs, from one pass over images.

A layer's outputs are W z, where z is the patch of its input that an output position sees (C Kh Kw
numbers; of a linear layer, the vector). The mean squared change of the outputs, when W becomes V,
is tr((W - V) S (W - V)^T) with S the mean of z z^T: so S says all that any scheme has to know.
Patches exist for a few images at a time; the sums of their products are of float64.

All patches of many images would cost ten times what the network itself does. Neighbours see nearly
the same, so that a share of them, drawn at random from all images, tells as much.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating
from brpnas.lowrank.cache import Cache, content_hash
from brpnas.lowrank.layers import Layers, layer_input
from brpnas.lowrank.shapes import LayerShape

__all__ = ["Moment", "cached_moments", "gather_moments", "padded"]

_PATCH_NUMBERS = 1 << 23
"""Numbers of the patches that exist at a time: 32 MiB of float32."""
_DRAWN = 1 << 16
"""Patches of each layer that are drawn from all images."""


_ROUNDING = 1e-14
"""Of a second moment in float64: what the difference of two may be wrong by."""


@dataclass(frozen=True, eq=False)
class Moment:
    """What one layer saw.

    Attributes:
        second: mean of z z^T over images and positions, shape (C Kh Kw, C Kh Kw), float64.
        mean: mean of z, shape (C Kh Kw,), float64.
        count: patches that it stands for.
    """

    second: Tensor
    mean: Tensor
    count: int

    @cached_property
    def covariance(self) -> Tensor:
        """Second moment about the mean, in the shape of ``second``.

        Of an input that is always alike, the difference is rounding, of either sign: so much is
        added to each variance that it cannot be negative.
        """
        rounding = torch.diag(_ROUNDING * self.second.diagonal())
        return self.second - torch.outer(self.mean, self.mean) + rounding


def gather_moments(
    model: nn.Module,
    layers: Layers,
    batches: Iterable[Tensor],
    images: int | None = None,
    seed: int = 0,
) -> dict[str, Moment]:
    """Run a network over images and return what each of its layers saw.

    Of batches of 64 a network of small images runs faster than of more.

    Args:
        model: run in evaluation mode, and left as it was.
        layers: those of the network (`find_layers`). The moments of each take
            8 (2 patch^2 + patch) bytes, with their covariance, the patches of all 32 MiB besides.
        batches: images as the network takes them.
        images: how many there are in all batches. Given that, 65,536 patches of each layer are
            drawn, evenly from all images, where it sees more; otherwise all are taken.
        seed: of what is drawn.

    Raises:
        UserError: no images, images that the network does not run on, or a layer that saw
            values that are not finite.
    """
    drawn = None if images is None else _DRAWN / images
    sums = {
        name: _Sums(shape, drawn, torch.Generator().manual_seed(seed))
        for name, shape in layers.shapes.items()
    }
    running = [0]  # images of the batch that is run

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - torch's signature
            sums[name].add(module, layer_input(args, kwargs), running[0])

        return hook

    modules = dict(model.named_modules())
    with evaluating(model), torch.no_grad(), contextlib.ExitStack() as hooks:
        for name in sums:
            handle = modules[name].register_forward_pre_hook(note(name), with_kwargs=True)
            hooks.callback(handle.remove)
        for batch in batches:
            running[0] = len(batch)
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
        key: such as ``content_hash(model_hash(model.state_dict()), images)``, with the seed where
            patches are drawn.
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
    """Sums over the patches of one layer, of which so many are drawn for each image, or all."""

    def __init__(self, shape: LayerShape, drawn: float | None, generator: torch.Generator) -> None:
        self.second = torch.zeros(shape.patch, shape.patch, dtype=torch.float64)
        self.total = torch.zeros(shape.patch, dtype=torch.float64)
        # Sums are of what patches differ by from the mean of the first of them: products are of
        # float32, and the variance of an input that is nearly always alike would be lost in them.
        self.origin: Tensor | None = None
        self.count = 0
        self._drawn, self._generator = drawn, generator

    def add(self, module: nn.Module, x: Tensor, images: int) -> None:
        """Add what a layer sees in one call, which serves so many images."""
        windows = windows_of(module, x)
        count = windows.shape[:3].numel()
        if not count:
            return
        chosen = count if self._drawn is None else min(count, math.ceil(self._drawn * images))
        # One of each of as many spans of equal length: all of them where there are no more.
        starts = torch.arange(chosen, dtype=torch.float64)
        starts += torch.rand(chosen, dtype=torch.float64, generator=self._generator)
        places = (starts * (count / chosen)).long().clamp(max=count - 1).to(x.device)
        for z in patches_of(windows, places):  # (patches, C Kh Kw), a copy
            if self.origin is None:
                self.origin = z.mean(0)
            z -= self.origin
            self.second += (z.T @ z).to("cpu", torch.float64) * (count / chosen)
            self.total += z.sum(0).to("cpu", torch.float64) * (count / chosen)
        self.count += count

    def moment(self, name: str) -> Moment:
        if not self.count:
            raise UserError("no calibration images: second moments need some")
        if not bool(torch.isfinite(self.second).all()):
            raise UserError(f"layer '{name}' saw values of the calibration images that are not "
                            "finite numbers")  # fmt: skip
        assert self.origin is not None  # noqa: S101 - there were patches
        away = self.total / self.count
        mean = self.origin.to("cpu", torch.float64) + away
        second = self.second / self.count - torch.outer(away, away) + torch.outer(mean, mean)
        return Moment(second, mean, self.count)


def windows_of(module: nn.Module, x: Tensor) -> Tensor:
    """Return a view of what each output position sees: (images, rows, columns, C, Kh, Kw)."""
    # Sums of half-precision products would be of little use.
    x = x if x.dtype in (torch.float32, torch.float64) else x.float()
    if not isinstance(module, nn.Conv2d):
        return x.reshape(1, 1, -1, x.shape[-1], 1, 1)
    x = padded(module, x)
    sides = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for side, (kernel, stride, dilation) in enumerate(sides):
        x = x.unfold(2 + side, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    return x.permute(0, 2, 3, 1, 4, 5)


def patches_of(windows: Tensor, places: Tensor) -> Iterator[Tensor]:
    """Yield the patches at these places, a few at a time, shape (patches, C Kh Kw)."""
    step = max(1, _PATCH_NUMBERS // windows.shape[3:].numel())
    rows, columns = windows.shape[1:3]
    for part in torch.split(places, step):
        image, place = part // (rows * columns), part % (rows * columns)
        yield windows[image, place // columns, place % columns].flatten(1)


def padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the input of a convolution with the border that it adds."""
    pads = [pad for before_after in reversed(_padding(layer)) for pad in before_after]
    if not any(pads):
        return x
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(x, pads, mode)


def _padding(layer: nn.Conv2d) -> list[tuple[int, int]]:
    """Return the padding before and after, for height and width."""
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(pad), int(pad)) for pad in layer.padding]
