"""How a kernel slides over a feature map, and the sizes that a layer with one has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brpnas.devices.fpga.network import Shape
from brpnas.devices.tflite.windows import Windows
from brpnas.errors import UserError

__all__ = ["Pair", "Window", "shape_sizes", "slide"]

Pair = tuple[int, int]
"""One number for rows, one for columns."""


@dataclass(frozen=True)
class Window:
    """How a kernel slides.

    Attributes:
        kernel: its size.
        strides: of its steps.
        before: padding at the top and the left.
        behind: padding at the bottom and the right.
        dilation: distance of the kernel's words.
        ceil_mode: whether a last window may end beyond the padding.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    before: Pair = (0, 0)
    behind: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False


def shape_sizes(shape: Shape) -> dict[str, Any]:
    """Return the sizes that every layer has for the shape of its input."""
    return dict(zip(("rows", "cols", "channels"), shape, strict=True))


def slide(shape: Shape, window: Window) -> tuple[dict[str, Any], Pair]:
    """Return the sizes of a layer with a window, and how many places the window has."""
    pads = (*window.before, *window.behind)
    if window.dilation != (1, 1):
        raise UserError(f"dilation {window.dilation[0]} x {window.dilation[1]}; accepted: 1 x 1")
    if min(*window.kernel, *window.strides) < 1 or min(pads) < 0:
        raise UserError(
            f"kernel {window.kernel}, strides {window.strides}, padding {pads}; accepted: kernel "
            "and strides from 1, padding from 0"
        )
    image, kernel, strides = shape[:2], window.kernel, window.strides
    windows = Windows(image, kernel, strides, window.before, window.behind, window.ceil_mode)
    rows, cols = windows.outputs
    # A window that ends beyond the padding makes it wider.
    bottom, right = map(max, zip(window.behind, windows.overhang, strict=True))
    sizes = {
        **shape_sizes(shape),
        **dict(zip(("kernel_rows", "kernel_cols"), kernel, strict=True)),
        **dict(zip(("stride_rows", "stride_cols"), strides, strict=True)),
        **dict(zip(("pad_top", "pad_left"), window.before, strict=True)),
        **{"pad_bottom": bottom, "pad_right": right},
    }
    return sizes, (rows, cols)
